"""How sure a difference of two groups is: of shares, of their ratio, of mean scores.

References
----------
.. [1] Koopman, "Confidence Intervals for the Ratio of Two Binomial Proportions", Biometrics 40, 1984: ratios that a
   chi-square test does not reject, with the shares most likely under each.
.. [2] Newcombe, "Interval Estimation for the Difference between Independent Proportions", Statistics in Medicine 17,
   1998: method 10, from two Wilson score intervals.
.. [3] Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd ed. 1988, chapter 2: difference of means
   over the pooled standard deviation.
.. [4] Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: percentile intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from training.scored import Floats
from training.uncertainty import LEVEL, RESAMPLES, Interval, share_interval

WIDEST = 1e12


def ratio_interval(found: int, n: int, other: int, other_n: int, level: float = LEVEL) -> Interval:
    """Return the ratio of two independent shares, ``found / n`` over ``other / other_n``, with its score interval [1]_.

    Parameters
    ----------
    found, n : int
        Of n > 0 loans of one group.
    other, other_n : int
        Of the other group, 0 < other <= other_n.
    level : float
        Share of samples whose interval holds the truth, 0..1.
    """
    share, other_share = found / n, other / other_n
    limit = float(norm.ppf((1 + level) / 2))

    def distance(log_ratio: float) -> float:
        ratio = np.exp(log_ratio)
        # The smaller root of (n + other_n) ratio p^2 - (one + two) p + found + other = 0, free of cancellation.
        one, two = other_n + found, (n + other) * ratio
        root = np.sqrt((one - two) ** 2 + 4 * ratio * (n - found) * (other_n - other))
        expected = 2 * (found + other) / (one + two + root)
        variance = ratio * expected * (1 - ratio * expected) / n + ratio**2 * expected * (1 - expected) / other_n
        gap = share - ratio * other_share
        return float(gap / np.sqrt(variance)) if variance > 0 else float(np.sign(gap)) * WIDEST

    estimate, far = (found * other_n) / (n * other), float(np.log(WIDEST))
    near = float(np.log(estimate)) if found else -far
    low = float(np.exp(brentq(lambda x: distance(x) - limit, -far, near))) if found else 0.0
    high = float(np.exp(brentq(lambda x: distance(x) + limit, near, far)))
    return Interval(estimate, low, high)


def difference_interval(found: int, n: int, other: int, other_n: int, level: float = LEVEL) -> Interval:
    """Return the difference of two independent shares, ``found / n - other / other_n``, by Newcombe's method [2]_."""
    one, two = share_interval(found, n, level), share_interval(other, other_n, level)
    difference = one.estimate - two.estimate
    return Interval(
        difference,
        difference - float(np.hypot(one.estimate - one.low, two.high - two.estimate)),
        difference + float(np.hypot(one.high - one.estimate, two.estimate - two.low)),
    )


def standardised_difference(
    counts: NDArray[np.int64],
    other_counts: NDArray[np.int64],
    scores: Floats,
    random: np.random.Generator,
    level: float = LEVEL,
) -> Interval | None:
    """Return Cohen's d [3]_ of two groups' scores with a percentile interval of the bootstrap [4]_.

    Loans of one score are alike, so that drawing how many have each score is drawing loans, at any number of loans.

    Parameters
    ----------
    counts, other_counts : ndarray of int64, shape (k,)
        Loans of each group by score, two or more in all.
    scores : ndarray of float64, shape (k,)
    random : Generator
    level : float
        Share of samples whose interval holds the truth, 0..1.

    Returns
    -------
    Interval or None
        None if all scores are one.
    """
    estimate = float(_cohens_d(counts[None], other_counts[None], scores)[0])
    if not np.isfinite(estimate):
        return None
    drawn = _cohens_d(
        random.multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES),
        random.multinomial(other_counts.sum(), other_counts / other_counts.sum(), size=RESAMPLES),
        scores,
    )
    low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def _cohens_d(counts: NDArray[np.int64], other_counts: NDArray[np.int64], scores: Floats) -> Floats:
    """Return d of each of r pairs of samples, counts of shape (r, k); not finite where all scores are one."""
    sizes, means, squares = [], [], []
    for sample in (counts, other_counts):
        size = sample.sum(axis=1)
        mean = sample @ scores / size
        sizes.append(size)
        means.append(mean)
        squares.append(sample @ scores**2 - size * mean**2)
    pooled = np.sqrt(np.maximum(squares[0] + squares[1], 0) / (sizes[0] + sizes[1] - 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((means[0] - means[1]) / pooled)
