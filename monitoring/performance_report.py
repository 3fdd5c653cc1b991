"""How the decisions of a log turned out, as a structure, as JSON, as one page and as gauges for Prometheus."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client import CollectorRegistry, Gauge, generate_latest

_TEMPLATES = Path(__file__).parent / "templates"
APR_EDGES = (10.0, 15.0, 20.0, 25.0, 30.0)
APR_TIERS = ("to 10 %", "10 to 15 %", "15 to 20 %", "20 to 25 %", "25 to 30 %", "over 30 %")
"""Tiers of the APR, which an edge ends."""


class Ratio(msgspec.Struct, frozen=True):
    """Observed over expected defaults, with the interval that holds the truth in 95 % of samples; 0 or more."""

    estimate: float
    low: float
    high: float


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """How well matured loans were ranked and their PD was calibrated, as training measures it.

    Parameters
    ----------
    auc, ks, ece, brier : float
        In 0..1; ``_low`` and ``_high`` are the ends of 95 % intervals.
    expected_auc : float
        AUC that they would have on average if their PDs were right.
    """

    auc: float
    auc_low: float
    auc_high: float
    expected_auc: float
    ks: float
    ks_low: float
    ks_high: float
    brier: float
    ece: float


class Matured(msgspec.Struct, frozen=True, kw_only=True):
    """Some loans that have matured: either outcome would be known by now, and one is.

    Parameters
    ----------
    name : str
        Which: ``all``, a model version, a score band, or a vintage ``YYYY-MM``.
    loans, bads : int
    bad_rate, bad_rate_low, bad_rate_high : float or None
        Share that defaulted and its 95 % interval, in 0..1; None without loans.
    expected_rate : float or None
        Mean PD that was said of them, in 0..1.
    ratio : Ratio or None
        None without loans.
    measures : Measures or None
        None unless there are bads and goods enough.
    """

    name: str
    loans: int
    bads: int
    bad_rate: float | None
    bad_rate_low: float | None
    bad_rate_high: float | None
    expected_rate: float | None
    ratio: Ratio | None
    measures: Measures | None = None


class Vintage(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions of one month, on the home's clock.

    Parameters
    ----------
    decisions, approved : int
    known : int
        Those with an outcome by now, matured or not.
    ripe : int
        Approved ones that have matured, if they were booked.
    without_outcome : int
        Those of them of which no outcome was reported.
    declined_booked, reviewed_booked : int
        Decisions of DECLINED, and of MANUAL_REVIEW, that have an outcome: a person booked the loan. The former
        overrode the decision.
    matured : Matured
    """

    month: str
    decisions: int
    approved: int
    known: int
    ripe: int
    without_outcome: int
    declined_booked: int
    reviewed_booked: int
    matured: Matured


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered within a time of the wall clock, UTC.

    Parameters
    ----------
    decisions, approved, reviewed, declined : int
    failed_guard : int
        Decisions on values that the guard objects to.
    absent : dict of str to int
        By stored view: decisions that it was stale or missing for.
    apr : tuple of int
        Approved loans by tier, as `APR_TIERS` has them.
    mean_apr : float or None
        Percent; None if none was approved.
    """

    name: str
    decisions: int
    approved: int
    reviewed: int
    declined: int
    failed_guard: int
    absent: dict[str, int]
    apr: tuple[int, ...]
    mean_apr: float | None


class PerformanceReport(msgspec.Struct, frozen=True, kw_only=True):
    """How decisions turned out.

    Parameters
    ----------
    as_of : datetime
        Until when outcomes count, and by which loans have matured; the home's clock, UTC.
    made_at : datetime
        Wall clock, UTC.
    performance_months, reported_after_months : int
        Months after a decision in which a default counts, and by which both outcomes are reported; see `measure_log`.
    least_loans, least_bads : int
        Matured loans and bads below which nothing is measured.
    matured : Matured
        All of them.
    models, bands : tuple of Matured
        The same by model version, and by score band, the best first.
    vintages : tuple of Vintage
        The earliest first.
    months : tuple of Mix
        By month of the wall clock, the earliest first.
    current, previous : Mix
        The period that is watched, and the one before it.
    """

    as_of: datetime
    made_at: datetime
    performance_months: int
    reported_after_months: int
    least_loans: int
    least_bads: int
    matured: Matured
    models: tuple[Matured, ...]
    bands: tuple[Matured, ...]
    vintages: tuple[Vintage, ...]
    months: tuple[Mix, ...]
    current: Mix
    previous: Mix

    @property
    def ripe(self) -> int:
        """Approved ones that have matured, if they were booked."""
        return sum(vintage.ripe for vintage in self.vintages)

    @property
    def without_outcome(self) -> int:
        """Those of them of which no outcome was reported."""
        return sum(vintage.without_outcome for vintage in self.vintages)

    def to_json(self) -> bytes:
        """Return the report as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    def to_html(self) -> str:
        """Return the report as one page that needs nothing from a network."""
        environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
        return environment.get_template("performance.html.j2").render(report=self, tiers=APR_TIERS)

    def to_gauges(self) -> bytes:
        """Return the report in the text format that Prometheus' node exporter collects from files."""
        registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"candor_performance_{name}", text, labels, registry=registry)

        gauge("report_timestamp_seconds", "When the report was made.").set(self.made_at.timestamp())
        of = ("kind", "segment")
        loans = gauge("matured_loans", "Loans that have matured and have an outcome.", *of)
        bad_rate = gauge("bad_rate", "Share of them that defaulted.", *of)
        expected = gauge("expected_bad_rate", "Mean PD that was said of them.", *of)
        measure = gauge("measure", "AUC, KS and others, of matured loans.", *of, "measure")
        for kind, some in (("all", (self.matured,)), ("model_version", self.models), ("band", self.bands)):
            for one in some:
                loans.labels(kind, one.name).set(one.loans)
                if one.bad_rate is not None and one.expected_rate is not None:
                    bad_rate.labels(kind, one.name).set(one.bad_rate)
                    expected.labels(kind, one.name).set(one.expected_rate)
                if one.measures is not None:
                    for name, value in msgspec.structs.asdict(one.measures).items():
                        measure.labels(kind, one.name, name).set(value)
        share = gauge("decisions_share", "Share of the period's decisions.", "recommendation")
        for name, count in (
            ("APPROVED", self.current.approved),
            ("MANUAL_REVIEW", self.current.reviewed),
            ("DECLINED", self.current.declined),
        ):
            share.labels(name).set(count / max(self.current.decisions, 1))
        gauge("decisions", "Decisions of the period.").set(self.current.decisions)
        gauge("without_outcome", "Approved loans that have matured, without an outcome.").set(self.without_outcome)
        if self.current.mean_apr is not None:
            gauge("mean_apr_percent", "Mean APR of the period's approved loans.").set(self.current.mean_apr)
        return generate_latest(registry)
