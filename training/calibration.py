"""From raw log-odds to a calibrated probability, with an interval that says how sure it is.

References
----------
.. [1] Platt, "Probabilistic outputs for support vector machines", 1999: a sigmoid of the score,
   fitted to smoothed targets.
.. [2] Vovk and Petej, "Venn-Abers predictors", UAI 2014: isotonic fits with the new score
   labelled 0 and then 1 bound its probability.
.. [3] Vovk, Petej and Fedorova, "Large-scale probabilistic predictors with and without guarantees of validity",
   NIPS 2015: all of them from one pass over the scores in each direction.
.. [4] Ayer et al., "An Empirical Distribution Function for Sampling with Incomplete Information", Annals of
   Mathematical Statistics 26, 1955: pooling of adjacent violators, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from feature_repo.errors import InputError
from training.probability import Calibration

Floats = NDArray[np.float64]
_Block = tuple[int, int]  # loans of either outcome
GRID = 200


def calibrate(margins: Floats, defaulted: NDArray[np.bool_]) -> Calibration:
    """Fit the calibration on a slice that the model was not fitted on.

    Parameters
    ----------
    margins : ndarray of float64, shape (n,)
        Raw log-odds.
    defaulted : ndarray of bool, shape (n,)
        Outcomes.

    Raises
    ------
    InputError
        If the slice holds only one outcome, or the model ranks it backwards.
    """
    bad, good = int(defaulted.sum()), int((~defaulted).sum())
    if not bad or not good:
        raise InputError(f"calibration needs both outcomes; the slice has {bad} defaults of {bad + good} loans")
    target = np.where(defaulted, (bad + 1) / (bad + 2), 1 / (good + 2))

    def loss(parameters: Floats) -> float:
        z = parameters[0] * margins + parameters[1]
        return float(np.mean(np.logaddexp(0, z) - target * z))

    fit = minimize(loss, x0=np.array([1.0, 0.0]), method="BFGS", options={"gtol": 1e-10})
    slope, intercept = (float(value) for value in fit.x)
    if not slope > 0:
        raise InputError(f"the model ranks the calibration slice backwards (slope {slope:.3f}): check its features")
    grid, lower, upper = _venn_abers(margins, defaulted)
    return Calibration(
        slope=slope,
        intercept=intercept,
        grid=tuple(grid.tolist()),
        lower=tuple(lower.tolist()),
        upper=tuple(upper.tolist()),
    )


def _venn_abers(margins: Floats, defaulted: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Return grid margins and the isotonic probabilities with each labelled good, then bad."""
    grid = np.unique(np.quantile(margins, np.linspace(0, 1, GRID)))
    distinct, places = np.unique(margins, return_inverse=True)
    loans = np.bincount(places).tolist()
    bads = np.bincount(places[defaulted], minlength=len(loans)).tolist()
    goods = [n - bad for n, bad in zip(loans, bads, strict=True)]
    starts, ends = (np.searchsorted(distinct, grid, side).tolist() for side in ("left", "right"))
    before = list(_blocks(bads, goods, starts))
    behind = list(_blocks(goods[::-1], bads[::-1], [len(loans) - end for end in reversed(ends)]))[::-1]
    bounds = np.empty((2, len(grid)))
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        bad, good = sum(bads[start:end]), sum(goods[start:end])
        for label in (0, 1):
            bounds[label, index] = _pooled(bad + label, good + 1 - label, before[index], behind[index])
    return grid, bounds[0], bounds[1]


def _blocks(rising: list[int], falling: list[int], stops: list[int]) -> Iterator[list[_Block]]:
    """Yield the isotonic fit of all counts before each stop: blocks in which the share of the first kind rises.

    Parameters
    ----------
    rising, falling : list of int
        Loans of either outcome, by margin.
    stops : list of int
        Ascending.
    """
    blocks: list[_Block] = []
    done = 0
    for stop in stops:
        for up, down in zip(rising[done:stop], falling[done:stop], strict=True):
            while blocks and blocks[-1][0] * down >= up * blocks[-1][1]:
                more_up, more_down = blocks.pop()
                up, down = up + more_up, down + more_down
            blocks.append((up, down))
        done = stop
        yield blocks.copy()


def _pooled(bads: int, goods: int, before: list[_Block], behind: list[_Block]) -> float:
    """Return the share of bads in the block that a loan ends in, between the blocks of lower and of higher margins."""
    left, right = len(before), len(behind)
    while True:
        if left and before[left - 1][0] * goods >= bads * before[left - 1][1]:
            left -= 1
            bads, goods = bads + before[left][0], goods + before[left][1]
        elif right and behind[right - 1][0] * bads >= goods * behind[right - 1][1]:
            right -= 1
            bads, goods = bads + behind[right][1], goods + behind[right][0]
        else:
            return bads / (bads + goods)
