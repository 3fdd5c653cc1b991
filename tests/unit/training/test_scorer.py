import math

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.contract import FeatureSpec
from training.columns import columns_of, encode
from training.probability import Calibration
from training.scorer import Scorer
from training.shap_tables import compile_tables

SPECS = [
    FeatureSpec(name="ratio", view="v", kind="number", description="", unit=""),
    FeatureSpec(name="years", view="v", kind="count", description="", unit=""),
    FeatureSpec(name="adult", view="v", kind="flag", description="", unit=""),
    FeatureSpec(name="home", view="v", kind="category", description="", unit="", categories=("OWN", "RENT", "OTHER")),
    FeatureSpec(name="unused", view="v", kind="number", description="", unit=""),
    FeatureSpec(name="purpose", view="v", kind="category", description="", unit="", categories=("CAR", "SEA")),
]
COLUMNS = columns_of(SPECS)


def applicants(n, random):
    def some(values):
        return [None if random.random() < 0.15 else value for value in values]

    return {
        "ratio": some(random.normal(size=n).tolist()),
        "years": some(random.integers(0, 40, n).tolist()),
        "adult": some((random.random(n) < 0.9).tolist()),
        "home": some(random.choice(["OWN", "RENT", "OTHER"], n).tolist()),
        "unused": [0.0] * n,
        "purpose": some(random.choice(["CAR", "SEA"], n).tolist()),
    }


@pytest.fixture(scope="module")
def scorer():
    random = np.random.default_rng(5)
    values = applicants(4000, random)
    rows = encode(COLUMNS, values)
    odds = -1.5 + np.nan_to_num(rows[:, 0]) - 0.05 * np.nan_to_num(rows[:, 1]) + (rows[:, 4] == 1) - (rows[:, 7] == 1)
    label = random.random(4000) < 1 / (1 + np.exp(-odds))
    options = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.2, "nthread": 1}
    booster = xgboost.train(options, xgboost.DMatrix(rows, label=label), 40)
    tables = compile_tables(bytes(booster.save_raw("json")), rows[:60])
    calibration = Calibration(
        slope=0.9, intercept=0.1, grid=(-3.0, 0.0, 3.0), lower=(0.01, 0.4, 0.9), upper=(0.1, 0.6, 1.0)
    )
    return Scorer(COLUMNS, tables, calibration)


def by_matrix(scorer, values):
    """The same through float32 columns: log-odds, and calibrated impacts by feature."""
    margin, impact = scorer.tables.explain(encode(COLUMNS, {name: [value] for name, value in values.items()}))
    summed = dict.fromkeys(scorer.features, 0.0)
    for column, one in zip(COLUMNS, impact[0].tolist(), strict=True):
        summed[column.feature] += one * scorer.calibration.slope
    return float(margin[0]), summed


def the_same(scorer, values):
    margin, impacts = by_matrix(scorer, values)
    scored = scorer.score(values)
    assert math.log(scored.pd / (1 - scored.pd)) == pytest.approx(scorer.calibration.log_odds(margin), abs=1e-12)
    assert scored.impacts == pytest.approx(impacts, abs=1e-12)


def test_a_row_scores_as_its_columns_in_float32_do(scorer):
    random = np.random.default_rng(6)
    for row in zip(*applicants(500, random).values(), strict=True):
        the_same(scorer, dict(zip((spec.name for spec in SPECS), row, strict=True)))


def test_a_number_next_to_a_threshold_falls_to_the_side_that_float32_rounds_it_to(scorer):
    thresholds = [limit for limit in scorer.tables.switches[0].thresholds]
    assert len(thresholds) > 10
    for limit in thresholds:
        single = np.float32(limit)
        for near in (single, np.nextafter(single, np.float32(-9)), np.nextafter(single, np.float32(9))):
            middle = (float(single) + float(near)) / 2
            for value in (float(near), middle, np.nextafter(middle, -9).item(), np.nextafter(middle, 9).item(), limit):
                the_same(scorer, {"ratio": value})


NUMBERS = st.none() | st.floats()
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "ratio": NUMBERS,
        "years": st.none() | st.integers(-(2**53), 2**53),
        "adult": st.none() | st.booleans(),
        "home": st.none() | st.sampled_from(["OWN", "RENT", "OTHER", "TENT", ""]),
        "purpose": st.none() | st.sampled_from(["CAR", "SEA", "AIR"]),
        "of no model": NUMBERS,
    },
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_infinite_huge_missing_and_unknown_values_score_as_in_the_matrix(scorer, values):
    the_same(scorer, {"unused": None} | values)
