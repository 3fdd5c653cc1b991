"""The tables of an ensemble, laid out for one row after the other: the one kernel of every score."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Switch:
    """What one column adds to the codes of all branches.

    Between two neighbouring thresholds no condition changes. The codes of all B branches are one whole number of
    B bytes, so that those of a row are an OR of one number for each column.

    Parameters
    ----------
    thresholds : list of float
        Ascending.
    codes : list of int
        Of values below all thresholds, from the first on, from the second on and so on.
    missing : int
        Of a missing value.
    """

    thresholds: list[float]
    codes: list[int]
    missing: int

    def at(self, x: float | None) -> int:
        """Return the codes of a value; None and NaN are missing."""
        return self.missing if x is None or x != x else self.codes[bisect_right(self.thresholds, x)]


def switch(low: NDArray[np.float32], high: NDArray[np.float32], missing: NDArray[np.bool_]) -> Switch:
    """Return the switch of one column.

    Parameters
    ----------
    low, high : ndarray of float32, shape (B, C)
        Its conditions ``low <= x < high`` by branch and place in the code, NaN where a condition is not its own.
    missing : ndarray of bool, shape (B, C)
        Which of them hold for a missing value.
    """
    limits = np.unique(np.concatenate([low, high]))
    limits = limits[np.isfinite(limits)]
    weight = np.left_shift(1, np.arange(low.shape[1])).astype(np.uint8)

    def codes(held: NDArray[np.bool_]) -> int:
        return int.from_bytes((held * weight).sum(axis=1, dtype=np.uint8).tobytes(), "little")

    inside = [codes((low <= x) & (x < high)) for x in (np.float32(-np.inf), *limits)]
    return Switch(_rounding_to(limits).tolist(), inside, codes(missing))


def _rounding_to(limits: NDArray[np.float32]) -> Floats:
    """Return the smallest doubles that are at least the limits once rounded to float32, to the nearest, ties to even.

    The model compares in float32; with these a double is compared as it is.
    """
    below = np.nextafter(limits, np.float32(-np.inf)).astype(np.float64)
    middle = (below + limits) / 2
    is_odd = limits.view(np.uint32) & 1 == 1
    return np.where(is_odd, np.nextafter(middle, np.inf), middle)


class Lookup:
    """Sums of an ensemble's terms, its columns taken together in groups.

    Parameters
    ----------
    value : ndarray of float64, shape (B, 2**C)
        Log-odds that a branch adds, by code.
    impact : ndarray of float64, shape (B, 2**C, D)
        Shapley contributions to the columns that it explains, by code.
    owner : ndarray of int32, shape (B, D)
        These columns.
    groups : sequence of int
        Group of each column, from 0 on.
    """

    def __init__(self, value: Floats, impact: Floats, owner: NDArray[np.int32], groups: Sequence[int]) -> None:
        branches, codes = value.shape
        self._size = max(groups) + 2
        self._branches = branches
        self._table = np.concatenate([value[:, :, None], impact], axis=2).reshape(branches * codes, -1)
        places = np.asarray(groups, np.intp)[owner] + 1
        self._owners = np.concatenate([np.zeros((branches, 1), np.intp), places], axis=1).ravel()
        self._offsets = np.arange(branches) * codes

    def sums(self, codes: int) -> Floats:
        """Return what all branches add to the score, and then to each group, in log-odds."""
        places = self._offsets + np.frombuffer(codes.to_bytes(self._branches, "little"), np.uint8)
        terms = self._table.take(places, axis=0)
        sums: Any = np.bincount(self._owners, weights=terms.ravel(), minlength=self._size)
        return cast(Floats, sums)
