"""Compile a tree ensemble to tables of exact interventional Shapley values.

A leaf is reached iff every distinct column on its path lies in an interval. A row x satisfies a
subset of the path's columns, written as a bit mask p, and a reference row a subset q. In the
game that takes each column from x or from the reference row, the leaf counts only if p | q is
full. With A = columns that only x satisfies and B = those that only the reference row does,
the leaf of value v gives each column of A

    +v (|A|-1)! |B|! / (|A|+|B|)!

and each column of B -v |A|! (|B|-1)! / (|A|+|B|)!. The mean over the frozen reference population
depends on x through p alone: a table [leaf][p][column]. The leaves of a branch share most of their
conditions, so that their tables are added up to one [branch][code][column]: a fraction of the lookups.

References
----------
.. [1] Lundberg et al., "From local explanations to global understanding with explainable AI for
   trees", Nature Machine Intelligence 2, 2020 (interventional TreeSHAP).
.. [2] Nadel and Wettenstein, "From Decision Trees to Boolean Logic: A Fast and Unified SHAP
   Algorithm", 2025 (WOODELF: the same idea of leaf masks).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import factorial, log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import InputError
from training.columns import Matrix
from training.lookup import Floats
from training.reference_shap import ShapTables

MAX_PATH_FEATURES = 8  # a code has eight bits
_BRANCH_CONDITIONS = 7  # tables double with each, and should fit a processor's cache


class _Condition(NamedTuple):
    """``low <= x < high``; `missing` says whether a missing value satisfies it."""

    low: np.float32
    high: np.float32
    missing: bool


_NEVER = (np.float32(np.inf), np.float32(-np.inf), False)
_Path = dict[int, _Condition]  # by column, conditions on one column merged


@dataclass(frozen=True)
class _Leaf:
    """A leaf of a branch: `turns` are the branch's splits on the way to it, and whether the way goes left."""

    path: _Path
    value: float
    turns: dict[int, bool]


@dataclass(frozen=True)
class _Branch:
    """A subtree: what leads to it, and its splits with the condition to go left at each."""

    upper: _Path
    splits: dict[int, tuple[int, _Condition]]
    leaves: list[_Leaf]

    @property
    def conditions(self) -> list[tuple[int, _Condition]]:
        """Column and condition of each bit of the code."""
        return [*self.upper.items(), *self.splits.values()]


def compile_tables(model_json: bytes, reference: Matrix) -> ShapTables:
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
        If there is no reference row, or a path has more than `MAX_PATH_FEATURES` distinct columns.
    """
    if not len(reference):
        raise InputError("the reference population is empty: no applicant scores just above the cutoff")
    learner = json.loads(model_json)["learner"]
    base_probability = float(learner["learner_model_param"]["base_score"].strip("[]"))
    base_margin = log(base_probability / (1 - base_probability))
    trees = learner["gradient_booster"]["model"]["trees"]
    branches = [branch for tree in trees for branch in _Tree(tree).branches()]
    longest = max(len(leaf.path) for branch in branches for leaf in branch.leaves)
    if longest > MAX_PATH_FEATURES:
        raise InputError(f"a tree path has {longest} features, more than {MAX_PATH_FEATURES}: lower max_depth")
    tables = _stack(branches, base_margin, reference)
    return replace(tables, reference_margin=float(tables.margins(reference).mean()))


def _stack(branches: list[_Branch], base_margin: float, reference: Matrix) -> ShapTables:
    bits = max(1, max(len(branch.conditions) for branch in branches))
    owners = [sorted({column for leaf in branch.leaves for column in leaf.path}) for branch in branches]
    width = max(1, max(map(len, owners)))
    shape = (len(branches), bits)
    column = np.zeros(shape, np.int32)
    low, high, missing = (np.full(shape, never, kind) for never, kind in zip(_NEVER, ("f4", "f4", "?"), strict=True))
    value = np.zeros((len(branches), 1 << bits))
    owner = np.zeros((len(branches), width), np.int32)
    impact = np.zeros((len(branches), 1 << bits, width))
    for index, branch in enumerate(branches):
        for bit, (of, condition) in enumerate(branch.conditions):
            column[index, bit] = of
            low[index, bit], high[index, bit], missing[index, bit] = condition
        owner[index, : len(owners[index])] = owners[index]
        place = {of: slot for slot, of in enumerate(owners[index])}
        for leaf in branch.leaves:
            codes, masks = _masks(branch, leaf)
            table = _leaf_table(leaf, reference)
            value[index, codes] += np.where(masks == len(table) - 1, leaf.value, 0.0)
            for slot, of in enumerate(leaf.path):
                impact[index, codes, place[of]] += table[masks, slot]
    return ShapTables(base_margin, 0.0, column, low, high, missing, value, owner, impact)


def _masks(branch: _Branch, leaf: _Leaf) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all codes of a branch, and for each the mask p of one of its leaves."""
    codes = np.arange(1 << len(branch.conditions))
    held = {of: np.ones(len(codes), bool) for of in leaf.path}
    for bit, of in enumerate(branch.upper):
        held[of] &= (codes >> bit & 1).astype(bool)
    for bit, (node, (of, _)) in enumerate(branch.splits.items(), len(branch.upper)):
        if node in leaf.turns:
            held[of] &= (codes >> bit & 1).astype(bool) == leaf.turns[node]
    return codes, sum((hold.astype(np.int64) << slot for slot, hold in enumerate(held.values())), np.zeros_like(codes))


def _leaf_table(leaf: _Leaf, reference: Matrix) -> Floats:
    """Return the mean Shapley contribution of each column of a leaf's path by mask p, shape (2**d, d)."""
    width = len(leaf.path)
    masks = np.zeros(len(reference), np.int64)
    for slot, (of, (low, high, missing)) in enumerate(leaf.path.items()):
        x = reference[:, of]
        masks |= np.where(np.isnan(x), missing, (x >= low) & (x < high)).astype(np.int64) << slot
    share = np.bincount(masks, minlength=1 << width) / len(reference)
    table: Floats = leaf.value * np.einsum("q,pqj->pj", share, _weights(width))
    return table


class _Tree:
    """One tree of XGBoost's JSON."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self._left: list[int] = tree["left_children"]
        self._right: list[int] = tree["right_children"]
        self._column: list[int] = tree["split_indices"]
        self._split: list[float] = tree["split_conditions"]
        self._default_left = [bool(flag) for flag in tree["default_left"]]

    def branches(self, node: int = 0, upper: _Path | None = None) -> Iterator[_Branch]:
        """Yield the largest branches that have few conditions; together they have every leaf once."""
        path = upper or {}
        splits = self._splits(node)
        if self._left[node] == -1 or len(path) + len(splits) <= _BRANCH_CONDITIONS:
            yield _Branch(path, splits, list(self._leaves(node, path, {})))
            return
        for child, left in ((self._left[node], True), (self._right[node], False)):
            yield from self.branches(child, self._narrowed(path, node, left))

    def _splits(self, node: int) -> dict[int, tuple[int, _Condition]]:
        if self._left[node] == -1:
            return {}
        goes_left = _Condition(np.float32(-np.inf), np.float32(self._split[node]), self._default_left[node])
        below = self._splits(self._left[node]) | self._splits(self._right[node])
        return {node: (self._column[node], goes_left)} | below

    def _leaves(self, node: int, path: _Path, turns: dict[int, bool]) -> Iterator[_Leaf]:
        if self._left[node] == -1:
            yield _Leaf(path, float(np.float32(self._split[node])), turns)
            return
        for child, left in ((self._left[node], True), (self._right[node], False)):
            yield from self._leaves(child, self._narrowed(path, node, left), turns | {node: left})

    def _narrowed(self, path: _Path, node: int, left: bool) -> _Path:
        split = np.float32(self._split[node])
        low, high, missing = path.get(self._column[node], (np.float32(-np.inf), np.float32(np.inf), True))
        narrowed = _Condition(
            low if left else max(low, split),
            min(high, split) if left else high,
            missing and left == self._default_left[node],
        )
        return path | {self._column[node]: narrowed}


@cache
def _weights(width: int) -> Floats:
    """Return the Shapley weight of path column j for masks p and q, shape (2**width, 2**width, width)."""
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
