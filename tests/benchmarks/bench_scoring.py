"""Score and explain: our tables beside XGBoost alone and beside shap, 300 trees of depth 4, 20 features."""

import time

import numpy as np
import shap
import xgboost

from training.shap_tables import compile_tables

TREES, DEPTH, FEATURES, REFERENCE = 300, 4, 20, 100
COMPARED = 10_000


def run() -> list[dict]:
    """Return microseconds a row for one row at a time, and the ratio to shap."""
    random = np.random.default_rng(0)
    x = random.normal(size=(20_000, FEATURES)).astype(np.float32)
    y = random.random(20_000) < 1 / (1 + np.exp(2 - x[:, :5].sum(axis=1)))
    x[random.random(x.shape) < 0.05] = np.nan
    options = {"objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.05, "nthread": 1}
    booster = xgboost.train(options, xgboost.QuantileDMatrix(x, label=y), TREES)
    background = x[:REFERENCE]
    start = time.perf_counter()
    tables = compile_tables(bytes(booster.save_raw("json")), background)
    compiled = time.perf_counter() - start
    explainer = shap.TreeExplainer(
        booster, data=shap.maskers.Independent(background.astype(np.float64), max_samples=REFERENCE)
    )
    timings = {
        "shap interventional": each(lambda row: explainer.shap_values(row), x[:50]),
        "tables (score and impacts)": each(tables.explain, x[:2000]),
        "XGBoost inplace_predict (score only)": each(booster.inplace_predict, x[:2000]),
    }
    slowest = timings["shap interventional"]
    rows = [{"name": name, "us_per_row": us, "times_shap": slowest / us} for name, us in timings.items()]
    worst = np.abs(tables.explain(x[:COMPARED])[1] - explainer.shap_values(x[:COMPARED])).max()
    return [
        *rows,
        {"name": "compile the tables once", "us_per_row": compiled * 1e6},
        {"name": f"largest difference from shap on {COMPARED:,} rows, log-odds", "difference": f"{worst:.1e}"},
    ]


def each(score, rows: np.ndarray) -> float:
    """Return the median time of one row, in microseconds."""
    score(rows[:1])
    spent = []
    for index in range(len(rows)):
        start = time.perf_counter()
        score(rows[index : index + 1])
        spent.append(time.perf_counter() - start)
    return float(np.median(spent) * 1e6)
