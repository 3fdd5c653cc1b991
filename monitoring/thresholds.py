"""When drift is large, and when it is real: thresholds from files, each naming what it changes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from feature_repo.errors import InputError
from monitoring.layered_toml import over, read_toml

DEFAULTS = Path(__file__).with_name("thresholds.toml")
Index = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a difference of one feature is large; what each means is told in ``thresholds.toml``.

    Parameters
    ----------
    psi_watch, psi_alert, csi_watch, csi_alert : float
        0 or more; CSI is the PSI within a score band.
    ks_watch, ks_alert, missing_watch, missing_alert, new_category : float
        In 0..1.
    report_only : bool
        Whether the feature is shown without ever making a report alert.
    """

    psi_watch: Index
    psi_alert: Index
    csi_watch: Index
    csi_alert: Index
    ks_watch: Share
    ks_alert: Share
    missing_watch: Share
    missing_alert: Share
    new_category: Share
    report_only: bool = False


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All thresholds in force.

    Parameters
    ----------
    false_alarm : float
        Probability, per report, of calling anything real that is chance; in 0..1.
    min_samples : int
        Rows on each side below which nothing is said.
    bins : int
        Quantile bins of the reference, 2 or more.
    defaults : Limits
    features : dict of str to Limits
        Of features that have limits of their own.
    """

    false_alarm: Annotated[float, Meta(gt=0, lt=1)]
    min_samples: Annotated[int, Meta(ge=1)]
    bins: Annotated[int, Meta(ge=2, le=100)]
    defaults: Limits
    features: dict[str, Limits] = {}

    def of(self, feature: str) -> Limits:
        """Return the limits of a feature."""
        return self.features.get(feature, self.defaults)

    def require_known(self, columns: Collection[str]) -> None:
        """Refuse limits for a feature that is not there.

        Raises
        ------
        InputError
            Naming it.
        """
        if unknown := sorted(self.features.keys() - set(columns)):
            raise InputError(f"thresholds: features.{unknown[0]} is in none of the profiles")


def load_thresholds(*files: Path) -> Thresholds:
    """Read the project's thresholds, and files that change some of them, the last one winning.

    Raises
    ------
    InputError
        If a file is not there, is no TOML, or names or sets what is not a threshold.
    """
    tables: dict[str, Any] = {}
    for file in (DEFAULTS, *files):
        tables = over(tables, read_toml(file, "thresholds"))
        found = _checked(tables, file)
    return found


def _checked(tables: dict[str, Any], file: Path) -> Thresholds:
    defaults, features = tables.get("defaults", {}), tables.get("features", {})
    for name, own in features.items() if isinstance(features, dict) else ():
        if not isinstance(own, dict):
            raise InputError(f"{file}: features.{name}: Expected a table")
    whole = tables | {"features": {name: {**defaults, **own} for name, own in features.items()}}
    try:
        thresholds = msgspec.convert(whole, Thresholds)
    except msgspec.ValidationError as error:
        raise InputError(f"{file}: {error}") from None
    for name, limits in {"defaults": thresholds.defaults, **thresholds.features}.items():
        for measure in ("psi", "csi", "ks", "missing"):
            if getattr(limits, f"{measure}_watch") > getattr(limits, f"{measure}_alert"):
                raise InputError(f"{file}: {name}: {measure}_watch is above {measure}_alert")
    return thresholds
