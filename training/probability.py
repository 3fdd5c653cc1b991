"""A calibrated probability and its interval, as the serving process applies them."""

from __future__ import annotations

import math
from bisect import bisect_left

import msgspec


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Sigmoid calibration and Venn-Abers interval of one model, as plain numbers.

    Parameters
    ----------
    slope, intercept : float
        Calibrated log-odds = slope * margin + intercept; slope > 0.
    grid : tuple of float
        Ascending margins at which the interval was fitted.
    lower, upper : tuple of float
        Venn-Abers probabilities p0 <= p1 at each grid margin.
    """

    slope: float
    intercept: float
    grid: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def log_odds(self, margin: float) -> float:
        """Return the calibrated log-odds of default of one raw margin."""
        return self.slope * margin + self.intercept

    def interval(self, margin: float) -> tuple[float, float]:
        """Return the probability interval of one raw margin, widened to hold its calibrated PD."""
        pd = probability(self.log_odds(margin))
        right = min(bisect_left(self.grid, margin), len(self.grid) - 1)
        left = max(right - 1, 0)
        nearest = left if margin - self.grid[left] <= self.grid[right] - margin else right
        return min(self.lower[nearest], pd), max(self.upper[nearest], pd)


def probability(log_odds: float) -> float:
    """Return the probability of log-odds, without overflow.

    Examples
    --------
    >>> probability(0.0), probability(-800.0)
    (0.5, 0.0)
    """
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    odds = math.exp(log_odds) if log_odds > -745 else 0.0
    return odds / (1 + odds)
