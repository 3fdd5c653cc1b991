"""What a monitoring cycle read: numbers with names, which rules of ``monitor.toml`` compare.

======================== ===================================================================
reading                  value, and whose it is
======================== ===================================================================
``drift``                2 alert, 1 watch, 0 neither; of each feature, against training
``drift_since_previous`` the same against the period before
``idle_hours``           hours since the last decision
``gate_failed``          1 or 0; of each gate, when it was last asked
``auc_shortfall``        by how much the AUC of matured loans, at the upper end of its interval, is
                         below the one that they would have if their PDs were right
``ratio_low``            observed over expected defaults, at the lower end of its interval; of
                         all matured loans, and of each score band
``ratio_high``           the same at the upper end
``without_outcome``      share of approved loans that have matured without an outcome
``approval_change``      difference of the approval rates of this period and the one before; 0
                         if chance may have done it
``review_share``         share of the period's decisions that a person has to make
``absent_view``          the same that a view was stale or missing for; of each view
``guard_failed``         the same that the guard objected to
``failed_step``          1 of each step of the cycle that could not be taken, else 0
======================== ===================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from monitoring import chance
from monitoring.drift_report import DriftReport, FeatureDrift
from monitoring.monitor_settings import ReadingName
from monitoring.performance_report import Matured, Mix, PerformanceReport
from validation.runs import Run

_LEVELS = {"alert": 2.0, "watch": 1.0}
_TOLD = 2  # reasons of one feature; the page has all


@dataclass(frozen=True)
class Reading:
    """One number.

    Parameters
    ----------
    subject : str
        Of what: a feature, a band, a view; empty where there is but one.
    words : str
        What was found, for people. No value of an applicant.
    """

    name: ReadingName
    subject: str
    value: float
    words: str


def of_drift(report: DriftReport) -> Iterator[Reading]:
    """Yield how far each feature has moved, where that can be told; those that are shown only have not."""
    for name, features, against in _sides(report):
        for one in features:
            if one.status == "not_enough_data":
                continue
            level = 0.0 if one.report_only else _LEVELS.get(one.status, 0.0)
            words = "; ".join(one.reasons[:_TOLD]) or f"PSI {one.psi:.3f}"
            words += f"; and {len(one.reasons) - _TOLD} more" if len(one.reasons) > _TOLD else ""
            yield Reading(name, one.feature, level, f"{one.feature} against {against}: {words}")


def _sides(report: DriftReport) -> Iterator[tuple[ReadingName, Sequence[FeatureDrift], str]]:
    yield "drift", report.features, report.reference
    yield "drift_since_previous", report.since_previous, report.previous or ""


def of_silence(last: datetime | None, now: datetime) -> Iterator[Reading]:
    """Yield how long ago the last decision was made; nothing where none ever was.

    Parameters
    ----------
    last : datetime or None
        UTC.
    now : datetime
        Wall clock.
    """
    if last is not None:
        hours = max((now - last).total_seconds() / 3600, 0.0)
        yield Reading(
            "idle_hours", "", hours, f"the last decision was made at {last.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )


def of_gates(runs: Sequence[Run]) -> Iterator[Reading]:
    """Yield whether each gate failed when it was last asked.

    Parameters
    ----------
    runs : sequence of Run
        The newest first.
    """
    seen: set[str] = set()
    for run in runs:
        for result in run.results:
            if result.name not in seen:
                seen.add(result.name)
                found = f"{len(result.failures)} critical findings" if result.failures else "passed"
                words = f"gate {result.name} on {run.at:%Y-%m-%d %H:%M} UTC: {found}"
                yield Reading("gate_failed", result.name, float(not result.passed), words)


def of_performance(report: PerformanceReport, *, least: int, false_alarm: float) -> Iterator[Reading]:
    """Yield how matured loans did, and what was answered.

    Parameters
    ----------
    least : int
        Decisions of a period below which nothing is said of what was answered.
    false_alarm : float
        Probability of a change of the approval rate by chance, above which it is none.
    """
    matured = report.matured
    if matured.measures:
        high, expected = matured.measures.auc_high, matured.measures.expected_auc
        words = f"AUC of {matured.loans:,} matured loans is {matured.measures.auc:.3f} ({high:.3f} at most), "
        yield Reading("auc_shortfall", "", expected - high, words + f"and {expected:.3f} by their own PDs")
    for one in (matured, *report.bands):
        yield from _of_ratio(one, report.least_bads)
    if report.ripe >= least:
        missing = report.without_outcome / report.ripe
        words = f"{report.without_outcome:,} of {report.ripe:,} approved loans that have matured have no outcome"
        yield Reading("without_outcome", "", missing, words)
    yield from _of_answers(report.current, report.previous, least, false_alarm)


def _of_ratio(one: Matured, least_bads: int) -> Iterator[Reading]:
    if one.ratio is None or one.expected_rate is None or max(one.bads, one.expected_rate * one.loans) < least_bads:
        return
    expected = one.expected_rate * one.loans
    words = f"{one.name}: {one.bads:,} of {one.loans:,} matured loans defaulted, {expected:,.0f} expected"
    yield Reading("ratio_low", one.name, one.ratio.low, words)
    yield Reading("ratio_high", one.name, one.ratio.high, words)


def _of_answers(current: Mix, previous: Mix, least: int, false_alarm: float) -> Iterator[Reading]:
    n, before = current.decisions, previous.decisions
    if n < least:
        return
    if before >= least:
        was, now = previous.approved / before, current.approved / n
        is_real = chance.of_shares(previous.approved, before, current.approved, n) <= false_alarm
        words = f"approvals went from {was:.1%} of {before:,} to {now:.1%} of {n:,}"
        yield Reading("approval_change", "", abs(now - was) if is_real else 0.0, words)
    shares: Mapping[tuple[ReadingName, str], tuple[int, str]] = {
        ("review_share", ""): (current.reviewed, "wait for a person"),
        ("guard_failed", ""): (current.failed_guard, "have values that the guard objects to"),
        **{("absent_view", view): (count, f"found {view} stale or missing") for view, count in current.absent.items()},
    }
    for (name, subject), (count, what) in shares.items():
        yield Reading(name, subject, count / n, f"{count / n:.1%} of {n:,} decisions {what}")


def of_steps(steps: Collection[str], failed: Mapping[str, str]) -> Iterator[Reading]:
    """Yield of each step of a cycle whether it could not be taken, with its message."""
    for step in dict.fromkeys([*steps, *failed]):
        yield Reading("failed_step", step, float(step in failed), f"{step}: {failed.get(step, 'taken')}")
