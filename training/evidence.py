"""All that a report on a trained model is drawn from, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.scored import Floats, ScoredLoans


@dataclass(frozen=True, kw_only=True)
class Economics:
    """What each of n loans earns or costs the lender if it is made at the price of its PD.

    Parameters
    ----------
    gain_if_good : ndarray of float64, shape (n,)
        Finance charge less the cost of funds, in currency.
    loss_if_bad : ndarray of float64, shape (n,)
        Loss given default of the exposure at default, in currency, not negative.
    """

    gain_if_good: Floats
    loss_if_bad: Floats


@dataclass(frozen=True, kw_only=True)
class Impacts:
    """What each feature did to the calibrated log-odds of m loans.

    Parameters
    ----------
    values : dict of str to ndarray of object, shape (m,)
        Feature values by name, None where missing.
    impacts : dict of str to ndarray of float64, shape (m,)
        Interventional Shapley values times the calibration's slope, by the same names.
    """

    values: Mapping[str, NDArray[np.object_]]
    impacts: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was trained, on what, and how it did.

    Parameters
    ----------
    facts : dict of str to str
        What identifies the run, for the head of the report: model, feature service, seed, digests, instants.
    parameters : dict of str to str
        Hyperparameters of the fit.
    waterfall : dict of str to int
        How many loans each exclusion left, in order.
    cutoff : float
        Highest PD that the policy approves.
    fitted, last, oot : ScoredLoans
        The earlier loans; the later slice before the out-of-time window, on which the calibration was fitted, scored by
        a model of the earlier loans alone; the out-of-time window, scored by the model of all loans before it.
    rivals : dict of str to ndarray of float64
        PD of every loan of `oot` by each baseline, by its name.
    segments : dict of str to ndarray of object
        Of every loan of `oot`, the segment it belongs to, by the name of the segmentation; None is missing.
    impacts : Impacts
        Of a sample of `oot`.
    last_economics, oot_economics : Economics
        Of every loan of `last` and of `oot`.
    true_pd : ndarray of float64 or None
        Of every loan of `oot`, where a simulator knows it.
    metrics : dict of str to float
        As recorded with the run.
    highest_score : int or None
        Points at which credit scores end.
    stable_up_to : float
        PD up to which the scores of loans fitted on and out of time are held against each other, 0..1.
    """

    facts: Mapping[str, str]
    parameters: Mapping[str, str]
    waterfall: Mapping[str, int]
    cutoff: float
    fitted: ScoredLoans
    last: ScoredLoans
    oot: ScoredLoans
    impacts: Impacts
    last_economics: Economics
    oot_economics: Economics
    rivals: Mapping[str, Floats] = field(default_factory=dict)
    segments: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    true_pd: Floats | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    highest_score: int | None = None
    stable_up_to: float = 1.0

    @property
    def compared_pd(self) -> tuple[Floats, Floats]:
        """PDs of loans fitted on and out of time, up to `stable_up_to`."""
        fitted, oot = self.fitted.pd, self.oot.pd
        return fitted[fitted <= self.stable_up_to], oot[oot <= self.stable_up_to]
