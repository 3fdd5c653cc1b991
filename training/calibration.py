"""From raw log-odds to a calibrated probability, with an interval that says how sure it is.

References
----------
.. [1] Platt, "Probabilistic outputs for support vector machines", 1999: a sigmoid of the score,
   fitted to smoothed targets.
.. [2] Vovk and Petej, "Venn-Abers predictors", UAI 2014: isotonic fits with the new score
   labelled 0 and then 1 bound its probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from feature_repo.errors import InputError
from training.probability import Calibration

Floats = NDArray[np.float64]
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
    bounds = [np.empty(len(grid)), np.empty(len(grid))]
    labels = defaulted.astype(np.float64)
    for index, margin in enumerate(grid):
        for label in (0, 1):
            isotonic = IsotonicRegression(y_min=0, y_max=1)
            fitted = isotonic.fit_transform(np.append(margins, margin), np.append(labels, label))
            bounds[label][index] = fitted[-1]
    return grid, bounds[0], bounds[1]
