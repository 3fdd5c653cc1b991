"""The steps of a monitoring cycle that read: profiles, drift, performance."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from feature_repo.home import Home, write_atomically
from monitoring import profile_store, readings
from monitoring.drift import compare
from monitoring.logged_results import LoggedResults
from monitoring.monitor_settings import MonitorSettings
from monitoring.performance import Bools, Floats, expected_auc, measure_log
from monitoring.performance_report import Measures, PerformanceReport
from monitoring.period import Period
from monitoring.profiles import read_profile, summaries
from monitoring.readings import Reading
from services import observe
from services.monitor_cycle import Cycle
from training.evaluate import metrics

_DAYS_OF_A_MONTH = 31


def profiles(home: Home, settings: MonitorSettings, cycle: Cycle) -> Iterator[Reading]:
    """Bring profiles up to the log, choose the period to watch, and read how long nothing was decided."""
    cycle.profiled = profile_store.update(home).decisions
    for days in settings.period.days:
        cycle.period = Period(cycle.period.end - timedelta(days=days), cycle.period.end)
        cycle.decisions = profile_store.count(home, cycle.period.start, cycle.period.end)
        if cycle.decisions >= settings.period.least_decisions:
            break
    yield from readings.of_silence(profile_store.last_decision(home), cycle.at)


def drift(home: Home, cycle: Cycle) -> Iterator[Reading]:
    """Compare the period with training, and with the period before if it has decisions; nothing if it has none."""
    if not cycle.decisions:
        return
    reference = read_profile(observe.reference(home))
    now, before = profile_store.period(home, cycle.period.start, cycle.period.end), cycle.period.before
    has_before = bool(profile_store.count(home, before.start, before.end))
    cycle.drift = compare(
        summaries(reference),
        summaries(now),
        observe.thresholds(home),
        previous=summaries(profile_store.period(home, before.start, before.end)) if has_before else None,
        reference_name="training",
        current_name=cycle.period.name,
        previous_name=before.name,
    )
    pages = observe.DriftPages(
        html=cycle.page("drift.html"), report=cycle.page("drift.json"), gauges=cycle.page("drift.prom")
    )
    observe.write_drift(cycle.drift, reference, now, pages)
    yield from readings.of_drift(cycle.drift)


def performance(home: Home, settings: MonitorSettings, cycle: Cycle) -> Iterator[Reading]:
    """Measure matured loans and what was answered."""
    cycle.performance = report = measured(home, settings, cycle.period)
    write_atomically(cycle.page("performance.html"), report.to_html().encode())
    write_atomically(cycle.page("performance.json"), report.to_json())
    write_atomically(cycle.page("performance.prom"), report.to_gauges())
    limits = observe.thresholds(home)
    yield from readings.of_performance(report, least=limits.min_samples, false_alarm=limits.false_alarm)


def measured(home: Home, settings: MonitorSettings, period: Period) -> PerformanceReport:
    """Return how the decisions of a home turned out.

    Raises
    ------
    UnavailableError
        If the log is not there.
    """
    log = LoggedResults(home.decision_log_url)
    try:
        return measure_log(
            log,
            _measure,
            period,
            as_of=home.outcomes_now(),
            performance_months=home.state().performance_months,
            reported_after_months=settings.performance.reported_after_months,
            since=period.end - timedelta(days=settings.performance.months * _DAYS_OF_A_MONTH),
            least_loans=settings.performance.least_loans,
            least_bads=settings.performance.least_bads,
        )
    finally:
        log.close()


def _measure(defaulted: Bools, pd: Floats) -> Measures:
    found = metrics("matured", pd, defaulted, cutoff=1.0)
    shown = [name for name in Measures.__struct_fields__ if name != "expected_auc"]
    return Measures(expected_auc=expected_auc(pd), **{name: found[f"matured_{name}"] for name in shown})
