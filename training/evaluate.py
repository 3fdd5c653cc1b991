"""Discrimination, calibration and stability of a scored sample.

References
----------
.. [1] Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015:
   the expected calibration error (ECE), here with bins of equal count.
.. [2] Murphy, "A New Vector Partition of the Probability Score", Journal of Applied Meteorology 12, 1973.
.. [3] Stephenson, Coelho and Jolliffe, "Two Extra Components in the Brier Score Decomposition", Weather and
   Forecasting 23, 2008: what is left over if the forecasts in a bin are not all alike.
.. [4] Siddiqi, "Credit Risk Scorecards", 2006: the population stability index (PSI) on deciles; above 0.25 the
   population has shifted. Half a count is added to each bin (Krichevsky and Trofimov, 1981), as in monitoring.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss

from feature_repo.errors import InputError
from training.scored import Bools, Floats
from training.uncertainty import auc_interval, ks_interval

Numbers = NDArray[np.float64] | NDArray[np.int64]

ECE_BINS = 10
PSI_BINS = 10
_SEED = 0


@dataclass(frozen=True)
class ReliabilityBin:
    """Loans of neighbouring PD: how many, what was said of them and what happened."""

    loans: int
    bads: int
    mean_pd: float

    @property
    def bad_rate(self) -> float:
        """Share that defaulted, 0..1."""
        return self.bads / self.loans


def metrics(prefix: str, pd: Floats, defaulted: Bools, cutoff: float) -> dict[str, float]:
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
        AUC; KS (largest excess of bads' over goods' share above a cutoff); their 95 % intervals, ``_low`` and
        ``_high``; Gini = 2 AUC - 1; Brier score and its parts (see `brier_parts`); ECE over ten equal-count
        bins; accuracy at the cutoff. All in 0..1, but Gini in -1..1 and ``_brier_within`` of any sign.

    Raises
    ------
    InputError
        If the sample has only one outcome.
    """
    if defaulted.all() or not defaulted.any():
        raise InputError(
            f"{prefix}: {int(defaulted.sum())} defaults of {len(defaulted)} loans; metrics need both outcomes"
        )
    auc, ks = auc_interval(defaulted, pd), ks_interval(defaulted, pd, seed=_SEED)
    found = {
        "auc": auc.estimate,
        "auc_low": auc.low,
        "auc_high": auc.high,
        "ks": ks.estimate,
        "ks_low": ks.low,
        "ks_high": ks.high,
        "gini": 2 * auc.estimate - 1,
        "brier": float(brier_score_loss(defaulted, pd)),
        "ece": expected_calibration_error(pd, defaulted),
        "accuracy": float(np.mean((pd > cutoff) == defaulted)),
    }
    return {f"{prefix}_{name}": value for name, value in (found | brier_parts(pd, defaulted)).items()}


def reliability_bins(pd: Floats, defaulted: Bools, bins: int = ECE_BINS) -> list[ReliabilityBin]:
    """Return equal-count bins of rising PD; fewer than asked for if there are fewer loans."""
    order = np.argsort(pd, kind="stable")
    return [
        ReliabilityBin(len(part), int(defaulted[part].sum()), float(pd[part].mean()))
        for part in np.array_split(order, min(bins, len(order)))
    ]


def expected_calibration_error(pd: Floats, defaulted: Bools, bins: int = ECE_BINS) -> float:
    """Return the mean distance of predicted and observed default rate over equal-count bins [1]_."""
    parts = reliability_bins(pd, defaulted, bins)
    return float(sum(part.loans * abs(part.mean_pd - part.bad_rate) for part in parts) / len(pd))


def brier_parts(pd: Floats, defaulted: Bools, bins: int = ECE_BINS) -> dict[str, float]:
    """Return what a Brier score is made of, over the bins of the ECE [2]_.

    Returns
    -------
    dict of str to float
        ``brier_reliability``: mean squared distance of mean PD and bad rate of a bin, 0 being best.
        ``brier_resolution``: variance of the bins' bad rates, the more the better. ``brier_uncertainty``:
        variance of the outcome, which no model changes. ``brier_within``: what is left, since PDs differ
        within a bin: their variance less twice their covariance with the outcome there [3]_; negative where the
        model ranks well within bins. Brier = reliability - resolution + uncertainty + within, exactly.
    """
    parts = reliability_bins(pd, defaulted, bins)
    n, base = len(pd), float(defaulted.mean())
    reliability = sum(part.loans * (part.mean_pd - part.bad_rate) ** 2 for part in parts) / n
    resolution = sum(part.loans * (part.bad_rate - base) ** 2 for part in parts) / n
    uncertainty = base * (1 - base)
    return {
        "brier_reliability": reliability,
        "brier_resolution": resolution,
        "brier_uncertainty": uncertainty,
        "brier_within": float(brier_score_loss(defaulted, pd)) - (reliability - resolution + uncertainty),
    }


def population_stability(reference: Numbers, current: Numbers) -> float:
    """Return the PSI of a sample against the deciles of a reference [4]_, 0 or more.

    A value on a border belongs below it. Borders that coincide, as of scores with many ties, count once.

    Parameters
    ----------
    reference, current : ndarray of numbers, shapes (n,) and (m,)
        Scores or PDs, at least one of each, none missing.
    """
    _, p, q = decile_shares(reference, current)
    return float(np.sum((q - p) * np.log(q / p)))


def decile_shares(reference: Numbers, current: Numbers) -> tuple[list[float], Floats, Floats]:
    """Return the least upper bounds of the reference's deciles and both samples' shares in them, as the PSI takes them.

    Returns
    -------
    tuple of list of float, and two ndarray of float64, shape (k,)
        Bounds, the last one being infinite; shares that add up to 1, half a count added to each bin that holds any.
    """
    ordered = np.sort(reference)
    inner = np.unique(ordered[-(-len(ordered) * np.arange(1, PSI_BINS) // PSI_BINS) - 1])
    counts = np.array([np.bincount(np.searchsorted(inner, x), minlength=len(inner) + 1) for x in (reference, current)])
    used = counts.any(axis=0)
    smoothed = counts[:, used] + 0.5
    shares = smoothed / smoothed.sum(axis=1, keepdims=True)
    return np.append(inner.astype(np.float64), np.inf)[used].tolist(), shares[0], shares[1]
