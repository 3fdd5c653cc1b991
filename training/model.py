"""Fit XGBoost under monotone constraints: pure, seeded, the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import xgboost
from msgspec import Meta
from numpy.typing import NDArray

from training.columns import Column, Matrix
from training.folds import Fold

BATCH = 262_144

Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyperparameters of one fit. The defaults are the demo's stated fixed ones.

    Parameters
    ----------
    max_rounds : int
        Most rounds that are tried on the folds; with `max_depth` it bounds the size of the tables that explain.
    early_stopping_rounds : int
        Rounds without a better log loss after which a fold ends.
    threads : int
        Part of the fit, not of the machine: sums of floats depend on it, and so would the bytes. One
        thread also keeps its pace where others use the cores: waiting threads spin.
    """

    max_depth: Annotated[int, Meta(ge=1, le=6)] = 3
    eta: Share = 0.05
    min_child_weight: Annotated[float, Meta(ge=0)] = 1.0
    subsample: Share = 0.8
    colsample_bytree: Share = 0.8
    reg_lambda: Annotated[float, Meta(ge=0)] = 5.0
    max_rounds: Positive = 600
    early_stopping_rounds: Positive = 30
    folds: Positive = 4
    threads: Positive = 1


class _Batches(xgboost.DataIter):  # type: ignore[misc]
    """Hand rows of a matrix to XGBoost in parts, which it quantises one by one: no second copy of all rows."""

    def __init__(
        self, matrix: Matrix, defaulted: NDArray[np.bool_], rows: NDArray[np.intp] | None, names: list[str]
    ) -> None:
        super().__init__(release_data=True)
        self._matrix, self._defaulted, self._rows, self._names = matrix, defaulted, rows, names
        self._count = len(matrix) if rows is None else len(rows)
        self._next = 0

    def reset(self) -> None:
        """Begin again."""
        self._next = 0

    def next(self, input_data: Callable[..., None]) -> bool:
        """Hand over the next part; return whether there was one."""
        start, self._next = self._next, self._next + BATCH
        if start >= self._count:
            return False
        part = slice(start, self._next)
        rows = part if self._rows is None else self._rows[part]
        input_data(data=self._matrix[rows], label=self._defaulted[rows], feature_names=self._names)
        return True


def fit(
    parameters: Parameters,
    columns: Sequence[Column],
    matrix: Matrix,
    defaulted: NDArray[np.bool_],
    *,
    rounds: int,
    seed: int,
) -> xgboost.Booster:
    """Fit a booster of default log-odds.

    Parameters
    ----------
    parameters : Parameters
    columns : sequence of Column
        The k columns of the matrix; their `monotone` signs are the constraints.
    matrix : ndarray of float32, shape (n, k)
        NaN is missing.
    defaulted : ndarray of bool, shape (n,)
        Outcomes.
    rounds : int
        Trees; `held_out_loss` tells how many.
    seed : int

    Returns
    -------
    xgboost.Booster
        With column names set.
    """
    data = _quantise(parameters, columns, matrix, defaulted)
    return xgboost.train(_options(parameters, columns, seed), data, num_boost_round=rounds)


class HeldOut(msgspec.Struct, frozen=True):
    """How parameters did on folds that they were not fitted on.

    Parameters
    ----------
    loss : float
        Mean log loss of all held-out loans after `rounds` rounds.
    rounds : int
        Where it is lowest.
    """

    loss: float
    rounds: int


def held_out_loss(
    parameters: Parameters,
    columns: Sequence[Column],
    matrix: Matrix,
    defaulted: NDArray[np.bool_],
    folds: Sequence[Fold],
    seed: int,
) -> Iterator[HeldOut]:
    """Yield the log loss on the folds seen so far, fold by fold; the last one is that of all.

    The number of rounds is where the mean over held-out loans is lowest. A fold that stopped early keeps its
    last loss, which is above its best.

    Parameters
    ----------
    parameters, columns, matrix, defaulted, seed
        As for `fit`.
    folds : sequence of Fold
        Row numbers.
    """
    options = _options(parameters, columns, seed)
    total, held = np.zeros(parameters.max_rounds), 0
    for fold in folds:
        earlier = _quantise(parameters, columns, matrix, defaulted, fold.earlier)
        later = _quantise(parameters, columns, matrix, defaulted, fold.later, earlier)
        curve: dict[str, dict[str, list[float]]] = {}
        xgboost.train(
            options,
            earlier,
            num_boost_round=parameters.max_rounds,
            evals=[(later, "later")],
            evals_result=curve,
            early_stopping_rounds=parameters.early_stopping_rounds,
            verbose_eval=False,
        )
        losses = np.array(curve["later"]["logloss"])
        total += len(fold.later) * np.append(losses, np.full(parameters.max_rounds - len(losses), losses[-1]))
        held += len(fold.later)
        best = int(np.argmin(total))
        del earlier, later  # before the next, larger ones are made
        yield HeldOut(float(total[best] / held), best + 1)


def margins(booster: xgboost.Booster, matrix: Matrix) -> NDArray[np.float64]:
    """Return XGBoost's own log-odds of n rows, shape (n,)."""
    raw = booster.inplace_predict(matrix, predict_type="margin", validate_features=False)
    return np.asarray(raw, dtype=np.float64)


def _quantise(
    parameters: Parameters,
    columns: Sequence[Column],
    matrix: Matrix,
    defaulted: NDArray[np.bool_],
    rows: NDArray[np.intp] | None = None,
    borders_of: xgboost.QuantileDMatrix | None = None,
) -> xgboost.QuantileDMatrix:
    """Return the chosen rows in bins: those of another matrix, or quantiles of their own."""
    batches = _Batches(matrix, defaulted, rows, [column.name for column in columns])
    return xgboost.QuantileDMatrix(batches, ref=borders_of, nthread=parameters.threads)


def _options(parameters: Parameters, columns: Sequence[Column], seed: int) -> dict[str, Any]:
    return {
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
