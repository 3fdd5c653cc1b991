"""What a lender could have had instead: a scorecard and a logistic regression on the model's own loans.

They show what the boosted trees are worth, and whether a simpler model would do.

References
----------
.. [1] Siddiqi, "Credit Risk Scorecards", 2006: a regression on the weight of evidence (WOE) of binned features.
.. [2] Navas-Palencia, "Optimal binning: mathematical programming formulation", 2020: the bins, by optbinning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from feature_repo.contract import FeatureSpec
from training.columns import columns_of, encode
from training.scored import Bools, Floats

SCORECARD, LOGISTIC, PLAIN_XGBOOST = "scorecard", "logistic", "plain_xgboost"
# As somebody would begin who knows nothing of the portfolio.
PLAIN_PARAMETERS = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": 4, "eta": 0.1, "nthread": 1}
PLAIN_ROUNDS = 100
MOST_ROWS = 200_000  # to fit on
_TREND = {"increases": "ascending", "decreases": "descending", "either": "auto"}
_ITERATIONS = 1000


def fit_baselines(
    specs: Sequence[FeatureSpec],
    values: Mapping[str, NDArray[np.object_]],
    *,
    fitted_rows: Bools,
    score_rows: Bools,
    defaulted: Bools,
    seed: int,
    which: Sequence[str] = (SCORECARD, LOGISTIC),
) -> dict[str, Floats]:
    """Return the PD of the chosen loans by each baseline, by its name.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        The features of the model; one that is constant or missing in all fitted loans is left out.
    values : mapping of str to ndarray of object, shape (n,)
        Feature name to its values, None where missing.
    fitted_rows, score_rows : ndarray of bool, shape (n,)
        The loans to fit on, of which a seeded sample of at most `MOST_ROWS` is taken, and those to score.
    defaulted : ndarray of bool, shape (n,)
        Outcomes.
    seed : int
    which : sequence of str
        Of ``scorecard``, ``logistic`` and ``plain_xgboost``.

    Returns
    -------
    dict of str to ndarray of float64
        Without a baseline that finds nothing to learn from.
    """
    rows = np.flatnonzero(fitted_rows)
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    used = [spec for spec in specs if _varies(values[spec.name][rows])]
    if not used:
        return {}
    fits: dict[str, Callable[[], Floats]] = {
        SCORECARD: lambda: _scorecard(used, values, rows, score_rows, defaulted[rows]),
        LOGISTIC: lambda: _logistic(used, values, rows, score_rows, defaulted[rows]),
        PLAIN_XGBOOST: lambda: _plain(used, values, rows, score_rows, defaulted[rows], seed),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return {name: fits[name]() for name in which}


def _varies(values: NDArray[np.object_]) -> bool:
    return pd.Series(values).nunique(dropna=False) > 1


def _frame(
    specs: Sequence[FeatureSpec], values: Mapping[str, NDArray[np.object_]], rows: NDArray[np.intp]
) -> pd.DataFrame:
    """Return numbers as floats and categories as objects, missing as NaN and None."""
    columns = {}
    for spec in specs:
        chosen = values[spec.name][rows]
        columns[spec.name] = chosen if spec.kind == "category" else pd.Series(chosen).astype("float64").to_numpy()
    return pd.DataFrame(columns)


def _scorecard(
    specs: Sequence[FeatureSpec],
    values: Mapping[str, NDArray[np.object_]],
    rows: NDArray[np.intp],
    score_rows: Bools,
    defaulted: Bools,
) -> Floats:
    from optbinning import BinningProcess

    names = [spec.name for spec in specs]
    categories = [spec.name for spec in specs if spec.kind == "category"]
    binning = BinningProcess(
        names,
        categorical_variables=categories,
        binning_fit_params={
            spec.name: {"solver": "mip", "mip_solver": "bop", "time_limit": 10}
            | ({} if spec.kind == "category" else {"monotonic_trend": _TREND[spec.risk]})
            for spec in specs
        },
        n_jobs=1,
    )
    learned = _frame(specs, values, rows)
    binning.fit(learned, defaulted.astype(int))
    regression = LogisticRegression(max_iter=_ITERATIONS)
    regression.fit(_woe(binning, learned), defaulted)
    scored = _frame(specs, values, np.flatnonzero(score_rows))
    return np.asarray(regression.predict_proba(_woe(binning, scored))[:, 1], dtype=np.float64)


def _woe(binning: object, frame: pd.DataFrame) -> Floats:
    woe = binning.transform(frame, metric="woe", metric_missing="empirical")  # type: ignore[attr-defined]
    return np.asarray(woe, dtype=np.float64)


def _logistic(
    specs: Sequence[FeatureSpec],
    values: Mapping[str, NDArray[np.object_]],
    rows: NDArray[np.intp],
    score_rows: Bools,
    defaulted: Bools,
) -> Floats:
    numbers = [spec.name for spec in specs if spec.kind != "category"]
    categories = [spec.name for spec in specs if spec.kind == "category"]
    prepared = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        ]
    )
    model = make_pipeline(prepared, LogisticRegression(max_iter=_ITERATIONS))
    model.fit(_frame(specs, values, rows), defaulted)
    scored = _frame(specs, values, np.flatnonzero(score_rows))
    return np.asarray(model.predict_proba(scored)[:, 1], dtype=np.float64)


def _plain(
    specs: Sequence[FeatureSpec],
    values: Mapping[str, NDArray[np.object_]],
    rows: NDArray[np.intp],
    score_rows: Bools,
    defaulted: Bools,
    seed: int,
) -> Floats:
    columns = columns_of(specs)
    learned, scored = (
        encode(columns, {spec.name: values[spec.name][chosen] for spec in specs})
        for chosen in (rows, np.flatnonzero(score_rows))
    )
    data = xgboost.QuantileDMatrix(learned, label=defaulted, nthread=1)
    booster = xgboost.train(PLAIN_PARAMETERS | {"seed": seed}, data, num_boost_round=PLAIN_ROUNDS)
    return np.asarray(booster.inplace_predict(scored), dtype=np.float64)
