"""What `candor monitor` watches and whom it tells, from ``monitor.toml`` and a home's own file of that name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from feature_repo.errors import InputError
from feature_repo.home import Home
from monitoring.layered_toml import over, read_toml

DEFAULTS = Path(__file__).with_name("monitor.toml")
ReadingName = Literal[
    "drift",
    "drift_since_previous",
    "idle_hours",
    "gate_failed",
    "auc_shortfall",
    "ratio_low",
    "ratio_high",
    "without_outcome",
    "approval_change",
    "review_share",
    "absent_view",
    "guard_failed",
    "failed_step",
]
Severity = Literal["warning", "critical"]
Count = Annotated[int, Meta(ge=1)]
Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Hours = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class PeriodSettings(_Section, frozen=True):
    """Over which time decisions are watched.

    Parameters
    ----------
    days : tuple of int
        The first that holds `least_decisions` is taken, else the last; increasing, 28 at most, beyond which hours are
        not kept apart.
    least_decisions : int
    """

    days: Annotated[tuple[Annotated[int, Meta(ge=1, le=28)], ...], Meta(min_length=1)]
    least_decisions: Count


class PerformanceSettings(_Section, frozen=True):
    """How far back performance looks, when outcomes are reported, both in months, and how many loans it needs."""

    months: Annotated[int, Meta(ge=1, le=600)]
    reported_after_months: Annotated[int, Meta(ge=0, le=600)]
    least_loans: Count
    least_bads: Count


class AlertSettings(_Section, frozen=True):
    """After how many hours an alert is told again, and after how many quiet ones it is over."""

    remind_hours: Hours
    quiet_hours: Hours


class Webhook(_Section, frozen=True):
    """Where notices are posted.

    Parameters
    ----------
    url : str
        ``https://``; ``http://`` to this machine only.
    secret_env : str
        Environment variable with the key that they are signed with.
    timeout_seconds : float
        Of connecting, and of each read.
    attempts : int
        Of one notice in one cycle.
    """

    url: Text
    secret_env: Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0
    attempts: Annotated[int, Meta(ge=1, le=10)] = 4


class Sinks(_Section, frozen=True):
    """Where notices go beside the log: a file, from the home's folder, and webhooks by name."""

    file: Text
    webhooks: dict[str, Webhook] = {}


class Rule(_Section, frozen=True):
    """When a reading is an alert.

    Parameters
    ----------
    reading : str
        Its name in `monitoring.readings`.
    at_least, at_most : float or None
        One of them.
    severity : {"warning", "critical"}
    runbook : str
        What to do.
    retrain : bool
        Whether a new model is trained when the alert begins, if the monitor is told to retrain.
    enabled : bool
    """

    reading: ReadingName
    severity: Severity
    runbook: Text
    at_least: Finite | None = None
    at_most: Finite | None = None
    retrain: bool = False
    enabled: bool = True

    def is_met(self, value: float) -> bool:
        """Return whether a value is one to alert on."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


class MonitorSettings(_Section, frozen=True):
    """All that a monitoring cycle needs to be told."""

    period: PeriodSettings
    performance: PerformanceSettings
    alerts: AlertSettings
    sinks: Sinks
    rules: dict[str, Rule]


def load_settings(home: Home) -> MonitorSettings:
    """Read the project's settings, changed by the home's ``monitor.toml`` if there is one.

    Raises
    ------
    InputError
        If a file is no TOML, or names or sets what is no setting.
    """
    own = home.root / "monitor.toml"
    tables: dict[str, Any] = {}
    for file in (DEFAULTS, *([own] if own.exists() else [])):
        tables = over(tables, read_toml(file, "settings"))
        try:
            settings = msgspec.convert(tables, MonitorSettings)
        except msgspec.ValidationError as error:
            raise InputError(f"{file}: {error}") from None
        _check(settings, file)
    return settings


def _check(settings: MonitorSettings, file: Path) -> None:
    days = settings.period.days
    if list(days) != sorted(set(days)):
        raise InputError(f"{file}: period.days: {list(days)} do not increase")
    for name, rule in settings.rules.items():
        if (rule.at_least is None) == (rule.at_most is None):
            raise InputError(f"{file}: rules.{name}: give one of at_least and at_most")
    for name, webhook in settings.sinks.webhooks.items():
        try:
            url = urlsplit(webhook.url)
            is_safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK)
            is_whole = bool(url.hostname) and url.port != 0
        except ValueError:
            raise InputError(f"{file}: sinks.webhooks.{name}.url is no URL") from None
        if not is_safe or not is_whole:
            raise InputError(f"{file}: sinks.webhooks.{name}.url: write https://host/path")
        if url.username is not None or url.password is not None:
            raise InputError(f"{file}: sinks.webhooks.{name}.url: no user or password here; notices are signed")
