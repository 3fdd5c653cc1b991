"""Whom a cutoff treats differently: groups by protected attributes that the model never saw.

Diagnostics, not compliance: they say where to look. Groups are compared with the most approved one.

References
----------
.. [1] 29 CFR 1607.4(D): a selection rate below four fifths of the highest group's is evidence of adverse impact.
.. [2] 12 CFR 1002.2(o): elderly is 62 or older, whence the last age band.
.. [3] Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning", NIPS 2016: those who would repay are
   approved alike.
.. [4] Kleinberg, Mullainathan and Raghavan, "Inherent Trade-Offs in the Fair Determination of Risk Scores", ITCS 2017:
   calibration within groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame, selection_rate
from numpy.typing import NDArray

from training.group_intervals import difference_interval, ratio_interval, standardised_difference
from training.scored import Bools, ScoredLoans
from training.uncertainty import Interval, share_interval

FEWEST = 50  # of fewer, a 95 % interval of an approval rate may be wider than 14 points either way
FOUR_FIFTHS = 0.8
AGE, UNKNOWN = "age", "unknown"
AGE_STARTS = (18, 25, 35, 50, 62)
AGE_BANDS = ("under 18", "18-24", "25-34", "35-49", "50-61", "62+")
CHOSEN = (
    "The reference is the most approved group of this sample, so that ratios of equal groups are below 1 by chance."
)


class GroupResult(msgspec.Struct, frozen=True, kw_only=True):
    """One group of a protected attribute at the cutoff. What too few loans cannot tell is None.

    Parameters
    ----------
    attribute, group : str
        For example ``age`` and ``62+``; ``unknown`` are loans without a value.
    loans : int
    reference : bool
        Whether the others are compared with this group.
    approval : Interval or None
        Share of loans with a PD up to the cutoff, 0..1; Wilson's interval.
    adverse_impact_ratio : Interval or None
        Approval over the reference's; Koopman's interval. None of the reference itself.
    score_difference : Interval or None
        Mean score less the reference's, in pooled standard deviations; bootstrap.
    opportunity_gap : Interval or None
        Approval of those who repaid less the reference's, -1..1; Newcombe's interval.
    calibration_gap : Interval or None
        Mean PD less default rate, -1..1, positive if the group's risk is overstated; Wilson's interval of the rate.
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
        By attribute, then by group; empty if there is no protected attribute.
    notes : tuple of str
        What was not measured, and what has to be known to read the rest.
    """

    groups: tuple[GroupResult, ...] = ()
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the lowest adverse impact ratio of known groups, and the lowest upper bound, also by attribute."""
        told: dict[str, list[Interval]] = {}
        for group in self.groups:
            if group.group != UNKNOWN and group.adverse_impact_ratio is not None:
                told.setdefault(group.attribute, []).append(group.adverse_impact_ratio)
        if not told:
            return {}
        highs = {attribute: min(ratio.high for ratio in ratios) for attribute, ratios in told.items()}
        return {
            "fairness_worst_air": min(ratio.estimate for ratios in told.values() for ratio in ratios),
            "fairness_worst_air_high": min(highs.values()),
        } | {f"fairness_air_high.{attribute}": high for attribute, high in highs.items()}


def measure_fairness(
    protected: Mapping[str, NDArray[np.object_]],
    loans: ScoredLoans,
    cutoff: float,
    seed: int = 0,
    outcome_known: Bools | None = None,
) -> FairnessReport:
    """Compare the groups of each protected attribute at a cutoff.

    Parameters
    ----------
    protected : mapping of str to ndarray of object, shape (n,)
        Attribute to its value for each loan; None and NaN are the group ``unknown``, compared but never the reference
        or the worst. ``age``, in years, is cut into bands; any other attribute's values are its groups.
    loans : ScoredLoans
        The n loans.
    cutoff : float
        Highest PD that is approved.
    seed : int
        Of the bootstrap.
    outcome_known : ndarray of bool, shape (n,), or None
        Of which the outcome is known; None means of all. Opportunity and calibration are measured on these, approvals
        and scores on all.
    """
    random = np.random.default_rng(seed)
    groups: list[GroupResult] = []
    notes: list[str] = []
    for attribute, raw in protected.items():
        names, members = _age_bands(raw) if attribute == AGE else _values(raw)
        known = np.ones(len(loans), dtype=bool) if outcome_known is None else outcome_known
        found = _Attribute(attribute, names, members, loans, cutoff, known).results(random)
        groups += found
        if not any(group.adverse_impact_ratio for group in found if group.group != UNKNOWN):
            notes.append(
                f"{attribute}: no two known groups of {FEWEST} loans or more to compare, or nobody is approved."
            )
    if not protected:
        notes.append("No protected attribute is known of these applicants: nothing was measured.")
    elif len(notes) < len(protected):
        notes.append(CHOSEN)
    return FairnessReport(groups=tuple(groups), notes=tuple(notes))


class _Attribute:
    """Loans of each group, counted by what they were and what became of them."""

    def __init__(
        self,
        name: str,
        groups: tuple[str, ...],
        members: NDArray[np.intp],
        loans: ScoredLoans,
        cutoff: float,
        known: Bools,
    ) -> None:
        self.name, self.groups = name, groups
        approved, repaid = loans.pd <= cutoff, known & ~loans.defaulted
        self.cells = np.bincount(members * 4 + approved * 2 + repaid, minlength=4 * len(groups)).reshape(-1, 2, 2)
        self.sizes, self.repaid = self.cells.sum(axis=(1, 2)), self.cells[:, :, 1].sum(axis=1)
        self.known = np.bincount(members[known], minlength=len(groups))
        pd_of_known = np.bincount(members[known], weights=loans.pd[known], minlength=len(groups))
        self.pd = pd_of_known / np.maximum(self.known, 1)
        self.scores, place = np.unique(loans.score, return_inverse=True)
        self.scored = np.bincount(members * len(self.scores) + place, minlength=len(groups) * len(self.scores))
        self.scored = self.scored.reshape(len(groups), -1)
        self.reference = self._most_approved()

    def results(self, random: np.random.Generator) -> list[GroupResult]:
        return [self._result(group, random) for group in range(len(self.groups)) if self.sizes[group]]

    def _most_approved(self) -> int | None:
        """Return the known group of enough loans that fairlearn finds approved most often; of several, the largest."""
        known = [group for group, name in enumerate(self.groups) if name != UNKNOWN and self.sizes[group] >= FEWEST]
        if not known:
            return None
        outcomes = np.array([(group, approved, repaid) for group in known for approved, repaid in np.ndindex(2, 2)])
        rates = MetricFrame(
            metrics=selection_rate,
            y_true=outcomes[:, 2],
            y_pred=outcomes[:, 1],
            sensitive_features=outcomes[:, 0],
            sample_params={"sample_weight": self.cells[known].ravel()},
        ).by_group
        return max(known, key=lambda group: (rates[group], self.sizes[group]))

    def _result(self, group: int, random: np.random.Generator) -> GroupResult:
        size, pd = int(self.sizes[group]), float(self.pd[group])
        result = GroupResult(
            attribute=self.name, group=self.groups[group], loans=size, reference=group == self.reference
        )
        if size < FEWEST:
            return result
        result = msgspec.structs.replace(result, approval=share_interval(self._approved(group), size))
        if (known := int(self.known[group])) >= FEWEST:
            defaults = share_interval(known - int(self.repaid[group]), known)
            gap = Interval(pd - defaults.estimate, pd - defaults.high, pd - defaults.low)
            result = msgspec.structs.replace(result, calibration_gap=gap)
        if self.reference is None or result.reference:
            return result
        return self._compared(result, group, self.reference, random)

    def _compared(self, result: GroupResult, group: int, reference: int, random: np.random.Generator) -> GroupResult:
        ratio = gap = None
        if self._approved(reference):
            ratio = ratio_interval(
                self._approved(group), result.loans, self._approved(reference), int(self.sizes[reference])
            )
        if min(self.repaid[group], self.repaid[reference]) >= FEWEST:
            gap = difference_interval(
                int(self.cells[group, 1, 1]),
                int(self.repaid[group]),
                int(self.cells[reference, 1, 1]),
                int(self.repaid[reference]),
            )
        return msgspec.structs.replace(
            result,
            adverse_impact_ratio=ratio,
            score_difference=standardised_difference(
                self.scored[group], self.scored[reference], self.scores.astype(np.float64), random
            ),
            opportunity_gap=gap,
        )

    def _approved(self, group: int) -> int:
        return int(self.cells[group, 1].sum())


def _age_bands(raw: NDArray[np.object_]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    ages = np.array([np.nan if value is None or value is pd.NA else float(value) for value in raw])
    bands = np.searchsorted(AGE_STARTS, ages, side="right")
    return (*AGE_BANDS, UNKNOWN), np.where(np.isnan(ages), len(AGE_BANDS), bands)


def _values(raw: NDArray[np.object_]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    absent = pd.isna(raw)
    names = sorted({str(value) for value in raw[~absent]} - {UNKNOWN})
    place = {name: index for index, name in enumerate([*names, UNKNOWN])}
    return tuple(place), np.array(
        [place[UNKNOWN if gone else str(v)] for v, gone in zip(raw, absent, strict=True)], np.intp
    )
