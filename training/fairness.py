"""Whom a model treats differently: diagnostics by attributes that it never saw. They measure; they do not certify.

Each group of an attribute is compared with the reference group, the most approved one of sufficient size.

References
----------
.. [1] 29 CFR 1607.4(D): a selection rate below four fifths of the highest group's is generally regarded as evidence of
   adverse impact. The ratio of the two is the adverse impact ratio (AIR).
.. [2] Katz, Baptista, Azen and Pike, "Obtaining Confidence Intervals for the Risk Ratio in Cohort Studies", Biometrics
   34, 1978, with half a loan added to both outcomes, so that none approved and all approved have one too.
.. [3] Hedges and Olkin, "Statistical Methods for Meta-Analysis", 1985, chapter 5: the standardised mean difference
   (SMD) over the pooled standard deviation, and its large-sample variance.
.. [4] Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning", NIPS 2016: equal approval among those
   who repay.
.. [5] 12 CFR 1002.2(o): "elderly" is 62 or older, which the last age band begins with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from training.scored import Bools, Floats, ScoredLoans
from training.uncertainty import LEVEL, Interval, share_interval

FOUR_FIFTHS = 0.8
FEWEST = 30  # loans of a group, and good ones among them, below which nothing is said
UNKNOWN = "unknown"
_Z = float(norm.ppf((1 + LEVEL) / 2))
_AGE_BANDS = ((62, "62 and over"), (50, "50 to 61"), (35, "35 to 49"), (25, "25 to 34"), (0, "under 25"))


class GroupResult(msgspec.Struct, frozen=True, kw_only=True):
    """One group of one protected attribute. What too few loans cannot tell is None.

    Parameters
    ----------
    attribute, group : str
    loans : int
    reference : bool
        Whether the others are compared with this group.
    approval : Interval or None
        Share approved at the cutoff, 0..1; Wilson's interval.
    adverse_impact_ratio : Interval or None
        Approval over the reference's.
    score_difference : Interval or None
        SMD of the credit score, in standard deviations; below 0 the group scores lower than the reference.
    opportunity_gap : Interval or None
        Approval among those who repaid, less the reference's, -1..1.
    calibration_gap : Interval or None
        Mean PD less the observed default rate, -1..1; above 0 the group's risk is overstated.
    """

    attribute: str
    group: str
    loans: int
    reference: bool
    approval: Interval | None = None
    adverse_impact_ratio: Interval | None = None
    score_difference: Interval | None = None
    opportunity_gap: Interval | None = None
    calibration_gap: Interval | None = None

    @property
    def below_four_fifths(self) -> bool:
        """Whether even the upper bound of the adverse impact ratio is below four fifths."""
        return self.adverse_impact_ratio is not None and self.adverse_impact_ratio.high < FOUR_FIFTHS


class FairnessReport(msgspec.Struct, frozen=True, kw_only=True):
    """The diagnostics of one model at one cutoff.

    Parameters
    ----------
    groups : tuple of GroupResult
        By attribute, then by group; empty if the lender supplies no protected attribute.
    notes : tuple of str
        What was not measured, and why.
    """

    groups: tuple[GroupResult, ...] = ()
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the worst adverse impact ratio, and the lowest upper bound of one, if any was measured."""
        ratios = [group.adverse_impact_ratio for group in self.groups if group.adverse_impact_ratio is not None]
        if not ratios:
            return {}
        return {
            "fairness_worst_air": min(ratio.estimate for ratio in ratios),
            "fairness_worst_air_high": min(ratio.high for ratio in ratios),
        }


def measure_fairness(protected: Mapping[str, NDArray[np.object_]], loans: ScoredLoans, cutoff: float) -> FairnessReport:
    """Compare how groups are approved, scored and predicted.

    Parameters
    ----------
    protected : mapping of str to ndarray of object, shape (n,)
        Protected attributes as they were known at the decision, None where unknown; numbers are ages in years.
    loans : ScoredLoans
        Of the out-of-time window, n loans in the same order.
    cutoff : float
        Highest PD that is approved.
    """
    approved = loans.pd <= cutoff
    groups: list[GroupResult] = []
    notes: list[str] = []
    for attribute, values in protected.items():
        labels = np.array([_label(value) for value in values], dtype=object)
        found = _attribute(attribute, labels, loans, approved)
        groups += found
        if not any(group.adverse_impact_ratio for group in found):
            notes.append(f"{attribute}: fewer than two known groups of at least {FEWEST} loans")
    if not protected:
        notes.append("no protected attribute is known of these applicants: nothing was measured")
    return FairnessReport(groups=tuple(groups), notes=tuple(notes))


def _label(value: object) -> str:
    if value is None or value != value:
        return UNKNOWN
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return next((name for least, name in _AGE_BANDS if value >= least), UNKNOWN)
    return str(value)


def _attribute(attribute: str, labels: NDArray[np.object_], loans: ScoredLoans, approved: Bools) -> list[GroupResult]:
    from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate

    good = ~loans.defaulted
    rates = MetricFrame(
        metrics={"approval": selection_rate, "opportunity": true_positive_rate},
        y_true=good,
        y_pred=approved,
        sensitive_features=labels.astype(str),
    ).by_group
    rows = {str(group): labels == group for group in sorted(set(labels.tolist()))}
    enough = {group: own for group, own in rows.items() if own.sum() >= FEWEST and group != UNKNOWN}
    reference = max(enough, key=lambda group: (rates.loc[group, "approval"], enough[group].sum()), default="")
    results = []
    for group, own in rows.items():
        if own.sum() < FEWEST:
            results.append(GroupResult(attribute=attribute, group=group, loans=int(own.sum()), reference=False))
            continue
        told = GroupResult(
            attribute=attribute,
            group=group,
            loans=int(own.sum()),
            reference=group == reference,
            approval=share_interval(int(approved[own].sum()), int(own.sum())),
            calibration_gap=_around(loans.pd[own] - loans.defaulted[own]),
        )
        if reference and group != reference:
            base = enough[reference]
            told = msgspec.structs.replace(
                told,
                adverse_impact_ratio=_ratio(approved, own, base),
                score_difference=_standardised(loans.score[own], loans.score[base]),
                opportunity_gap=_gap(rates["opportunity"], group, reference, good & own, good & base),
            )
        results.append(told)
    return results


def _ratio(approved: Bools, own: Bools, base: Bools) -> Interval | None:
    (a, n), (b, m) = ((int(approved[rows].sum()), int(rows.sum())) for rows in (own, base))
    if not b:
        return None
    log = math.log((a + 0.5) / (n + 1)) - math.log((b + 0.5) / (m + 1))
    error = math.sqrt(1 / (a + 0.5) - 1 / (n + 1) + 1 / (b + 0.5) - 1 / (m + 1))
    return Interval((a / n) / (b / m), math.exp(log - _Z * error), math.exp(log + _Z * error))


def _standardised(own: NDArray[np.int64], base: NDArray[np.int64]) -> Interval | None:
    n, m = len(own), len(base)
    pooled = math.sqrt(((n - 1) * own.var(ddof=1) + (m - 1) * base.var(ddof=1)) / (n + m - 2))
    if not pooled:
        return None
    difference = float((own.mean() - base.mean()) / pooled)
    error = math.sqrt((n + m) / (n * m) + difference**2 / (2 * (n + m)))
    return Interval(difference, difference - _Z * error, difference + _Z * error)


def _gap(rate: Mapping[str, float], group: str, reference: str, own: Bools, base: Bools) -> Interval | None:
    n, m = int(own.sum()), int(base.sum())
    if min(n, m) < FEWEST:
        return None
    p, q = float(rate[group]), float(rate[reference])
    # Newcombe's method 10: the distances of each share to its Wilson bounds, added as errors are
    ours, theirs = share_interval(round(p * n), n), share_interval(round(q * m), m)
    below = math.hypot(p - ours.low, theirs.high - q)
    above = math.hypot(ours.high - p, q - theirs.low)
    return Interval(p - q, p - q - below, p - q + above)


def _around(residual: Floats) -> Interval:
    mean, error = float(residual.mean()), float(residual.std(ddof=1) / math.sqrt(len(residual)))
    return Interval(mean, mean - _Z * error, mean + _Z * error)
