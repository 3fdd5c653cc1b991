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
from typing import Literal

import msgspec
import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame, selection_rate
from numpy.typing import NDArray

from training.group_intervals import difference_interval, ratio_interval, standardised_difference
from training.scored import ScoredLoans
from training.uncertainty import Interval, share_interval

FEWEST = 50  # of fewer, a 95 % interval of an approval rate may be wider than 14 points either way
FOUR_FIFTHS = 0.8
AGE, UNKNOWN = "age", "unknown"
AGE_STARTS = (18, 25, 35, 50, 62)
AGE_BANDS = ("under 18", "18-24", "25-34", "35-49", "50-61", "62+")
CAVEATS = (
    "Diagnostics, not compliance: a ratio below four fifths asks for an explanation, and one above it is none.",
    "Only loans that were made and whose outcome is known are counted; who was declined before is not among them.",
    "The reference is the most approved group of the sample, so that ratios of equal groups are below 1 by chance.",
)

Role = Literal["reference", "compared", "unknown", "too few"]


class GroupResult(msgspec.Struct, frozen=True, kw_only=True):
    """One group of a protected attribute at the cutoff.

    Parameters
    ----------
    attribute, group : str
        For example ``age`` and ``62+``.
    role : {"reference", "compared", "unknown", "too few"}
        ``unknown`` are loans without a value, compared but never the reference or the worst; ``too few`` are fewer
        than ``FEWEST`` loans, of which nothing but their number is told.
    loans, repaid : int
        Loans of the group, and those repaid.
    approval_rate : Interval or None
        Share of loans with a PD up to the cutoff, 0..1; Wilson's interval.
    adverse_impact_ratio : Interval or None
        Approval rate over the reference's; Koopman's interval. None of the reference itself.
    score_difference : Interval or None
        Mean score less the reference's, in pooled standard deviations; bootstrap.
    opportunity_gap : Interval or None
        Approval rate of those who repaid less the reference's, -1..1; Newcombe's interval. None if either repaid
        fewer than ``FEWEST`` loans.
    calibration_gap : Interval or None
        Mean PD less default rate, -1..1, positive if its risk is overstated; Wilson's interval of the rate.
    """

    attribute: str
    group: str
    role: Role
    loans: int
    repaid: int
    approval_rate: Interval | None = None
    adverse_impact_ratio: Interval | None = None
    score_difference: Interval | None = None
    opportunity_gap: Interval | None = None
    calibration_gap: Interval | None = None

    @property
    def four_fifths(self) -> Literal["", "above", "below", "surely below"]:
        """Where the adverse impact ratio lies; ``surely`` if its whole interval does, empty if there is none."""
        ratio = self.adverse_impact_ratio
        if ratio is None:
            return ""
        if ratio.estimate >= FOUR_FIFTHS:
            return "above"
        return "surely below" if ratio.high < FOUR_FIFTHS else "below"


class FairnessReport(msgspec.Struct, frozen=True, kw_only=True):
    """All groups of all attributes, and what has to be known to read them."""

    groups: tuple[GroupResult, ...]
    notes: tuple[str, ...]

    def metrics(self) -> dict[str, float]:
        """Return the lowest adverse impact ratio and the lowest upper bound of one; empty if nothing was compared."""
        ratios = [group.adverse_impact_ratio for group in self.groups if group.role == "compared"]
        known = [ratio for ratio in ratios if ratio is not None]
        if not known:
            return {}
        return {
            "fairness_worst_air": min(ratio.estimate for ratio in known),
            "fairness_worst_air_high": min(ratio.high for ratio in known),
        }


def measure_fairness(
    protected: Mapping[str, NDArray[np.object_]], loans: ScoredLoans, cutoff: float, seed: int
) -> FairnessReport:
    """Compare the groups of each protected attribute at a cutoff.

    Parameters
    ----------
    protected : mapping of str to ndarray of object, shape (n,)
        Attribute to its value for each loan; None and NaN are the group ``unknown``. ``age``, in years, is cut into
        bands; any other attribute's values are its groups.
    loans : ScoredLoans
        The n loans.
    cutoff : float
        Highest PD that is approved.
    seed : int
        Of the bootstrap.
    """
    if not protected:
        return FairnessReport(groups=(), notes=("Nothing was measured: there are no protected attributes.",))
    random = np.random.default_rng(seed)
    groups: list[GroupResult] = []
    notes: list[str] = []
    for attribute, raw in protected.items():
        names, members = _age_bands(raw) if attribute == AGE else _values(raw)
        measured = _Attribute(attribute, names, members, loans, cutoff)
        groups += measured.results(random)
        notes.append(measured.note())
    return FairnessReport(groups=tuple(groups), notes=(*notes, *CAVEATS))


class _Attribute:
    """Loans of each group, counted by what they were and what became of them."""

    def __init__(
        self, name: str, groups: tuple[str, ...], members: NDArray[np.intp], loans: ScoredLoans, cutoff: float
    ) -> None:
        self.name, self.groups = name, groups
        approved, repaid = loans.pd <= cutoff, ~loans.defaulted
        self.cells = np.bincount(members * 4 + approved * 2 + repaid, minlength=4 * len(groups)).reshape(-1, 2, 2)
        self.sizes, self.repaid = self.cells.sum(axis=(1, 2)), self.cells[:, :, 1].sum(axis=1)
        self.pd = np.bincount(members, weights=loans.pd, minlength=len(groups)) / np.maximum(self.sizes, 1)
        self.scores, place = np.unique(loans.score, return_inverse=True)
        self.scored = np.bincount(members * len(self.scores) + place, minlength=len(groups) * len(self.scores))
        self.scored = self.scored.reshape(len(groups), -1)
        self.reference = self._most_approved()

    def results(self, random: np.random.Generator) -> list[GroupResult]:
        return [self._result(group, random) for group in range(len(self.groups)) if self.sizes[group]]

    def note(self) -> str:
        if self.reference is None:
            return f"{self.name}: nothing is compared, since no known group has {FEWEST} loans."
        reference = self.groups[self.reference]
        return f"{self.name}: compared with {reference}, the most approved group of {FEWEST} loans or more."

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
        size, repaid = int(self.sizes[group]), int(self.repaid[group])
        result = GroupResult(attribute=self.name, group=self.groups[group], role="too few", loans=size, repaid=repaid)
        if size < FEWEST:
            return result
        defaults = share_interval(size - repaid, size)
        pd = float(self.pd[group])
        result = msgspec.structs.replace(
            result,
            role="unknown" if self.groups[group] == UNKNOWN else "compared",
            approval_rate=share_interval(self._approved(group), size),
            calibration_gap=Interval(pd - defaults.estimate, pd - defaults.high, pd - defaults.low),
        )
        if group == self.reference:
            return msgspec.structs.replace(result, role="reference")
        return result if self.reference is None else self._compared(result, group, self.reference, random)

    def _compared(self, result: GroupResult, group: int, reference: int, random: np.random.Generator) -> GroupResult:
        ratio = gap = None
        if self._approved(reference):
            ratio = ratio_interval(
                self._approved(group), result.loans, self._approved(reference), int(self.sizes[reference])
            )
        if min(self.repaid[group], self.repaid[reference]) >= FEWEST:
            gap = difference_interval(
                int(self.cells[group, 1, 1]),
                result.repaid,
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
