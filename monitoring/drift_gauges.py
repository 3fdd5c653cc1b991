"""Drift as gauges for Prometheus, in the text format that its node exporter collects from files."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from monitoring.drift_report import DriftReport, Status

_LEVELS: dict[Status, int] = {"not_enough_data": -1, "ok": 0, "watch": 1, "alert": 2}


def gauges(report: DriftReport, at: datetime) -> bytes:
    """Return a report as gauges, each feature labelled with what it is compared against.

    Parameters
    ----------
    at : datetime
        When it was made, with a zone.
    """
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"candor_drift_{name}", text, labels, registry=registry)

    gauge("alert", "Whether any feature alerts.").set(report.alert)
    gauge("report_timestamp_seconds", "When the report was made.").set(at.timestamp())
    each = ("feature", "against")
    status = gauge("status", "-1 not enough rows, 0 ok, 1 watch, 2 alert.", *each)
    psi = gauge("psi", "Population stability index.", *each)
    csi = gauge("csi", "Stability index of a feature within a score band.", *each, "band")
    ks = gauge("ks_distance", "Kolmogorov-Smirnov distance.", *each)
    missing = gauge("missing_change", "Change of the share of missing values.", *each)
    new = gauge("new_categories", "Categories unknown before.", *each)
    for against, features in (("reference", report.features), ("previous", report.since_previous)):
        for one in features:
            of = {"feature": one.feature, "against": against}
            status.labels(**of).set(_LEVELS[one.status])
            psi.labels(**of).set(one.psi)
            missing.labels(**of).set(one.missing_change)
            new.labels(**of).set(len(one.new_categories))
            if one.ks is not None:
                ks.labels(**of).set(one.ks)
            for band in one.bands:
                if band.csi is not None:
                    csi.labels(**of, band=band.band).set(band.csi)
    return generate_latest(registry)
