"""Discrimination and calibration of a scored sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from feature_repo.errors import InputError

Floats = NDArray[np.float64]
ECE_BINS = 10


def metrics(prefix: str, pd: Floats, defaulted: NDArray[np.bool_], cutoff: float) -> dict[str, float]:
    """Return the metrics of one sample, keyed ``<prefix>_auc`` and so on.

    Parameters
    ----------
    prefix : str
        ``train`` or ``oot``.
    pd : ndarray of float64, shape (n,)
        Probabilities of default.
    defaulted : ndarray of bool, shape (n,)
        Outcomes.
    cutoff : float
        Highest PD that is approved; accuracy counts declined defaults and approved good loans.

    Returns
    -------
    dict of str to float
        AUC; KS (largest distance of the score distributions); Gini = 2 AUC - 1; Brier score; ECE
        over ten equal-count bins; accuracy at the cutoff. All in 0..1, Gini in -1..1.

    Raises
    ------
    InputError
        If the sample has only one outcome.
    """
    if defaulted.all() or not defaulted.any():
        raise InputError(
            f"{prefix}: {int(defaulted.sum())} defaults of {len(defaulted)} loans; metrics need both outcomes"
        )
    false_positive, true_positive, _ = roc_curve(defaulted, pd)
    auc = float(roc_auc_score(defaulted, pd))
    return {
        f"{prefix}_auc": auc,
        f"{prefix}_ks": float(np.max(true_positive - false_positive)),
        f"{prefix}_gini": 2 * auc - 1,
        f"{prefix}_brier": float(brier_score_loss(defaulted, pd)),
        f"{prefix}_ece": expected_calibration_error(pd, defaulted),
        f"{prefix}_accuracy": float(np.mean((pd > cutoff) == defaulted)),
    }


def expected_calibration_error(pd: Floats, defaulted: NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Return the mean distance of predicted and observed default rate over equal-count bins.

    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", AAAI 2015, with equal-count bins.
    """
    order = np.argsort(pd, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(len(part) * abs(pd[part].mean() - defaulted[part].mean()) for part in parts) / len(order))
