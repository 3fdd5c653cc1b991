"""Differences of a feature between two populations: how large each is, and how probable by chance.

They are computed from small summaries (a distribution function, category counts, nulls), wherever they come from: the
population stability index (PSI) of each feature; the same within each score band, the characteristic's stability index
(CSI) by band; the Kolmogorov-Smirnov (KS) distance; the share of missing values; and categories that the reference does
not know.

Sources
-------
N. Siddiqi, *Credit Risk Scorecards* (Wiley, 2006): stability indices on deciles, below 0.10 no shift, from 0.25 a
marked one. Those of the tests are told in `monitoring.chance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitoring import chance
from monitoring.drift_report import BandDrift, Bin, FeatureDrift, Status
from monitoring.segments import BANDS, banded
from monitoring.summaries import ColumnSummary, Floats, histograms, ks_distance, population_stability
from monitoring.thresholds import Limits, Thresholds

Summaries = Mapping[str, ColumnSummary]


@dataclass(frozen=True, eq=False)
class Difference:
    """One that may matter.

    Parameters
    ----------
    size : Status
        What it means, if it is real.
    probability : float
        Of one so large or larger by chance, 0..1.
    words : str
        What to say of it.
    if_chance : Status
        What it means otherwise.
    """

    size: Status
    probability: float
    words: str
    if_chance: Status = "ok"


@dataclass(frozen=True)
class Measured:
    """A feature before it is known which of its differences are real.

    Parameters
    ----------
    drift : FeatureDrift
        As if none were.
    differences : tuple of Difference
    bands : tuple of Difference or None
        For each band of `drift`, None where there are too few rows.
    """

    drift: FeatureDrift
    differences: tuple[Difference, ...]
    bands: tuple[Difference | None, ...]

    def all(self) -> list[Difference]:
        """Return all differences."""
        return [*self.differences, *filter(None, self.bands)]


def measure(name: str, references: Summaries, currents: Summaries, thresholds: Thresholds) -> Measured:
    """Measure one feature that both sides have.

    Parameters
    ----------
    references, currents : mapping of str to ColumnSummary
        By column; a feature of one score band has the name that `segments.banded` gives it.
    """
    reference, current, limits = references[name], currents[name], thresholds.of(name)
    labels, before, after = histograms(reference, current, thresholds.bins)
    enough = min(reference.n, current.n) >= thresholds.min_samples
    psi, ks = population_stability(before, after), None
    differences: list[Difference] = []
    if enough:
        probability = chance.of_stability(psi, len(labels), reference.n, current.n)
        differences.append(_large("PSI", psi, limits.psi_watch, limits.psi_alert, probability))
        differences.append(_missing(reference, current, limits))
    fewest = min(reference.present, current.present)
    if reference.distribution and current.distribution and fewest >= thresholds.min_samples:
        ks = ks_distance(reference.distribution, current.distribution)
        probability = chance.of_distance(ks, reference.present, current.present)
        differences.append(_large("KS distance", ks, limits.ks_watch, limits.ks_alert, probability))
    if enough and "empty" not in (reference.kind, current.kind) and reference.kind != current.kind:
        differences.append(Difference("alert", 0.0, f"values were {reference.kind} and are {current.kind}"))
    unknown = _unknown_categories(reference, current)
    if enough and unknown:
        differences.append(_novelty(unknown, reference, current, limits))
    bands = [
        _band(band, references[banded(name, band)], currents[banded(name, band)], thresholds, limits)
        for band in BANDS
        if banded(name, band) in references and banded(name, band) in currents
    ]
    drift = FeatureDrift(
        feature=name,
        status="ok" if enough else "not_enough_data",
        reasons=(),
        report_only=limits.report_only,
        psi=psi,
        ks=ks,
        reference_missing=reference.null / max(reference.n, 1),
        current_missing=current.null / max(current.n, 1),
        reference_rows=reference.n,
        current_rows=current.n,
        new_categories=unknown,
        bins=tuple(map(Bin, labels, _shares(before), _shares(after))),
        bands=tuple(band for band, _ in bands),
    )
    return Measured(drift, tuple(differences), tuple(difference for _, difference in bands))


def _band(
    band: str, reference: ColumnSummary, current: ColumnSummary, thresholds: Thresholds, limits: Limits
) -> tuple[BandDrift, Difference | None]:
    if min(reference.n, current.n) < thresholds.min_samples:
        return BandDrift(band, None, "not_enough_data", reference.n, current.n), None
    labels, before, after = histograms(reference, current, thresholds.bins)
    csi = population_stability(before, after)
    probability = chance.of_stability(csi, len(labels), reference.n, current.n)
    difference = _large(f"CSI in {band}", csi, limits.csi_watch, limits.csi_alert, probability)
    return BandDrift(band, csi, "ok", reference.n, current.n), difference


def _large(measure: str, value: float, watch: float, alert: float, probability: float) -> Difference:
    if value < watch:
        return Difference("ok", probability, "")
    size: Status = "alert" if value >= alert else "watch"
    return Difference(size, probability, f"{measure} {value:.2f} has reached {alert if size == 'alert' else watch:g}")


def _missing(reference: ColumnSummary, current: ColumnSummary, limits: Limits) -> Difference:
    before, after = reference.null / reference.n, current.null / current.n
    probability = chance.of_shares(reference.null, reference.n, current.null, current.n)
    large = _large("", abs(after - before), limits.missing_watch, limits.missing_alert, probability)
    return Difference(large.size, probability, f"missing values went from {before:.1%} to {after:.1%}")


def _novelty(unknown: tuple[str, ...], reference: ColumnSummary, current: ColumnSummary, limits: Limits) -> Difference:
    share = sum(current.counts[name] for name in unknown) / current.present
    words = f"{share:.1%} of values are in categories that are new"
    size: Status = "alert" if share >= limits.new_category else "watch"
    return Difference(size, chance.of_absence(share, reference.present), words, if_chance="watch")


def _unknown_categories(reference: ColumnSummary, current: ColumnSummary) -> tuple[str, ...]:
    complete = sum(reference.counts.values()) >= reference.present > 0
    if reference.kind != "categorical" or not complete:
        return ()
    return tuple(sorted(current.counts.keys() - reference.counts.keys()))


def _shares(counts: Floats) -> tuple[float, ...]:
    return tuple((counts / max(counts.sum(), 1)).tolist())
