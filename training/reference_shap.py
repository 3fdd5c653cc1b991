"""Exact interventional Shapley values of a tree ensemble by table lookup, with the score in the same pass.

A leaf is reached iff every distinct feature on its path lies in an interval. A row x satisfies a
subset of the path's features, written as a bit mask p, and a reference row a subset q. In the
game that takes each feature from x or from the reference row, the leaf counts only if p | q is
full. With A = features that only x satisfies and B = those that only the reference row does,
the leaf of value v gives each feature of A

    +v (|A|-1)! |B|! / (|A|+|B|)!

and each feature of B -v |A|! (|B|-1)! / (|A|+|B|)!. The mean over the frozen reference population
depends on x through p alone: a table [leaf][p][feature] holds it, and a row costs one mask and
one lookup per leaf.

References
----------
.. [1] Lundberg et al., "From local explanations to global understanding with explainable AI for
   trees", Nature Machine Intelligence 2, 2020 (interventional TreeSHAP).
.. [2] Nadel and Wettenstein, "From Decision Trees to Boolean Logic: A Fast and Unified SHAP
   Algorithm", 2025 (WOODELF: the same idea of leaf masks).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from math import factorial, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import InputError
from training.columns import Matrix

Floats = NDArray[np.float64]
MAX_PATH_FEATURES = 8  # a table row has 2**d entries


@dataclass(frozen=True)
class LeafTables:
    """A compiled ensemble of L leaves whose paths have at most D distinct features.

    Parameters
    ----------
    base_margin : float
        Log-odds before any tree.
    reference_margin : float
        Mean log-odds of the reference population; impacts add up to margin minus this.
    feature : ndarray of int32, shape (L, D)
        Column index of each path feature; padded with column 0 and an interval that always holds.
    low, high : ndarray of float32, shape (L, D)
        The condition is ``low <= x < high``.
    missing : ndarray of bool, shape (L, D)
        Whether a missing value satisfies the condition.
    value : ndarray of float64, shape (L,)
        Leaf value, log-odds.
    impact : ndarray of float64, shape (L, 2**D, D)
        Mean Shapley contribution of each path feature by mask p.
    """

    base_margin: float
    reference_margin: float
    feature: NDArray[np.int32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    missing: NDArray[np.bool_]
    value: Floats
    impact: Floats

    def masks(self, rows: Matrix) -> NDArray[np.int64]:
        """Return the mask p of each row at each leaf, shape (n, L)."""
        x = rows[:, self.feature]
        holds = np.where(np.isnan(x), self.missing, (x >= self.low) & (x < self.high))
        bits = 1 << np.arange(self.feature.shape[1], dtype=np.int64)
        masks: NDArray[np.int64] = holds @ bits
        return masks

    def explain(self, rows: Matrix) -> tuple[Floats, Floats]:
        """Score and explain n rows.

        Parameters
        ----------
        rows : ndarray of float32, shape (n, k)

        Returns
        -------
        margin : ndarray of float64, shape (n,)
            Log-odds.
        impact : ndarray of float64, shape (n, k)
            Shapley values in log-odds; ``reference_margin + impact.sum(axis=1) == margin``.
        """
        margin = np.empty(len(rows))
        impact = np.empty((len(rows), rows.shape[1]))
        leaves = np.arange(len(self.value))
        full = (1 << self.feature.shape[1]) - 1
        for index in range(len(rows)):  # one row at a time: a batch is bit for bit its single rows
            mask = self.masks(rows[index : index + 1])[0]
            margin[index] = self.base_margin + self.value[mask == full].sum()
            impact[index] = np.bincount(
                self.feature.ravel(), weights=self.impact[leaves, mask].ravel(), minlength=rows.shape[1]
            )
        return margin, impact

    def margins(self, rows: Matrix) -> Floats:
        """Return the log-odds of n rows, shape (n,)."""
        full = (1 << self.feature.shape[1]) - 1
        return np.array(
            [self.base_margin + self.value[self.masks(rows[i : i + 1])[0] == full].sum() for i in range(len(rows))]
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tables as plain arrays, for a file."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> LeafTables:
        """Restore what `arrays` returned."""
        return cls(
            base_margin=float(arrays["base_margin"]),
            reference_margin=float(arrays["reference_margin"]),
            **{name: arrays[name] for name in ("feature", "low", "high", "missing", "value", "impact")},
        )


def compile_tables(model_json: bytes, reference: Matrix) -> LeafTables:
    """Compile a tree booster against a reference population.

    Parameters
    ----------
    model_json : bytes
        A ``binary:logistic`` booster as XGBoost JSON, numeric splits only.
    reference : ndarray of float32, shape (m, k)
        Reference population; it must have at least one row.

    Raises
    ------
    InputError
        If there is no reference row, or a path has more than `MAX_PATH_FEATURES` distinct features.
    """
    if not len(reference):
        raise InputError("the reference population is empty: no applicant scores just above the cutoff")
    learner = json.loads(model_json)["learner"]
    base_probability = float(learner["learner_model_param"]["base_score"].strip("[]"))
    base_margin = log(base_probability / (1 - base_probability))
    paths = [leaf for tree in learner["gradient_booster"]["model"]["trees"] for leaf in _leaves(tree)]
    width = max(1, max(len(conditions) for conditions, _ in paths))
    if width > MAX_PATH_FEATURES:
        raise InputError(f"a tree path has {width} features, more than {MAX_PATH_FEATURES}: lower max_depth")
    shape = (len(paths), width)
    feature = np.zeros(shape, dtype=np.int32)
    low = np.full(shape, -np.inf, dtype=np.float32)
    high = np.full(shape, np.inf, dtype=np.float32)
    missing = np.ones(shape, dtype=np.bool_)
    value = np.empty(len(paths))
    for row, (conditions, leaf_value) in enumerate(paths):
        value[row] = leaf_value
        for slot, (column, (lower, upper, if_missing)) in enumerate(conditions.items()):
            feature[row, slot], low[row, slot], high[row, slot] = column, lower, upper
            missing[row, slot] = if_missing
    empty = np.zeros((len(paths), 1 << width, width))
    bare = LeafTables(base_margin, 0.0, feature, low, high, missing, value, empty)
    masks = bare.masks(reference)
    share = np.stack([np.bincount(masks[:, leaf], minlength=1 << width) for leaf in range(len(paths))]) / len(reference)
    impact = np.einsum("l,lq,pqj->lpj", value, share, _weights(width), optimize=True)
    return LeafTables(base_margin, float(np.mean(bare.margins(reference))), feature, low, high, missing, value, impact)


Conditions = dict[int, tuple[np.float32, np.float32, bool]]


def _leaves(tree: dict[str, Any]) -> list[tuple[Conditions, float]]:
    """Return the merged conditions and the value of every leaf of one tree."""
    left, right = tree["left_children"], tree["right_children"]
    column, threshold, default_left = tree["split_indices"], tree["split_conditions"], tree["default_left"]
    found: list[tuple[Conditions, float]] = []
    stack: list[tuple[int, Conditions]] = [(0, {})]
    while stack:
        node, conditions = stack.pop()
        if left[node] == -1:
            found.append((conditions, float(np.float32(threshold[node]))))
            continue
        split = np.float32(threshold[node])
        everything = (np.float32(-np.inf), np.float32(np.inf), True)
        lower, upper, if_missing = conditions.get(column[node], everything)
        goes_left = bool(default_left[node])
        stack.append(
            (right[node], conditions | {column[node]: (max(lower, split), upper, if_missing and not goes_left)})
        )
        stack.append((left[node], conditions | {column[node]: (lower, min(upper, split), if_missing and goes_left)}))
    return found


def _weights(width: int) -> Floats:
    """Return the Shapley weight of path feature j for masks p and q, shape (2**width, 2**width, width)."""
    size = 1 << width
    weights = np.zeros((size, size, width))
    for p in range(size):
        for q in range(size):
            if p | q != size - 1:
                continue
            only_x, only_reference = p & ~q, q & ~p
            a, b = only_x.bit_count(), only_reference.bit_count()
            for j in range(width):
                if only_x >> j & 1:
                    weights[p, q, j] = factorial(a - 1) * factorial(b) / factorial(a + b)
                elif only_reference >> j & 1:
                    weights[p, q, j] = -factorial(a) * factorial(b - 1) / factorial(a + b)
    return weights
