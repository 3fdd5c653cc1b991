"""Drift between populations: how far each feature has moved, and whether it matters.

A feature drifts when a difference is both *large*, by thresholds that practice has agreed on, and *real*, that is,
beyond what chance would show somewhere among all differences of a report. A p-value alone will not do: on a million
rows every difference is significant. Nor will a threshold: on two hundred rows chance alone reaches it.
"""

from __future__ import annotations

import msgspec

from feature_repo.errors import InputError
from monitoring import chance
from monitoring.drift_measures import Difference, Measured, Summaries, measure
from monitoring.drift_report import BandDrift, Bin, DriftReport, FeatureDrift, Status
from monitoring.segments import OUTPUTS, unbanded
from monitoring.thresholds import Thresholds, load_thresholds

__all__ = ["BandDrift", "Bin", "DriftReport", "FeatureDrift", "Status", "compare"]


def compare(
    reference: Summaries,
    current: Summaries,
    thresholds: Thresholds | None = None,
    *,
    previous: Summaries | None = None,
    reference_name: str = "reference",
    current_name: str = "current",
    previous_name: str = "previous",
) -> DriftReport:
    """Compare every column that both sides have, and with the period before, if that is given.

    Parameters
    ----------
    reference, current, previous : mapping of str to ColumnSummary
        By column; a column of one score band has the name that `segments.banded` gives it.
    thresholds : Thresholds or None
        None for the project's own.
    reference_name, current_name, previous_name : str
        What to call them in the report.

    Raises
    ------
    InputError
        If reference and current have no column in common, or there are thresholds for a column that nobody has.
    """
    limits = thresholds or load_thresholds()
    before, after, then = map(_features, (reference, current, previous or {}))
    if not before & after:
        raise InputError(f"{reference_name} and {current_name} have no column in common")
    limits.require_known(before | after | then | set(OUTPUTS))
    against_reference = [measure(name, reference, current, limits) for name in sorted(before & after)]
    against_previous = [measure(name, previous or {}, current, limits) for name in sorted(then & after)]
    tested = [difference for one in [*against_reference, *against_previous] for difference in one.all()]
    real = chance.beyond_chance([difference.probability for difference in tested], limits.false_alarm)
    verdicts = {one: one.size if is_real else one.if_chance for one, is_real in zip(tested, real, strict=True)}
    features = [_judged(one, verdicts) for one in against_reference]
    since_previous = [_judged(one, verdicts) for one in against_previous]
    return DriftReport(
        reference=reference_name,
        current=current_name,
        previous=previous_name if previous is not None else None,
        alert=any(one.status == "alert" and not one.report_only for one in [*features, *since_previous]),
        features=_by_psi(features),
        since_previous=_by_psi(since_previous),
        only_reference=tuple(sorted(before - after)),
        only_current=tuple(sorted(after - before)),
        thresholds=limits,
    )


def _features(columns: Summaries) -> set[str]:
    return {name for name in columns if unbanded(name)[1] is None}


def _by_psi(features: list[FeatureDrift]) -> tuple[FeatureDrift, ...]:
    return tuple(sorted(features, key=lambda feature: -feature.psi))


def _judged(one: Measured, verdicts: dict[Difference, Status]) -> FeatureDrift:
    """Return how a feature stands, now that it is known which of its differences are real."""
    found = {verdicts[difference] for difference in one.all()}
    status: Status = "alert" if "alert" in found else "watch" if "watch" in found else one.drift.status
    words = [difference.words for difference in one.differences if verdicts[difference] != "ok"]
    # What all decisions show is not told once more for each band.
    words = words or [difference.words for difference in filter(None, one.bands) if verdicts[difference] != "ok"]
    bands = [
        msgspec.structs.replace(band, status=verdicts[difference]) if difference else band
        for band, difference in zip(one.drift.bands, one.bands, strict=True)
    ]
    return msgspec.structs.replace(one.drift, status=status, reasons=tuple(words), bands=tuple(bands))
