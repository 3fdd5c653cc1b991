"""What the champion has to beat: a scorecard, a logistic regression and an XGBoost without constraints.

Each is made as a practitioner would make it in an afternoon, on the rows and features that the champion has, so that a
lift over them is a lift of the method and not of the data.

References
----------
.. [1] Navas-Palencia, "Optimal binning: mathematical programming formulation", arXiv:2001.08025, 2020: the bins of
   each feature that maximise its information value under a monotonic trend.
.. [2] Siddiqi, "Credit Risk Scorecards", 2006, chapter 6: weight of evidence ln(share of goods / share of bads) of a
   bin in place of the value, then a logistic regression.
.. [3] Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", KDD 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from optbinning import BinningProcess
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from feature_repo.contract import FeatureSpec
from training.columns import columns_of, encode
from training.scored import Bools, Floats

SCORECARD, LOGISTIC, PLAIN_XGBOOST = "scorecard", "logistic", "plain_xgboost"
ALWAYS = (SCORECARD, LOGISTIC)
MOST_ROWS = 200_000
PLAIN_ROUNDS = 100
PLAIN_PARAMETERS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.1,
    "nthread": 1,  # float sums depend on it
}
TREND = {"increases": "ascending", "decreases": "descending", "either": "auto"}
ITERATIONS = 1000

Values = Mapping[str, NDArray[np.object_]]


class Baselines(msgspec.Struct, frozen=True, kw_only=True):
    """Baselines and what each says of the m loans asked for.

    Parameters
    ----------
    pd : dict of str to ndarray of float64, shape (m,)
        Probability of default by each baseline's name.
    absent : dict of str to str
        Why a baseline could not be fitted, by its name.
    rows : int
        Loans that each was fitted on.
    of : int
        Loans that they were drawn from; equal to `rows` up to ``MOST_ROWS``.
    """

    pd: dict[str, Floats]
    absent: dict[str, str]
    rows: int
    of: int


def fit_baselines(
    specs: Sequence[FeatureSpec],
    values: Values,
    fitted_rows: Bools,
    defaulted: Bools,
    score_rows: Bools,
    seed: int,
    which: Sequence[str] = ALWAYS,
) -> Baselines:
    """Fit the named baselines on the champion's rows and score the rows asked for.

    Features that have one value only among the fitted rows, missing counting as one, are left out.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        The features to learn from.
    values : mapping of str to ndarray of object, shape (n,)
        Feature name to its values; None and NaN are missing.
    fitted_rows : ndarray of bool, shape (n,)
        Loans that the champion was fitted on; of more than ``MOST_ROWS``, that many are drawn by the seed.
    defaulted : ndarray of bool, shape (n,)
        Outcomes; only those of the fitted rows are looked at.
    score_rows : ndarray of bool, shape (n,)
        Loans to score.
    seed : int
    which : sequence of str
        Of ``scorecard``, ``logistic`` and ``plain_xgboost``.
    """
    available = np.flatnonzero(fitted_rows)
    rows = available
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    learned = {spec.name: values[spec.name][rows] for spec in specs}
    varied = [spec for spec in specs if _varies(learned[spec.name])]
    asked = {spec.name: values[spec.name][score_rows] for spec in varied}
    outcomes = defaulted[rows]
    pds: dict[str, Floats] = {}
    absent: dict[str, str] = {}
    for name in which:
        if reason := _unfit(outcomes, varied):
            absent[name] = reason
            continue
        try:
            pds[name] = FITS[name](varied, learned, outcomes, asked, seed)
        except ValueError as error:
            absent[name] = str(error).partition("\n")[0] or type(error).__name__
    return Baselines(pd=pds, absent=absent, rows=len(rows), of=len(available))


def _scorecard(specs: Sequence[FeatureSpec], learned: Values, outcomes: Bools, asked: Values, seed: int) -> Floats:
    """Score by weights of evidence; a missing value has the weight of those missing when it was fitted."""
    bins = BinningProcess(
        [spec.name for spec in specs],
        categorical_variables=[spec.name for spec in specs if spec.kind == "category"],
        binning_fit_params={
            spec.name: {"monotonic_trend": TREND[spec.risk]} for spec in specs if spec.kind != "category"
        },
        n_jobs=1,
    )
    frame = _frame(specs, learned)
    bins.fit(frame, outcomes.astype(np.int64))
    woe = {"metric": "woe", "metric_missing": "empirical"}
    model = LogisticRegression(max_iter=ITERATIONS).fit(bins.transform(frame, **woe).to_numpy(), outcomes)
    return _bad(model.predict_proba(bins.transform(_frame(specs, asked), **woe).to_numpy()))


def _logistic(specs: Sequence[FeatureSpec], learned: Values, outcomes: Bools, asked: Values, seed: int) -> Floats:
    """Score standardised numbers, medians in the place of missing ones and a mark for it, and one-hot categories."""
    model = make_pipeline(
        make_column_transformer(
            (
                make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
                [spec.name for spec in specs if spec.kind != "category"],
            ),
            (OneHotEncoder(handle_unknown="ignore"), [spec.name for spec in specs if spec.kind == "category"]),
        ),
        LogisticRegression(max_iter=ITERATIONS),
    )
    model.fit(_frame(specs, learned), outcomes)
    return _bad(model.predict_proba(_frame(specs, asked)))


def _plain_xgboost(specs: Sequence[FeatureSpec], learned: Values, outcomes: Bools, asked: Values, seed: int) -> Floats:
    columns = columns_of(specs)
    data = xgboost.QuantileDMatrix(encode(columns, learned), label=outcomes, nthread=1)
    booster = xgboost.train(PLAIN_PARAMETERS | {"seed": seed}, data, num_boost_round=PLAIN_ROUNDS)
    return np.asarray(booster.inplace_predict(encode(columns, asked)), dtype=np.float64)


Fit = Callable[[Sequence[FeatureSpec], Values, Bools, Values, int], Floats]
FITS: dict[str, Fit] = {SCORECARD: _scorecard, LOGISTIC: _logistic, PLAIN_XGBOOST: _plain_xgboost}


def _unfit(outcomes: Bools, varied: Sequence[FeatureSpec]) -> str:
    """Return why nothing can be fitted, or nothing."""
    bads, goods = int(outcomes.sum()), int((~outcomes).sum())
    if not bads or not goods:
        return f"{bads} defaults of {bads + goods} loans: a model needs both outcomes"
    return "" if varied else "no feature has more than one value"


def _varies(raw: NDArray[np.object_]) -> bool:
    absent = pd.isna(raw)
    given = raw[~absent]
    return bool(absent.any() and len(given)) or bool(len(given) and (given != given[0]).any())


def _frame(specs: Sequence[FeatureSpec], values: Values) -> pd.DataFrame:
    """Return categories as text, missing ones as None, and all else as floats."""
    columns: dict[str, NDArray[Any]] = {}
    for spec in specs:
        raw = values[spec.name]
        if spec.kind == "category":
            columns[spec.name] = raw.copy()
            columns[spec.name][pd.isna(raw)] = None
        else:
            columns[spec.name] = np.asarray(raw, dtype=np.float64)
    return pd.DataFrame(columns)


def _bad(probabilities: Floats) -> Floats:
    return np.asarray(probabilities[:, 1], dtype=np.float64)
