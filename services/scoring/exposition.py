"""The figures of all workers as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from services.scoring.metrics import Figures, Histogram, Metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST
COUNTERS = {
    "http_requests": ("Answers by method, route and status", ("method", "route", "status")),
    "decisions": ("Decisions in the log by outcome and model version", ("outcome", "version")),
    "absent_views": ("Views of a decision that were MISSING or STALE", ("view", "status")),
    "guard_violations": ("Values outside the contract's plausible ranges", ("feature", "rule")),
}
GAUGES = {
    "log_waiting": ("Requests that wait for their decision to be durable", ()),
    "store_breaker_open": ("1 while the online store is not asked because it failed", ()),
    "model_info": ("The model in service", ("name", "version", "bundle")),
    "champion_refused": ("1 while the promoted bundle cannot be loaded and the one before it decides", ()),
    "challenger_refused": ("1 while the challenger that was named cannot be loaded and the champion decides", ()),
}
HISTOGRAMS = {
    "decision_stage_seconds": ("Time of a decision by stage", "stage"),
    "http_request_seconds": ("Time from a request's head to the end of its answer, by route", "route"),
}


def exposition(metrics: Metrics) -> bytes:
    """Return the figures of all workers in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Figures(tuple(metrics.everybodys())))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, everybodys: Iterable[Figures]) -> None:
        self._everybodys = everybodys

    def collect(self) -> Iterator[Metric]:
        for name, (text, labels) in COUNTERS.items():
            counter = CounterMetricFamily(f"candor_{name}", text, labels=(*labels, "worker"))
            for figures in self._everybodys:
                for values, count in figures.counters.get(name, ()):
                    counter.add_metric([*values, str(figures.worker)], count)
            yield counter
        for name, (text, labels) in GAUGES.items():
            gauge = GaugeMetricFamily(f"candor_{name}", text, labels=(*labels, "worker"))
            for figures in self._everybodys:
                for values, level in figures.gauges.get(name, ()):
                    gauge.add_metric([*values, str(figures.worker)], level)
            yield gauge
        for name, (text, label) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"candor_{name}", text, labels=(label, "worker"))
            for figures in self._everybodys:
                held: dict[str, Histogram] = figures.stages if label == "stage" else figures.requests
                for value, one in held.items():
                    histogram.add_metric([value, str(figures.worker)], one.buckets(), one.total)
            yield histogram
