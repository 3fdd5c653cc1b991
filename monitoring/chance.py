"""Could chance have done it: p-values of differences between two samples, corrected for how many are looked at.

Sources
-------
B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index", *Journal of Risk
Model Validation* 14(4), 2020: without drift, PSI / (1/n + 1/m) is chi-squared with (bins - 1) degrees.
E. Wilson and M. Hilferty, "The distribution of chi-square", *PNAS* 17, 1931: its cube root is nearly normal.
N. Smirnov, "Table for estimating the goodness of fit of empirical distributions", *Annals of Mathematical
Statistics* 19, 1948: the first term of the two-sample Kolmogorov-Smirnov (KS) distribution.
S. Holm, "A simple sequentially rejective multiple test procedure", *Scandinavian Journal of Statistics* 6, 1979:
bounds the probability of any false rejection, however the tests depend on one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def of_stability(psi: float, bins: int, n: int, m: int) -> float:
    """Return the probability of a PSI this large or larger between samples of one population.

    Parameters
    ----------
    psi : float
        0 or more.
    bins : int
    n, m : int
        Rows of the two, 1 or more.

    Examples
    --------
    >>> round(of_stability(0.25, 10, 200, 200), 5)  # chi-squared of 25 with 9 degrees; 0.00297 by its integral
    0.00308
    """
    degrees = bins - 1
    if degrees < 1:
        return 1.0
    spread = 2 / (9 * degrees)
    return _beyond((math.cbrt(psi / (1 / n + 1 / m) / degrees) - 1 + spread) / math.sqrt(spread))


def of_distance(distance: float, n: int, m: int) -> float:
    """Return the probability, or a bound from above, of a KS distance this large or larger.

    Parameters
    ----------
    distance : float
        In 0..1.
    n, m : int
        Values of the two, 1 or more.

    Examples
    --------
    >>> round(of_distance(0.1, 1000, 1000), 5)
    9e-05
    """
    return min(1.0, 2 * math.exp(-2 * distance**2 * n * m / (n + m)))


def of_shares(some: int, n: int, others: int, m: int) -> float:
    """Return the two-sided probability of shares as different as `some` of `n` and `others` of `m`.

    Normal, by the pooled share.

    Examples
    --------
    >>> round(of_shares(50, 1000, 80, 1000), 4)
    0.0065
    """
    pooled = (some + others) / (n + m)
    variance = pooled * (1 - pooled) * (1 / n + 1 / m)
    return 1.0 if variance == 0 else 2 * _beyond(abs(some / n - others / m) / math.sqrt(variance))


def of_absence(share: float, n: int) -> float:
    """Return the probability that none of `n` rows shows what a share of all has."""
    return float((1 - share) ** n)


def beyond_chance(probabilities: Sequence[float], false_alarm: float) -> list[bool]:
    """Return which of many differences are real, with at most a probability of `false_alarm` of any mistake (Holm).

    Examples
    --------
    >>> beyond_chance([0.02, 0.001, 0.03, 0.9], 0.05)  # 0.001 <= 0.05 / 4, and then 0.02 > 0.05 / 3
    [False, True, False, False]
    """
    order = sorted(range(len(probabilities)), key=probabilities.__getitem__)
    real = [False] * len(order)
    for rank, place in enumerate(order):
        if probabilities[place] > false_alarm / (len(order) - rank):
            break
        real[place] = True
    return real


def _beyond(z: float) -> float:
    """Return the probability that a standard normal variable is above `z`."""
    return 0.5 * math.erfc(z / math.sqrt(2))
