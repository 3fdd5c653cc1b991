"""Exact interventional Shapley values of a tree ensemble by table lookup, with the score in the same pass.

An ensemble is cut into *branches*, subtrees with few conditions. Which of its conditions a row satisfies is
a number, the branch's *code*; a table tells for each code what the branch adds to the score and to
the Shapley value of each of its features. `training.shap_tables` computes the tables, `training.lookup`
reads them: a row costs one bisection a column and one lookup a branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.columns import Matrix
from training.lookup import Floats, Lookup, Switch, switch


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
        sums = np.zeros((len(rows), 1 + max(rows.shape[1], len(self.switches))))
        for row, found in zip(rows.tolist(), sums, strict=True):  # one kernel: a batch is bit for bit its single rows
            codes = 0
            for x, column in zip(row, self.switches, strict=False):
                codes |= column.at(x)
            found[: len(self.switches) + 1] = self._by_column.sums(codes)
        return self.base_margin + sums[:, 0], sums[:, 1 : 1 + rows.shape[1]]

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

    def lookup(self, groups: Sequence[int]) -> Lookup:
        """Return the tables as sums over groups of columns, given the group of each column."""
        return Lookup(self.value, self.impact, self.owner, groups)

    @cached_property
    def switches(self) -> list[Switch]:
        """What each column adds to the codes; columns behind the last of them have no condition."""
        count = int(max(self.column.max(), self.owner.max())) + 1
        found = []
        for mine in (self.column == column for column in range(count)):
            low, high = (np.where(mine, limits, np.float32(np.nan)) for limits in (self.low, self.high))
            found.append(switch(low, high, mine & self.missing))
        return found

    @cached_property
    def _by_column(self) -> Lookup:
        return self.lookup(range(len(self.switches)))
