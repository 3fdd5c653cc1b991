"""What drift compares: small summaries of columns, their histograms on common bins, and two distances.

Sources
-------
R. Krichevsky and V. Trofimov, "The performance of universal encoding", *IEEE Transactions on Information
Theory* 27, 1981: half a count added to every bin, so that an empty bin is rare and not impossible.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MOST_CATEGORIES = 20


class Distribution(msgspec.Struct, frozen=True):
    """A distribution function as steps: `cdf` is the share of values at or below each of `points`.

    Parameters
    ----------
    points : tuple of float
        Strictly increasing, finite.
    cdf : tuple of float
        As many, not decreasing, the last one 1.
    """

    points: tuple[float, ...]
    cdf: tuple[float, ...]

    def at(self, x: Floats) -> Floats:
        """Return the shares of values at or below each of `x`, in 0..1, in its shape."""
        steps = np.array((0.0, *self.cdf))
        return steps[np.searchsorted(self.points, x, side="right")]


class ColumnSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All that drift needs to know of one column.

    Parameters
    ----------
    n, null : int
        Rows, and those of them without a value.
    distribution : Distribution or None
        Of a numeric column with values.
    counts : dict of str to int
        Rows by category of a categorical column, possibly of the most frequent ones only.
    """

    n: int
    null: int
    distribution: Distribution | None = None
    counts: dict[str, int] = {}

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.n - self.null

    @property
    def kind(self) -> Literal["numeric", "categorical", "empty"]:
        """What the values are."""
        return "empty" if not self.present else "numeric" if self.distribution else "categorical"


def population_stability(reference: Floats, current: Floats) -> float:
    """Return the population stability index of two histograms.

    PSI = sum (q - p) ln(q / p) over the bins that hold anything, with p and q the shares after half
    a count is added to each (Krichevsky and Trofimov, 1981).

    Parameters
    ----------
    reference, current : numpy.ndarray of shape (n_bins,)
        Counts, 0 or more, of the same bins.

    Returns
    -------
    float
        0 or more; 0 for equal shares.

    Examples
    --------
    >>> round(population_stability(np.array([500, 500]), np.array([400, 600])), 3)
    0.041
    """
    used = (reference > 0) | (current > 0)
    p, q = reference[used] + 0.5, current[used] + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def ks_distance(reference: Distribution, current: Distribution) -> float:
    """Return the largest distance of two distribution functions, in 0..1.

    Both are steps, so it is attained at a point of one of them.
    """
    pooled = np.union1d(reference.points, current.points)
    return float(np.max(np.abs(reference.at(pooled) - current.at(pooled))))


def histograms(reference: ColumnSummary, current: ColumnSummary, bins: int) -> tuple[list[str], Floats, Floats]:
    """Return the labels and the two counts of common bins that hold anything, missing values last.

    Parameters
    ----------
    reference, current : ColumnSummary
    bins : int
        Quantile bins of a numeric reference; fewer where quantiles tie or values are few.

    Returns
    -------
    labels : list of str
    reference, current : numpy.ndarray of shape (n_labels,)
        Rows in each bin.
    """
    if reference.distribution and (current.distribution or not current.present):
        labels, before, after = _numeric(reference.distribution, current.distribution, bins)
    elif reference.kind == current.kind == "categorical":
        labels, before, after = _categorical(reference, current)
    else:
        labels, before, after = ["any value"], np.ones(1), np.ones(1)
    before = np.append(before * reference.present, reference.null)
    after = np.append(after * current.present, current.null)
    used = (before > 0) | (after > 0)
    return [label for label, use in zip([*labels, "missing"], used, strict=True) if use], before[used], after[used]


def _numeric(reference: Distribution, current: Distribution | None, bins: int) -> tuple[list[str], Floats, Floats]:
    points, cdf = np.array(reference.points), np.array(reference.cdf)
    if len(points) <= bins:
        # A handful of values: one bin each, and one on either side for values never seen before.
        edges = np.append(np.nextafter(points[0], -np.inf), points)
        labels = [f"< {points[0]:.6g}", *(f"{x:.6g}" for x in points), f"> {points[-1]:.6g}"]
    else:
        # Quantiles that tie, as at the zeros of a mostly zero column, make one bin.
        edges = np.unique(points[np.searchsorted(cdf, np.arange(1, bins) / bins)])
        inner = [f"{a:.6g} to {b:.6g}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
        labels = [f"to {edges[0]:.6g}", *inner, f"over {edges[-1]:.6g}"]

    def shares(distribution: Distribution | None) -> Floats:
        steps = distribution.at(edges) if distribution else np.zeros(len(edges))
        return np.diff(steps, prepend=0.0, append=1.0)

    return labels, shares(reference), shares(current)


def _categorical(reference: ColumnSummary, current: ColumnSummary) -> tuple[list[str], Floats, Floats]:
    seen = sorted(
        reference.counts.keys() | current.counts.keys(),
        key=lambda name: (-reference.counts.get(name, 0), -current.counts.get(name, 0), name),
    )[:_MOST_CATEGORIES]

    def shares(column: ColumnSummary) -> Floats:
        named = [column.counts.get(name, 0) for name in seen]
        return np.array([*named, max(column.present - sum(named), 0)]) / column.present

    return [*seen, "all others"], shares(reference), shares(current)
