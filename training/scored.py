"""Loans with their calibrated PD: what evaluation, fairness and promotion look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ScoredLoans:
    """n loans with known outcomes, scored by one model.

    Parameters
    ----------
    decided : ndarray of datetime64[us], shape (n,)
        When each was decided, UTC.
    pd : ndarray of float64, shape (n,)
        Calibrated probability of default, 0..1.
    score : ndarray of int64, shape (n,)
        Credit score of that PD, by the policy's scale.
    defaulted : ndarray of bool, shape (n,)
        Outcomes.
    """

    decided: NDArray[np.datetime64]
    pd: Floats
    score: NDArray[np.int64]
    defaulted: Bools

    def __len__(self) -> int:
        return len(self.pd)

    def where(self, rows: Bools) -> ScoredLoans:
        """Return the chosen loans."""
        return ScoredLoans(
            decided=self.decided[rows], pd=self.pd[rows], score=self.score[rows], defaulted=self.defaulted[rows]
        )
