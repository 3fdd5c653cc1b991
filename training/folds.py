"""Folds in time: what is learned from always lies before what it is tried on, as in use.

References
----------
.. [1] Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed. 2021, section 5.10: evaluation on a
   rolling forecasting origin, here with an expanding window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import InputError


@dataclass(frozen=True)
class Fold:
    """Row numbers of one fold: to learn from, and the later ones to be tried on."""

    earlier: NDArray[np.intp]
    later: NDArray[np.intp]


def expanding_folds(decided: NDArray[np.datetime64], defaulted: NDArray[np.bool_], count: int) -> tuple[Fold, ...]:
    """Cut loans by decision time into ``count + 1`` blocks; each fold learns from all blocks before the one it tries.

    Loans of one instant are never parted, so that blocks are of nearly equal size. A fold one side of
    which has only one outcome is left out.

    Parameters
    ----------
    decided : ndarray of datetime64, shape (n,)
    defaulted : ndarray of bool, shape (n,)
    count : int
        Folds wanted, at least 1.

    Raises
    ------
    InputError
        If no fold has both outcomes on both sides.
    """
    ordered = np.sort(decided)
    borders = [ordered[len(ordered) * part // (count + 1)] for part in range(1, count + 1)]
    ends = [*borders[1:], None]
    folds = []
    for begin, end in zip(borders, ends, strict=True):
        earlier = np.flatnonzero(decided < begin)
        later = np.flatnonzero((decided >= begin) & (decided < end if end is not None else True))
        if all(len(np.unique(defaulted[rows])) == 2 for rows in (earlier, later)):
            folds.append(Fold(earlier, later))
    if not folds:
        raise InputError(f"no fold of {len(decided)} loans has both outcomes before and after it: move --oot-start")
    return tuple(folds)
