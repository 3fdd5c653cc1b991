"""Leaks that show in what one feature adds to all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xgboost
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from feature_repo.contract import FeatureSpec
from training.columns import Column, Matrix, columns_of, encode
from training.leak import Leak, Limits
from training.leak_cells import dealt_folds
from training.scored import Bools, Floats
from training.uncertainty import auc_difference

ROUNDS = 40
BINS = 32
PARAMETERS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 3,
    "eta": 0.2,
    "max_bin": BINS,
    "reg_lambda": 5.0,
    "nthread": 1,
}


def jumps(
    specs: Sequence[FeatureSpec],
    values: Mapping[str, NDArray[np.object_]],
    defaulted: Bools,
    alone: Mapping[str, float],
    random: np.random.Generator,
    limits: Limits,
) -> list[Leak]:
    """Compare a model of all features with one without each of those that it leans on most.

    What is found is taken out before the next is looked for: one leak hides another, and makes an honest feature look
    like one (the amount lent, once the interest received is known).

    Parameters
    ----------
    specs : sequence of FeatureSpec
        Features that no other test found.
    values : mapping of str to ndarray of object, shape (n,)
    defaulted : ndarray of bool, shape (n,)
    alone : mapping of str to float
        Out-of-fold AUC of each feature alone.
    random : Generator
        Draws the folds.
    limits : Limits
    """
    leaks: list[Leak] = []
    if len(specs) <= limits.others or min(int(defaulted.sum()), int((~defaulted).sum())) < limits.fewest:
        return leaks
    columns = columns_of(specs)
    matrix = encode(columns, values)
    fold = dealt_folds(random, defaulted, 2)
    while len({column.feature for column in columns}) > limits.others:
        found = list(_found(matrix, columns, defaulted, fold, alone, limits))
        if not found:
            break
        leaks.append(max(found, key=lambda leak: leak.bound))
        columns, matrix = _without(leaks[-1].feature, columns, matrix)
    return leaks


def _found(
    matrix: Matrix,
    columns: Sequence[Column],
    defaulted: Bools,
    fold: NDArray[np.int8],
    alone: Mapping[str, float],
    limits: Limits,
) -> Iterator[Leak]:
    everything, gains = _out_of_fold(matrix, columns, defaulted, fold)
    level = 1 - 2 * limits.error / limits.jumps
    for feature in sorted(gains, key=lambda name: -gains[name])[: limits.jumps]:
        kept, narrower = _without(feature, columns, matrix)
        without, _ = _out_of_fold(narrower, kept, defaulted, fold)
        added = auc_difference(defaulted, everything, without, level)
        before = float(roc_auc_score(defaulted, without))
        expected = _together(before, alone[feature]) - before
        if added.low >= min(limits.jump, expected + limits.interplay):
            why = (
                f"it adds {added.estimate:.3f}, at least {added.low:.3f}, to the AUC of all other features; "
                f"alone it reaches {alone[feature]:.3f}, of which {expected:.3f} would be left"
            )
            yield Leak(feature, "jump", added.estimate, added.low, min(limits.jump, expected + limits.interplay), why)


def _together(first: float, second: float) -> float:
    """Return the AUC of two independent scores together, each normal within bads and within goods, and 0.5 at least.

    Distances of the means add up as squares (Bamber, "The Area above the Ordinal Dominance Graph and the Area below the
    Receiver Operating Characteristic Graph", Journal of Mathematical Psychology 12, 1975: AUC = Phi(d / sqrt 2)).
    """
    distances = norm.ppf(np.clip([first, second], 0.5, 1 - 1e-9))
    return float(norm.cdf(np.hypot(*distances)))


def _without(feature: str, columns: Sequence[Column], matrix: Matrix) -> tuple[tuple[Column, ...], Matrix]:
    kept = [index for index, column in enumerate(columns) if column.feature != feature]
    return tuple(columns[index] for index in kept), matrix[:, kept]


def _out_of_fold(
    matrix: Matrix, columns: Sequence[Column], defaulted: Bools, fold: NDArray[np.int8]
) -> tuple[Floats, dict[str, float]]:
    """Return log-odds from the other folds, less their mean, and the gain of each feature that was used."""
    margins = np.empty(len(defaulted))
    gains: dict[str, float] = {}
    for part in range(int(fold.max()) + 1):
        held = fold == part
        data = xgboost.QuantileDMatrix(matrix[~held], label=defaulted[~held], max_bin=BINS, nthread=1)
        booster = xgboost.train(PARAMETERS, data, num_boost_round=ROUNDS)
        told = booster.inplace_predict(matrix[held], predict_type="margin")
        margins[held] = told - told.mean()
        for key, gain in booster.get_score(importance_type="total_gain").items():
            feature = columns[int(key[1:])].feature
            gains[feature] = gains.get(feature, 0.0) + float(gain)
    return margins, gains
