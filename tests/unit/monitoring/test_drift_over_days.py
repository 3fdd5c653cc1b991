"""Days of decisions through profiles, against training and the day before, at the default thresholds.

`python -m tests.benchmarks profiles` does the same for 200 days.
"""

from datetime import UTC, datetime

import duckdb
import numpy as np
import pandas as pd
import pytest

from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from feature_repo.portfolios.simulated.config import SimulationConfig
from monitoring.banding import profile_scored
from monitoring.drift import compare
from monitoring.profiles import profile_frame, summaries
from tests.benchmarks.many_decisions import inputs

MOVED = {"annual_income", "credit_utilization", "inflow_90d"}


@pytest.fixture(scope="module")
def days():
    """Return training, five calm days and one on which three features have moved by a standard deviation."""
    rng = np.random.default_rng(1)
    shifts = [(20_000, 0.0), *[(5_000, 0.0)] * 5, (5_000, 1.0)]
    return [summaries(profile_scored(pd.DataFrame(inputs(rng, rows, moved)))) for rows, moved in shifts]


def test_days_without_a_shift_do_not_alert(days):
    training, *calm, _ = days
    for yesterday, today in zip(calm, calm[1:], strict=False):
        report = compare(training, today, previous=yesterday)
        assert len(report.features) == 23
        assert not report.alert
        assert {feature.status for feature in report.features} == {"ok"}


def test_a_shift_of_three_features_alerts_on_its_first_day_and_names_them(days):
    training, *_, yesterday, today = days
    report = compare(training, today, previous=yesterday)
    for side in (report.features, report.since_previous):
        assert {feature.feature for feature in side if feature.status == "alert"} == MOVED
        assert {band.status for feature in side for band in feature.bands if feature.feature in MOVED} == {"alert"}
    assert {feature.feature for feature in report.features[:3]} == MOVED


def test_a_tenth_of_a_day_is_enough_to_see_it(days):
    training = days[0]
    part = summaries(profile_scored(pd.DataFrame(inputs(np.random.default_rng(9), 500, 1.0))))
    assert {feature.feature for feature in compare(training, part).features if feature.status == "alert"} == MOVED


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Return profiles of what a simulated lender knew by month, a macro shift beginning in July."""
    home = Home(tmp_path_factory.mktemp("simulated"))
    shift = datetime(2025, 7, 1, tzinfo=UTC)
    ingest(home, "simulated", simulation=SimulationConfig(applicants=800, shift_from=shift))

    def known(first: str, end: str):
        bureau, bank = (home.source_glob(table) for table in ("credit_bureau", "account_cashflow"))
        query = f"""from '{bureau}' b join '{bank}' a using (applicant_id)
            select b.* exclude (applicant_id, event_timestamp, created_timestamp),
                a.* exclude (applicant_id, event_timestamp, created_timestamp)
            where date_trunc('month', b.event_timestamp) = date_trunc('month', a.event_timestamp)
                and b.event_timestamp >= '{first}' and b.event_timestamp < '{end}'"""
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            return summaries(profile_frame(connection.sql(query).df()))

    return known


def test_the_simulators_macro_shift_alerts_as_soon_as_it_holds_and_not_before(simulated):
    before = simulated("2024-02-01", "2025-06-01")
    assert not compare(before, simulated("2025-06-01", "2025-07-01")).alert
    alerts = {
        one.feature for one in compare(before, simulated("2025-07-01", "2025-08-01")).features if one.status == "alert"
    }
    assert alerts >= {"credit_utilization", "num_credit_inquiries", "inflow_90d"}
