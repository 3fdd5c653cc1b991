"""What a cycle reads out of reports, with values by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitoring.drift import compare
from monitoring.performance_report import Matured, Measures, Mix, PerformanceReport, Ratio, Vintage
from monitoring.readings import of_drift, of_gates, of_performance, of_silence, of_steps
from monitoring.summaries import ColumnSummary, Distribution
from validation.results import Finding, GateResult
from validation.runs import Run

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)


def mix(decisions=1000, approved=600, reviewed=100, failed_guard=0, absent=0):
    declined = decisions - approved - reviewed
    return Mix(
        name="",
        decisions=decisions,
        approved=approved,
        reviewed=reviewed,
        declined=declined,
        failed_guard=failed_guard,
        absent={"credit_bureau": absent},
        apr=(approved, 0, 0, 0, 0, 0),
        mean_apr=9.0,
    )


def matured(name="all", loans=1000, bads=100, expected=0.1, low=0.8, high=1.2, auc_high=None, by_pd=0.8):
    measures = None
    if auc_high is not None:
        ks = {"ks": 0.3, "ks_low": 0.0, "ks_high": 1.0}
        measures = Measures(auc=0.7, auc_low=0.6, auc_high=auc_high, expected_auc=by_pd, **ks, brier=0.1, ece=0.01)
    return Matured(
        name=name,
        loans=loans,
        bads=bads,
        bad_rate=bads / loans,
        bad_rate_low=0.0,
        bad_rate_high=1.0,
        expected_rate=expected,
        ratio=Ratio(bads / loans / expected, low, high),
        measures=measures,
    )


def report(current=None, previous=None, whole=None, bands=(), ripe=1000, without=50):
    vintage = Vintage(
        month="2025-01",
        decisions=ripe,
        approved=ripe,
        known=ripe - without,
        ripe=ripe,
        without_outcome=without,
        declined_booked=0,
        reviewed_booked=0,
        matured=matured(),
    )
    return PerformanceReport(
        as_of=NOW,
        made_at=NOW,
        performance_months=0,
        reported_after_months=0,
        least_loans=200,
        least_bads=20,
        matured=whole or matured(),
        models=(),
        bands=bands,
        vintages=(vintage,),
        months=(),
        current=current or mix(),
        previous=previous or mix(),
    )


def read(found, least=200):
    return {(one.name, one.subject): one.value for one in of_performance(found, least=least, false_alarm=0.005)}


def test_an_auc_counts_by_the_upper_end_of_its_interval():
    assert read(report(whole=matured(auc_high=0.74, by_pd=0.8)))["auc_shortfall", ""] == pytest.approx(0.06)
    assert ("auc_shortfall", "") not in read(report())


def test_ratios_count_by_their_ends_where_there_are_bads_enough():
    few = matured(name="band", loans=100, bads=19, expected=0.1)
    found = read(report(bands=(few, matured(name="other", loans=300, bads=2, expected=0.1))))
    assert (found["ratio_low", "all"], found["ratio_high", "all"]) == (0.8, 1.2)
    assert ("ratio_low", "band") not in found
    assert found["ratio_high", "other"] == 1.2  # of 30 expected


def test_a_change_of_approvals_that_chance_may_have_made_is_none():
    assert read(report(mix(approved=700)))["approval_change", ""] == pytest.approx(0.1)
    few = mix(decisions=200, approved=120, reviewed=20), mix(decisions=200, approved=136, reviewed=20)
    assert read(report(*few))["approval_change", ""] == 0.0
    assert ("approval_change", "") not in read(report(previous=mix(decisions=199, approved=1, reviewed=0)))


def test_shares_are_of_the_period_and_need_enough_decisions():
    found = read(report(mix(reviewed=250, failed_guard=60, absent=400)))
    assert (found["review_share", ""], found["guard_failed", ""]) == (0.25, 0.06)
    assert found["absent_view", "credit_bureau"] == 0.4
    assert found["without_outcome", ""] == 0.05
    assert set(read(report(), least=1001)) == {("ratio_low", "all"), ("ratio_high", "all")}


def column(values):
    points, counts = np.unique(values, return_counts=True)
    shares = np.cumsum(counts) / len(values)
    return ColumnSummary(n=len(values), null=0, distribution=Distribution(tuple(points), tuple(shares)))


def test_drift_is_read_of_each_feature_against_training_and_the_period_before():
    rng = np.random.default_rng(1)
    same, moved = column(rng.normal(size=2000)), column(rng.normal(1.5, 1, 2000))
    training = {"x": same, "y": same, "defaulted": same}
    now = {"x": moved, "y": same, "defaulted": moved}
    found = {(one.name, one.subject): one for one in of_drift(compare(training, now, previous=now))}
    assert {key: one.value for key, one in found.items()} == {
        ("drift", "x"): 2.0,
        ("drift", "y"): 0.0,
        ("drift", "defaulted"): 0.0,
        ("drift_since_previous", "x"): 0.0,
        ("drift_since_previous", "y"): 0.0,
        ("drift_since_previous", "defaulted"): 0.0,
    }
    assert found["drift", "x"].words.startswith("x against reference: PSI")


def test_silence_is_counted_from_the_last_decision():
    (one,) = of_silence(NOW - timedelta(hours=30), NOW)
    assert (one.name, one.value) == ("idle_hours", 30.0)
    assert list(of_silence(None, NOW)) == []
    assert [one.value for one in of_silence(NOW + timedelta(seconds=5), NOW)] == [0.0]


def test_each_gate_counts_as_it_was_last_asked():
    failure = Finding(table="loans", expectation="e", rule="r", level="critical")
    bad = GateResult(name="loans", passed=False, rows=1, checked=1, failures=(failure,))
    good = GateResult(name="loans", passed=True, rows=1, checked=1)
    other = GateResult(name="bureau", passed=False, rows=1, checked=1, failures=(failure,))
    runs = [Run(run="2", at=NOW, results=(good,)), Run(run="1", at=NOW, results=(bad, other))]
    assert {one.subject: one.value for one in of_gates(runs)} == {"loans": 0.0, "bureau": 1.0}


def test_each_step_is_read_and_one_that_failed_with_its_message():
    found = {one.subject: one for one in of_steps(["drift", "gates"], {"drift": "no model", "alerts": "damaged"})}
    assert {name: one.value for name, one in found.items()} == {"drift": 1.0, "gates": 0.0, "alerts": 1.0}
    assert found["drift"].words == "drift: no model"


def test_a_feature_with_too_few_rows_is_not_read():
    few = column(np.arange(50.0))
    assert list(of_drift(compare({"x": few}, {"x": few}))) == []
