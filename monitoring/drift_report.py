"""What a comparison found, as a structure, as JSON and as one page that needs nothing from a network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monitoring.thresholds import Thresholds

Status = Literal["alert", "watch", "ok", "not_enough_data"]
_TEMPLATES = Path(__file__).parent / "templates"


class Bin(msgspec.Struct, frozen=True):
    """One bar of the comparison: shares in 0..1 of all rows, missing ones included."""

    label: str
    reference: float
    current: float


class BandDrift(msgspec.Struct, frozen=True):
    """How one feature compares within one score band.

    Parameters
    ----------
    csi : float or None
        PSI of the feature among the decisions of the band, 0 or more; None where there are too few.
    """

    band: str
    csi: float | None
    status: Status
    reference_rows: int
    current_rows: int


class FeatureDrift(msgspec.Struct, frozen=True, kw_only=True):
    """How one feature compares.

    Parameters
    ----------
    status : {"alert", "watch", "ok", "not_enough_data"}
        The worst that is large and real, score bands included.
    reasons : tuple of str
        Why it is watched or alerts, in words.
    report_only : bool
        Whether it never makes the report alert.
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
    bands : tuple of BandDrift
        Within the score bands that both sides know.
    """

    feature: str
    status: Status
    reasons: tuple[str, ...]
    report_only: bool
    psi: float
    ks: float | None
    reference_missing: float
    current_missing: float
    reference_rows: int
    current_rows: int
    new_categories: tuple[str, ...]
    bins: tuple[Bin, ...]
    bands: tuple[BandDrift, ...]

    @property
    def missing_change(self) -> float:
        """Change of the share of missing values, in -1..1."""
        return self.current_missing - self.reference_missing

    @property
    def csi(self) -> float | None:
        """The largest CSI of any score band, 0 or more; None where none has enough rows."""
        return max((band.csi for band in self.bands if band.csi is not None), default=None)


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of a profile with a reference, and with the period before.

    Parameters
    ----------
    reference, current : str
        Names of the two populations.
    previous : str or None
        Name of the period before; None if it was not given.
    alert : bool
        Whether any feature alerts, against either.
    features : tuple of FeatureDrift
        Against the reference, by falling PSI.
    since_previous : tuple of FeatureDrift
        Against the period before, which stands as their reference; by falling PSI.
    only_reference, only_current : tuple of str
        Columns of one side alone, not compared.
    thresholds : Thresholds
        In force.
    """

    reference: str
    current: str
    previous: str | None
    alert: bool
    features: tuple[FeatureDrift, ...]
    since_previous: tuple[FeatureDrift, ...]
    only_reference: tuple[str, ...]
    only_current: tuple[str, ...]
    thresholds: Thresholds

    def to_json(self) -> bytes:
        """Return the report as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    def to_html(self) -> str:
        """Return the report as one page that needs nothing from a network."""
        environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
        since = {feature.feature: feature for feature in self.since_previous}
        return environment.get_template("drift.html.j2").render(report=self, since=since)
