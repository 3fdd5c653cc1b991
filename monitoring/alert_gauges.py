"""Alerts as gauges for Prometheus, in the text format that its node exporter collects from files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from monitoring.alerts import Alert


def gauges(alerts: Sequence[Alert], failed: Collection[str], at: datetime) -> bytes:
    """Return the alerts of a cycle as gauges.

    Parameters
    ----------
    alerts : sequence of Alert
        All that are not over.
    failed : collection of str
        Steps that could not be taken.
    at : datetime
        When it was, with a zone.
    """
    registry = CollectorRegistry()
    alert = Gauge(
        "candor_alert", "1 if it is met, 0 if it was not long ago.", ("rule", "subject", "severity"), registry=registry
    )
    for one in alerts:
        alert.labels(one.rule, one.subject, one.severity).set(one.met == at)
    Gauge("candor_monitor_failed_steps", "Steps that could not be taken.", registry=registry).set(len(failed))
    Gauge("candor_monitor_timestamp_seconds", "When the cycle was.", registry=registry).set(at.timestamp())
    return generate_latest(registry)
