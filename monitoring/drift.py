"""Drift between two populations: how far each feature has moved from a reference, and whether it matters.

It works on small summaries (a distribution function, category counts, nulls), wherever they come from.
A feature drifts when the difference is both *large*, by thresholds that practice has agreed on, and
*real*, that is, beyond what two samples of these sizes from one population would show. A p-value alone
will not do: on a million rows every difference is significant.

Sources
-------
N. Siddiqi, *Credit Risk Scorecards* (Wiley, 2006): the population stability index (PSI) on deciles,
below 0.10 no shift, from 0.25 a marked one.
B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index", *Journal of Risk
Model Validation* 14(4), 2020: without drift, PSI / (1/n + 1/m) is chi-squared with (bins - 1) degrees.
E. Wilson and M. Hilferty, "The distribution of chi-square", *PNAS* 17, 1931: its quantiles.
N. Smirnov, "Table for estimating the goodness of fit of empirical distributions", *Annals of
Mathematical Statistics* 19, 1948: the two-sample Kolmogorov-Smirnov (KS) bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Literal

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feature_repo.errors import InputError
from monitoring.summaries import ColumnSummary, Floats, histograms, ks_distance, population_stability

Status = Literal["alert", "watch", "ok", "not_enough_data"]
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Thresholds:
    """When a difference is large, and when it is real.

    Parameters
    ----------
    psi_watch, psi_alert : float
        PSI, by the convention in Siddiqi (2006).
    ks_watch, ks_alert : float
        KS distance in 0..1. The defaults are those of a shifted normal distribution at the PSI
        thresholds: a shift by d standard deviations has PSI d^2 and KS distance 2 Phi(d/2) - 1.
    missing_watch, missing_alert : float
        Change of the share of missing values, in 0..1; a choice of our own.
    new_category : float
        Share of current values in categories unknown to the reference from which on they alert;
        any at all are watched. A choice of our own.
    false_alarm : float
        Probability, per feature and measure, of calling real what is chance.
    min_samples : int
        Rows on each side below which nothing is said.
    bins : int
        Reference quantile bins of the PSI.
    """

    psi_watch: float = 0.10
    psi_alert: float = 0.25
    ks_watch: float = 0.126
    ks_alert: float = 0.197
    missing_watch: float = 0.05
    missing_alert: float = 0.10
    new_category: float = 0.01
    false_alarm: float = 1e-4
    min_samples: int = 200
    bins: int = 10


class Bin(msgspec.Struct, frozen=True):
    """One bar of the comparison: shares in 0..1 of all rows, missing ones included."""

    label: str
    reference: float
    current: float


class FeatureDrift(msgspec.Struct, frozen=True, kw_only=True):
    """How one feature compares.

    Parameters
    ----------
    status : {"alert", "watch", "ok", "not_enough_data"}
    reasons : tuple of str
        Why it is watched or alerts, in words.
    psi : float
        Population stability index, 0 or more, missing values being a bin of their own.
    ks : float or None
        Largest distance of the distribution functions, in 0..1; of numbers only, where both sides
        have enough of them.
    reference_missing, current_missing : float
        Share of missing values, in 0..1.
    reference_rows, current_rows : int
    new_categories : tuple of str
        Current categories that the reference does not know.
    bins : tuple of Bin
        What the PSI is computed from.
    """

    feature: str
    status: Status
    reasons: tuple[str, ...]
    psi: float
    ks: float | None
    reference_missing: float
    current_missing: float
    reference_rows: int
    current_rows: int
    new_categories: tuple[str, ...]
    bins: tuple[Bin, ...]

    @property
    def missing_change(self) -> float:
        """Change of the share of missing values, in -1..1."""
        return self.current_missing - self.reference_missing


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of two profiles.

    Parameters
    ----------
    reference, current : str
        Names of the two populations.
    alert : bool
        Whether any feature alerts.
    features : tuple of FeatureDrift
        By falling PSI.
    only_reference, only_current : tuple of str
        Columns of one side alone, not compared.
    thresholds : dict of str to float
        In force.
    """

    reference: str
    current: str
    alert: bool
    features: tuple[FeatureDrift, ...]
    only_reference: tuple[str, ...]
    only_current: tuple[str, ...]
    thresholds: dict[str, float]

    def to_json(self) -> bytes:
        """Return the report as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    def to_html(self) -> str:
        """Return the report as one page that needs nothing from a network."""
        environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
        return environment.get_template("drift.html.j2").render(report=self)


def compare(
    reference: Mapping[str, ColumnSummary],
    current: Mapping[str, ColumnSummary],
    thresholds: Thresholds | None = None,
    *,
    reference_name: str = "reference",
    current_name: str = "current",
) -> DriftReport:
    """Compare every column that both sides have.

    Parameters
    ----------
    reference, current : mapping of str to ColumnSummary
        By column.
    thresholds : Thresholds or None
        None for the defaults.
    reference_name, current_name : str
        What to call the two in the report.

    Raises
    ------
    InputError
        If the two have no column in common.
    """
    limits = thresholds or Thresholds()
    shared = sorted(reference.keys() & current.keys())
    if not shared:
        raise InputError(f"{reference_name} and {current_name} have no column in common")
    features = [_feature(name, reference[name], current[name], limits) for name in shared]
    return DriftReport(
        reference=reference_name,
        current=current_name,
        alert=any(feature.status == "alert" for feature in features),
        features=tuple(sorted(features, key=lambda feature: -feature.psi)),
        only_reference=tuple(sorted(reference.keys() - current.keys())),
        only_current=tuple(sorted(current.keys() - reference.keys())),
        thresholds=asdict(limits),
    )


def _feature(name: str, reference: ColumnSummary, current: ColumnSummary, limits: Thresholds) -> FeatureDrift:
    labels, before, after = histograms(reference, current, limits.bins)
    psi = population_stability(before, after)
    per_row = 1 / max(reference.n, 1) + 1 / max(current.n, 1)
    verdicts = [
        _verdict("PSI", psi, limits.psi_watch, limits.psi_alert, per_row * _chi_squared(len(labels) - 1, limits)),
        _missing(reference, current, per_row, limits),
    ]
    ks = None
    fewest = min(reference.present, current.present)
    if reference.distribution and current.distribution and fewest >= limits.min_samples:
        ks = ks_distance(reference.distribution, current.distribution)
        chance = math.sqrt(math.log(2 / limits.false_alarm) / 2 * (1 / reference.present + 1 / current.present))
        verdicts.append(_verdict("KS distance", ks, limits.ks_watch, limits.ks_alert, chance))
    if "empty" not in (reference.kind, current.kind) and reference.kind != current.kind:
        verdicts.append(("alert", f"values were {reference.kind} and are {current.kind}"))
    unknown = _unknown_categories(reference, current)
    if unknown:
        verdicts.append(_novelty(unknown, reference, current, limits))
    found: list[Status] = [status for status, _ in verdicts]
    status: Status = "alert" if "alert" in found else "watch" if "watch" in found else "ok"
    enough = min(reference.n, current.n) >= limits.min_samples
    return FeatureDrift(
        feature=name,
        status=status if enough else "not_enough_data",
        reasons=tuple(reason for _, reason in verdicts if reason) if enough else (),
        psi=psi,
        ks=ks,
        reference_missing=reference.null / max(reference.n, 1),
        current_missing=current.null / max(current.n, 1),
        reference_rows=reference.n,
        current_rows=current.n,
        new_categories=unknown,
        bins=tuple(map(Bin, labels, _shares(before), _shares(after))),
    )


def _verdict(measure: str, value: float, watch: float, alert: float, chance: float) -> tuple[Status, str]:
    if value < watch or value <= chance:
        return "ok", ""
    reached = alert if value >= alert else watch
    return "alert" if value >= alert else "watch", f"{measure} {value:.2f} has reached {reached:g}"


def _missing(
    reference: ColumnSummary, current: ColumnSummary, per_row: float, limits: Thresholds
) -> tuple[Status, str]:
    before, after = reference.null / max(reference.n, 1), current.null / max(current.n, 1)
    pooled = (reference.null + current.null) / max(reference.n + current.n, 1)
    chance = NormalDist().inv_cdf(1 - limits.false_alarm / 2) * math.sqrt(pooled * (1 - pooled) * per_row)
    status, _ = _verdict("", abs(after - before), limits.missing_watch, limits.missing_alert, chance)
    return status, "" if status == "ok" else f"missing values went from {before:.1%} to {after:.1%}"


def _novelty(
    unknown: tuple[str, ...], reference: ColumnSummary, current: ColumnSummary, limits: Thresholds
) -> tuple[Status, str]:
    share = sum(current.counts[name] for name in unknown) / current.present
    # Would the reference, were the share the same there, have shown none at all?
    by_chance = (1 - share) ** reference.present >= limits.false_alarm
    status: Status = "alert" if share >= limits.new_category and not by_chance else "watch"
    return status, f"{share:.1%} of values are in categories that are new: {', '.join(unknown[:5])}"


def _unknown_categories(reference: ColumnSummary, current: ColumnSummary) -> tuple[str, ...]:
    complete = sum(reference.counts.values()) >= reference.present > 0
    if reference.kind != "categorical" or not complete:
        return ()
    return tuple(sorted(current.counts.keys() - reference.counts.keys()))


def _chi_squared(degrees: int, limits: Thresholds) -> float:
    """Return the quantile beyond which chance goes with probability `false_alarm` (Wilson and Hilferty, 1931)."""
    if degrees < 1:
        return 0.0
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + NormalDist().inv_cdf(1 - limits.false_alarm) * math.sqrt(spread)) ** 3


def _shares(counts: Floats) -> list[float]:
    shares: list[float] = (counts / max(counts.sum(), 1)).tolist()
    return shares
