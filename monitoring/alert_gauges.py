"""Alerts as gauges for Prometheus, in the text format that its node exporter collects from files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from monitoring.alerts import Alert


def gauges(firing: Sequence[Alert], failed: Collection[str], at: datetime) -> bytes:
    """Return the alerts of a cycle as gauges.

    Parameters
    ----------
    failed : collection of str
        Steps that could not be taken.
    at : datetime
        When it was, with a zone.
    """
    registry = CollectorRegistry()
    alert = Gauge("candor_alert", "1 while an alert goes on.", ("rule", "subject", "severity"), registry=registry)
    for one in firing:
        alert.labels(one.rule, one.subject, one.severity).set(1)
    Gauge("candor_monitor_failed_steps", "Steps that could not be taken.", registry=registry).set(len(failed))
    Gauge("candor_monitor_timestamp_seconds", "When the cycle was.", registry=registry).set(at.timestamp())
    return generate_latest(registry)
