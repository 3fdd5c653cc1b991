"""Exact interventional Shapley values of a tree ensemble by table lookup, with the score in the same pass.

An ensemble is cut into *branches*, subtrees with few conditions. Which of its conditions a row satisfies is
a number, the branch's *code*; a table tells for each code what the branch adds to the score and to
the Shapley value of each of its features. `training.shap_tables` computes the tables. Between two
neighbouring thresholds of a column no condition changes, so that the bits of all codes are looked up
too: a row costs one bisection a column and one lookup a branch.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.columns import Matrix

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Switches:
    """The bits of every branch's code, by column and by interval of its values.

    Parameters
    ----------
    thresholds : list of list of float
        Ascending, by column.
    first : list of int
        Row of `bits` for values below all thresholds of the column; the last of its rows is for a missing value.
    bits : ndarray of uint8, shape (intervals, B)
    """

    thresholds: list[list[float]]
    first: list[int]
    bits: NDArray[np.uint8]


@dataclass(frozen=True)
class ShapTables:
    """A compiled ensemble of B branches with at most C conditions on at most D distinct columns.

    Parameters
    ----------
    base_margin : float
        Log-odds before any tree.
    reference_margin : float
        Mean log-odds of the reference population; impacts add up to margin minus this.
    column : ndarray of int32, shape (B, C)
        Column of each condition.
    low, high : ndarray of float32, shape (B, C)
        The condition is ``low <= x < high``; one that pads never holds.
    missing : ndarray of bool, shape (B, C)
        Whether a missing value satisfies the condition.
    value : ndarray of float64, shape (B, 2**C)
        Log-odds that the branch adds, by code: bit c says whether condition c holds.
    owner : ndarray of int32, shape (B, D)
        Columns that the branch explains; one that pads has no impact.
    impact : ndarray of float64, shape (B, 2**C, D)
        Mean Shapley contribution of each of these columns, by code.
    """

    base_margin: float
    reference_margin: float
    column: NDArray[np.int32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    missing: NDArray[np.bool_]
    value: Floats
    owner: NDArray[np.int32]
    impact: Floats

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
        table, owners, offsets = self._terms
        count, k = rows.shape
        sums = np.empty((count, k + 1))
        for index, row in enumerate(rows.tolist()):  # one row at a time: a batch is bit for bit its single rows
            terms = table.take(offsets + self._codes(row), axis=0)
            sums[index] = np.bincount(owners, weights=terms.ravel(), minlength=k + 1)[: k + 1]
        return self.base_margin + sums[:, 0], sums[:, 1:]

    def margins(self, rows: Matrix) -> Floats:
        """Return the log-odds of n rows, shape (n,)."""
        return self.explain(rows)[0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tables as plain arrays, for a file."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> ShapTables:
        """Restore what `arrays` returned."""
        return cls(
            base_margin=float(arrays["base_margin"]),
            reference_margin=float(arrays["reference_margin"]),
            **{name: arrays[name] for name in ("column", "low", "high", "missing", "value", "owner", "impact")},
        )

    def _codes(self, row: list[float]) -> NDArray[np.uint8]:
        switches = self._switches
        chosen = [
            first + (len(thresholds) + 1 if x != x else bisect_right(thresholds, x))
            for x, thresholds, first in zip(row, switches.thresholds, switches.first, strict=False)
        ]
        codes: NDArray[np.uint8] = np.bitwise_or.reduce(switches.bits[chosen], axis=0)
        return codes

    @cached_property
    def _terms(self) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
        """Score and impacts of each code of each branch, one after the other, and whose sums they go to."""
        branches, codes = self.value.shape
        table = np.concatenate([self.value[:, :, None], self.impact], axis=2).reshape(branches * codes, -1)
        owners = np.concatenate([np.zeros((branches, 1), np.int32), self.owner + 1], axis=1)
        return np.ascontiguousarray(table), owners.ravel().astype(np.intp), np.arange(branches) * codes

    @cached_property
    def _switches(self) -> _Switches:
        weight = np.left_shift(1, np.arange(self.column.shape[1])).astype(np.uint8)
        thresholds: list[list[float]] = []
        first, parts, start = [], [], 0
        for column in range(int(self.column.max()) + 1):  # those behind it have no condition
            mine = self.column == column
            limits = np.unique(np.concatenate([self.low[mine], self.high[mine]]))
            limits = limits[np.isfinite(limits)]
            held = [mine & (self.low <= x) & (x < self.high) for x in (-np.inf, *limits)]
            held.append(mine & self.missing)
            parts.append(np.stack([(hold * weight).sum(axis=1, dtype=np.uint8) for hold in held]))
            thresholds.append(limits.tolist())
            first.append(start)
            start += len(parts[-1])
        return _Switches(thresholds, first, np.concatenate(parts))
