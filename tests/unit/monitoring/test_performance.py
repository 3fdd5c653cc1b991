"""Performance on delayed labels, measured on logs of our own."""

from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pytest
from scipy.stats import poisson
from sklearn.metrics import roc_auc_score

from feature_repo.errors import UnavailableError
from feature_repo.stores.stored import StoredView
from monitoring.decision_log import DecisionLog, Entry
from monitoring.decision_record import DecisionRecord
from monitoring.logged_results import LoggedResults
from monitoring.outcomes import Outcome, Outcomes
from monitoring.performance import expected_auc, measure_log, over_at, ratio
from monitoring.performance_report import APR_TIERS, Measures
from monitoring.period import Period
from training.loans import LOANS_SQL

NOW = datetime(2026, 1, 15, tzinfo=UTC)
TODAY = Period(NOW - timedelta(days=1), NOW)


def decision(
    number, at, recommendation="APPROVED", pd=0.1, term=6, apr=9.0, status="PRESENT", guarded=True, version="1"
):
    terms = {} if recommendation == "DECLINED" else {"apr": apr, "term_months": term}
    return DecisionRecord(
        decision_id=f"{number:032x}",
        decided_at=at,
        as_of=at,
        applicant_id=f"APP_{number:06d}",
        bundle="sha256:" + "0" * 64,
        model_version=version,
        recommendation=recommendation,
        pd=pd,
        score=700,
        request={},
        features={},
        views={"credit_bureau": StoredView(status, None, None, {})},
        impacts={},
        reference_log_odds=0.0,
        guard={"passed": guarded, "violations": []},
        output={"recommended_terms": {"approved": recommendation == "APPROVED", **terms}},
        policy_version="1",
        candor_version="0",
    )


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def log(url):
    log = DecisionLog(url)
    yield log
    log.close()


def written(log, *given):
    """Log pairs of a decision and its outcomes, each a name and days after the decision."""
    assert not any(log.append_all([Entry.of(record) for record, *_ in given]))
    outcomes = [
        Outcome(outcome=name, observed_at=record.decided_at + timedelta(days=days), decision_id=record.decision_id)
        for record, *found in given
        for name, days in found
    ]
    assert {taken.status for taken in Outcomes(log.database).store(outcomes)} <= {"stored"}


def rank(defaulted, pd):
    """Stand for training's measures: only that they are called with both outcomes."""
    assert defaulted.any()
    assert not defaulted.all()
    auc = float(np.mean(pd[defaulted]))
    return Measures(
        auc=auc, auc_low=0.0, auc_high=1.0, expected_auc=0.7, ks=0.1, ks_low=0.0, ks_high=1.0, brier=0.1, ece=0.05
    )


def measured(url, **changes):
    settings = {
        "as_of": NOW,
        "performance_months": 0,
        "reported_after_months": 0,
        "since": NOW - timedelta(days=775),
        "least_loans": 1,
        "least_bads": 1,
    } | changes
    log = LoggedResults(url)
    try:
        return measure_log(log, rank, settings.pop("period", TODAY), **settings)
    finally:
        log.close()


@pytest.mark.parametrize(
    ("decided", "months", "over"),
    [
        ("2025-01-31T12:00", 1, "2025-03-01"),
        ("2024-01-31T12:00", 1, "2024-03-01"),
        ("2025-08-30T23:59", 6, "2026-03-01"),
        ("2025-06-15T00:00", 12, "2026-06-16"),
        ("2025-12-31T10:00", 0, "2026-01-01"),
    ],
)
def test_a_window_is_over_with_the_last_day_of_its_last_month(decided, months, over):
    found = over_at(np.array([decided], "datetime64[us]"), np.array([float(months)]))
    assert found.astype(str).tolist() == [over]


def test_observed_over_expected_has_the_interval_of_garwood():
    # Of 10 counts: 4.795 to 18.390, as in the published tables.
    found = ratio(10, 5.0)
    assert (found.estimate, found.low, found.high) == pytest.approx((2.0, 4.795 / 5, 18.390 / 5), rel=1e-3)
    none = ratio(0, 2.0)
    assert (none.estimate, none.low, none.high) == pytest.approx((0.0, 0.0, 3.689 / 2), rel=1e-3)


@pytest.mark.parametrize("expected", [3.0, 12.0, 80.0])
def test_the_interval_of_the_ratio_holds_the_truth_as_often_as_it_says(expected):
    held = sum(
        poisson.pmf(bads, expected)
        for bads in range(300)
        if ratio(bads, expected).low <= 1 <= ratio(bads, expected).high
    )
    assert held >= 0.95


def test_a_loan_is_measured_when_its_term_and_90_days_are_over_and_not_before(log, url):
    before = NOW - timedelta(days=2)  # six months before 15 October lies 15 April; 90 days after it, 14 January
    at = datetime(2025, 4, 15, 12, tzinfo=UTC)
    written(log, (decision(1, at), ("DEFAULTED", 40)), (decision(2, at, term=7), ("DEFAULTED", 40)))
    assert measured(url, as_of=before).matured.loans == 0
    found = measured(url).matured
    assert (found.loans, found.bads, found.measures) == (1, 1, None)
    assert measured(url, as_of=NOW + timedelta(days=31)).matured.loans == 2


def test_outcomes_known_early_do_not_make_a_young_vintage_look_bad(log, url):
    rng = np.random.default_rng(5)
    given = []
    for number in range(3000):
        at = NOW - timedelta(days=int(rng.integers(1, 700)))
        bad = rng.random() < 0.1
        given.append((decision(number, at), ("DEFAULTED", int(rng.integers(31, 180))) if bad else ("REPAID", 183)))
    known = [one for one in given if one[0].decided_at + timedelta(days=one[1][1]) <= NOW]
    unknown = [(one[0],) for one in given if one not in known]
    written(log, *known, *unknown)
    naive = np.mean(
        [outcome[0] == "DEFAULTED" for record, outcome in known if record.decided_at > NOW - timedelta(270)]
    )
    assert naive > 0.15
    found = measured(url, least_loans=200, least_bads=20).matured
    assert found.bad_rate_low < 0.1 < found.bad_rate_high
    assert found.ratio.low < 1 < found.ratio.high


def test_a_default_after_the_performance_window_is_none(log, url):
    at = NOW - timedelta(days=500)
    written(
        log,
        (decision(1, at), ("DEFAULTED", 100)),
        (decision(2, at), ("DEFAULTED", 200)),
        (decision(3, at), ("REPAID", 250)),
    )
    assert (measured(url).matured.loans, measured(url).matured.bads) == (3, 2)
    assert measured(url, performance_months=4).matured.bads == 1


@pytest.mark.parametrize(("seconds", "bads"), [(-1, 1), (0, 1), (1, 0)])
def test_a_default_that_is_seen_as_the_window_ends_counts_as_in_training(log, url, seconds, bads):
    at = datetime(2024, 1, 31, 15, tzinfo=UTC)
    end = datetime(2024, 3, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    written(log, (decision(1, at), ("DEFAULTED", (end - at) / timedelta(days=1))))
    assert measured(url, performance_months=1).matured.bads == bads
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            """create table given as select 'L' as loan_id, 'A' as applicant_id, 1.0 as purchase_amount,
               true as defaulted, false as decided_here, $at as event_timestamp,
               $at as created_timestamp, $end as outcome_observed_at""",
            {"at": at, "end": end},
        )
        query = LOANS_SQL.format(request="purchase_amount", sources="select * from given")
        trained_on = connection.execute(query, {"months": 1, "as_of": NOW, "observed_until": NOW}).df()
    assert trained_on.defaulted.tolist() == [bool(bads)]


def test_a_window_that_is_longer_than_the_loan_is_waited_for(log, url):
    at = NOW - timedelta(days=320)
    written(log, (decision(1, at, term=6), ("REPAID", 190)))
    assert measured(url).matured.loans == 1
    assert measured(url, performance_months=11).matured.loans == 0
    assert measured(url, performance_months=10).matured.loans == 1


def test_who_reports_earlier_is_measured_earlier(log, url):
    at = NOW - timedelta(days=130)
    written(log, (decision(1, at), ("DEFAULTED", 100)), (decision(2, at), ("REPAID", 125)))
    assert measured(url).matured.loans == 0
    assert measured(url, reported_after_months=4).matured.loans == 2
    assert measured(url, reported_after_months=4, performance_months=5).matured.loans == 0
    assert measured(url, as_of=NOW + timedelta(days=160), reported_after_months=24).matured.loans == 2


def test_the_auc_that_pds_promise_is_what_outcomes_drawn_from_them_have_on_average():
    rng = np.random.default_rng(8)
    pd = np.round(rng.beta(2, 20, 400), 2).clip(0.01, 0.99)
    drawn = [roc_auc_score(outcome, pd) for outcome in rng.random((2000, 400)) < pd if outcome.any()]
    assert expected_auc(pd) == pytest.approx(np.mean(drawn), abs=0.004)
    narrow = pd[pd < 0.1]
    assert expected_auc(narrow) < expected_auc(pd) - 0.02


def test_an_outcome_observed_after_the_clock_is_not_known_and_the_last_one_counts(log, url):
    at = NOW - timedelta(days=400)
    written(log, (decision(1, at), ("REPAID", 200), ("DEFAULTED", 300)), (decision(2, at), ("REPAID", 390)))
    assert (measured(url).matured.loans, measured(url).matured.bads) == (2, 1)
    earlier = measured(url, as_of=at + timedelta(days=299))
    assert (earlier.matured.loans, earlier.matured.bads, earlier.without_outcome) == (1, 0, 1)


def test_a_default_stays_one_whatever_is_paid_later_unless_it_was_a_mistake(log, url):
    at = NOW - timedelta(days=400)
    paid = ("DEFAULTED", 100), ("REPAID", 150)
    written(log, (decision(1, at), *paid), (decision(2, at), ("DEFAULTED", 100), ("WITHDRAWN", 110), ("REPAID", 390)))
    assert (measured(url).matured.loans, measured(url).matured.bads) == (2, 1)
    earlier = measured(url, as_of=at + timedelta(days=389))
    assert (earlier.matured.loans, earlier.matured.bads, earlier.without_outcome) == (1, 1, 1)
    written(log, (decision(3, at), ("DEFAULTED", 100), ("WITHDRAWN", 110)))
    assert measured(url).without_outcome == 1


def test_loans_are_told_apart_by_band_model_and_vintage(log, url):
    first, second = datetime(2025, 1, 31, 23, tzinfo=UTC), datetime(2025, 2, 1, 1, tzinfo=UTC)
    written(
        log,
        (decision(1, first, pd=0.05), ("REPAID", 200)),
        (decision(2, first, pd=0.06), ("DEFAULTED", 90)),
        (decision(3, second, pd=0.3, version="2"), ("DEFAULTED", 90)),
        (decision(4, second, pd=0.3, version="2"), ("REPAID", 200)),
    )
    found = measured(url)
    assert [(one.name, one.loans, one.bads) for one in found.models] == [("1", 2, 1), ("2", 2, 1)]
    assert [(one.loans, one.bads) for one in found.bands] == [(1, 0), (1, 1), (0, 0), (2, 1)]
    assert [(one.month, one.decisions, one.matured.bads) for one in found.vintages] == [
        ("2025-01", 2, 1),
        ("2025-02", 2, 1),
    ]
    assert found.matured.expected_rate == pytest.approx((0.05 + 0.06 + 0.3 + 0.3) / 4)
    assert found.models[1].measures.auc == pytest.approx(0.3)
    assert {one.measures for one in found.bands} == {None}


def test_too_few_loans_or_bads_are_not_ranked(log, url):
    at = NOW - timedelta(days=400)
    written(log, *[(decision(n, at), ("DEFAULTED" if n < 3 else "REPAID", 300)) for n in range(10)])
    assert measured(url, least_loans=10, least_bads=3).matured.measures
    assert not measured(url, least_loans=11, least_bads=3).matured.measures
    assert not measured(url, least_loans=10, least_bads=4).matured.measures


def test_overrides_and_missing_outcomes_are_counted(log, url):
    at = NOW - timedelta(days=400)
    written(
        log,
        (decision(1, at, "DECLINED"), ("DEFAULTED", 100)),
        (decision(2, at, "DECLINED"),),
        (decision(3, at, "MANUAL_REVIEW"), ("REPAID", 200)),
        (decision(4, at, "MANUAL_REVIEW"),),
        (decision(5, at),),
        (decision(6, at), ("REPAID", 200)),
        (decision(7, NOW - timedelta(days=10)),),
    )
    found = measured(url)
    (vintage,) = [one for one in found.vintages if one.month == f"{at:%Y-%m}"]
    assert (vintage.decisions, vintage.approved, vintage.known) == (6, 2, 3)
    assert (vintage.ripe, vintage.without_outcome) == (2, 1)
    assert (vintage.declined_booked, vintage.reviewed_booked) == (1, 1)
    assert (found.ripe, found.without_outcome, found.matured.loans) == (2, 1, 2)


def test_what_was_answered_is_told_for_the_period_the_one_before_and_by_month(log, url):
    hour = timedelta(hours=1)
    written(
        log,
        (decision(1, NOW - hour, apr=10.0),),
        (decision(2, NOW - hour, apr=31.0, status="STALE"),),
        (decision(3, NOW - hour, "DECLINED", status="MISSING", guarded=False),),
        (decision(4, NOW - 25 * hour, "MANUAL_REVIEW"),),
        (decision(5, NOW - 48 * hour, apr=12.0),),
        (decision(6, NOW - 49 * hour, apr=12.0),),
        (decision(7, NOW, apr=12.0),),
    )
    found = measured(url)
    now, before = found.current, found.previous
    assert (now.decisions, now.approved, now.reviewed, now.declined, now.failed_guard) == (3, 2, 0, 1, 1)
    assert (now.absent, now.mean_apr) == ({"credit_bureau": 2}, 20.5)
    assert (
        dict(zip(APR_TIERS, now.apr, strict=True))["to 10 %"]
        == dict(zip(APR_TIERS, now.apr, strict=True))["over 30 %"]
        == 1
    )
    assert (before.decisions, before.approved, before.reviewed) == (2, 1, 1)
    assert [(one.name, one.decisions) for one in found.months] == [("2026-01", 7)]


def test_all_pages_of_a_log_are_read(log, url, monkeypatch):
    from monitoring import logged_results

    at = NOW - timedelta(days=400)
    written(log, *[(decision(n, at + timedelta(seconds=n // 4)), ("REPAID", 300)) for n in range(23)])
    monkeypatch.setattr(logged_results, "PAGE", 5)
    found = measured(url)
    assert found.matured.loans == found.vintages[0].decisions == 23


def test_an_empty_log_is_measured_as_such(log, url):
    written(log)
    log.append_all([Entry.of(decision(1, NOW - timedelta(days=900)))])
    found = measured(url)
    assert (found.matured.loans, found.vintages, found.current.decisions) == (0, (), 0)
    assert "Performance" in found.to_html()
    assert b"candor_performance_matured_loans" in found.to_gauges()


def test_a_log_that_is_not_there_is_not_created(tmp_path):
    with pytest.raises(UnavailableError, match="there is no decision log at"):
        measured(f"sqlite:///{tmp_path}/none.db")
    assert not list(tmp_path.iterdir())


def test_a_page_names_nothing_of_a_network_and_gauges_say_the_same(log, url):
    at = NOW - timedelta(days=400)
    written(
        log, *[(decision(n, at, pd=0.02 + n / 100), ("DEFAULTED" if n % 4 == 0 else "REPAID", 300)) for n in range(12)]
    )
    found = measured(url)
    page = found.to_html()
    assert "http" not in page
    assert "25.0 %" in page
    assert 'candor_performance_bad_rate{kind="all",segment="all"} 0.25' in found.to_gauges().decode()
