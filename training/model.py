"""Fit XGBoost under monotone constraints: pure, seeded, the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import xgboost
from numpy.typing import NDArray

from training.columns import Column, Matrix


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """Hyperparameters of one fit. The defaults are the demo's stated fixed ones.

    Parameters
    ----------
    threads : int
        Part of the fit, not of the machine: sums of floats depend on it, and so would the bytes. One
        thread also keeps its pace where others use the cores: waiting threads spin.
    """

    max_depth: int = 3
    eta: float = 0.05
    min_child_weight: float = 1.0
    subsample: float = 0.8
    colsample_bytree: float = 0.8
    reg_lambda: float = 5.0
    max_rounds: int = 600
    early_stopping_rounds: int = 30
    folds: int = 5
    threads: int = 1


def fit(
    parameters: Parameters, columns: Sequence[Column], x: Matrix, y: NDArray[np.bool_], seed: int
) -> xgboost.Booster:
    """Fit a booster of default log-odds, stopped early by cross-validation.

    The number of rounds is where the mean log loss of the held-out folds stops falling; a single
    held-out slice would be too small to tell on a few hundred loans.

    Parameters
    ----------
    parameters : Parameters
    columns : sequence of Column
        The k columns of `x`; their `monotone` signs are the constraints.
    x : ndarray of float32, shape (n, k)
    y : ndarray of bool, shape (n,)
        Whether each loan defaulted.
    seed : int

    Returns
    -------
    xgboost.Booster
        With column names set.
    """
    names = [column.name for column in columns]
    options: dict[str, Any] = {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "max_depth": parameters.max_depth,
        "eta": parameters.eta,
        "min_child_weight": parameters.min_child_weight,
        "subsample": parameters.subsample,
        "colsample_bytree": parameters.colsample_bytree,
        "reg_lambda": parameters.reg_lambda,
        "monotone_constraints": tuple(column.monotone for column in columns),
        "nthread": parameters.threads,
        "seed": seed,
    }
    folds = xgboost.cv(
        options,
        xgboost.DMatrix(x, label=y, feature_names=names),
        num_boost_round=parameters.max_rounds,
        nfold=parameters.folds,
        stratified=True,
        early_stopping_rounds=parameters.early_stopping_rounds,
        seed=seed,
        as_pandas=False,
    )
    rounds = len(folds["test-logloss-mean"])
    return xgboost.train(options, xgboost.QuantileDMatrix(x, label=y, feature_names=names), num_boost_round=rounds)


def margins(booster: xgboost.Booster, matrix: Matrix) -> NDArray[np.float64]:
    """Return XGBoost's own log-odds of n rows, shape (n,)."""
    raw = booster.inplace_predict(matrix, predict_type="margin", validate_features=False)
    return np.asarray(raw, dtype=np.float64)
