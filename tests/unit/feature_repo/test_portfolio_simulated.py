"""The simulated lender: reproducible, as messy as real data, and with nothing from the future."""

import calendar
import hashlib
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from feature_repo.errors import InputError
from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from feature_repo.portfolios.simulated.config import SimulationConfig
from feature_repo.portfolios.simulated.lending import add_months
from feature_repo.registry import table_specs

SMALL = SimulationConfig(applicants=800)
AS_OF = SMALL.as_of
APPLICANT_TABLES = ("applicant_profile", "credit_bureau", "account_cashflow", "repayment_history")


def filled(root, config=SMALL):
    home = Home(root)
    ingest(home, "simulated", simulation=config)
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def sql(home):
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for table in (*APPLICANT_TABLES, "loans"):
            con.execute(f"CREATE VIEW {table} AS FROM '{home.sources / table / 'data.parquet'}'")
        con.execute("CREATE SCHEMA raw")
        for path in (home.raw / "simulated").glob("*.parquet"):
            con.execute(f"CREATE VIEW raw.{path.stem} AS FROM '{path}'")
        con.execute(f"CREATE VIEW truth AS FROM '{home.truth / 'loans.parquet'}'")
        yield lambda query: con.execute(query).fetchall()


def digests(home):
    folders = (home.sources, home.raw, home.truth)
    files = sorted(path for folder in folders for path in folder.rglob("*.parquet"))
    return {str(path.relative_to(home.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes(home, tmp_path):
    assert digests(filled(tmp_path / "again")) == digests(home)


def test_another_seed_gives_other_rows(home, tmp_path):
    other = digests(filled(tmp_path / "other", SimulationConfig(applicants=800, seed=8)))
    assert all(other[name] != digest for name, digest in digests(home).items())


def test_the_home_stands_at_the_end_of_the_simulation(home):
    assert home.now() == home.outcomes_now() == AS_OF


@pytest.mark.parametrize("table", [*APPLICANT_TABLES, "loans"])
def test_nothing_is_known_after_the_end_nor_before_it_happened(sql, table):
    rows = sql(f"SELECT count(*), max(created_timestamp), min(created_timestamp - event_timestamp) FROM {table}")
    count, latest, shortest = rows[0]
    assert count > 0
    assert latest <= AS_OF
    assert shortest >= timedelta(0)


def test_raw_events_end_with_the_simulation_too(home):
    for path in (home.raw / "simulated").glob("*.parquet"):
        table = pq.read_table(path)
        for name in ("received_at", "decided_at", "paid_at"):
            if name in table.column_names:
                assert max(table[name].to_pylist()) <= AS_OF, (path.name, name)


def test_values_lie_in_the_ranges_of_the_contract(home, sql):
    for table, specs in table_specs(home).items():
        for spec in specs:
            if spec.kind == "category":
                found = {value for (value,) in sql(f"SELECT DISTINCT {spec.name} FROM {table}")} - {None}
                assert found
                assert found <= set(spec.categories), spec.name
            elif spec.name == "cash_withdrawal_share_90d":
                assert sql(f"SELECT count({spec.name}) FROM {table}") == [(0,)]  # nobody simulated uses cash
                continue
            elif spec.low is not None:
                low, high = sql(f"SELECT min({spec.name}), max({spec.name}) FROM {table}")[0]
                assert spec.low <= low <= high <= spec.high, spec.name
            assert sql(f"SELECT count(DISTINCT {spec.name}) > 1 FROM {table}") == [(True,)], spec.name


def test_figures_of_an_account_do_not_contradict_each_other(sql):
    broken = """balance_min_90d > balance_mean_90d OR balance_min_180d > balance_min_90d
        OR (days_below_zero_90d > 0) <> (balance_min_90d < 0)
        OR (penalty_interest_90d > 0 AND days_below_zero_90d = 0)"""
    assert sql(f"SELECT count(*) FROM account_cashflow WHERE {broken}") == [(0,)]


@pytest.mark.parametrize("table", ["applicant_profile", "credit_bureau", "account_cashflow"])
def test_some_rows_come_late_and_some_twice(sql, table):
    late, again = sql(
        f"""SELECT avg((wait > INTERVAL 2 DAY AND nth = 1)::INTEGER), avg((nth = 2)::INTEGER) FROM (
            SELECT created_timestamp - event_timestamp AS wait,
                row_number() OVER (PARTITION BY applicant_id, event_timestamp ORDER BY created_timestamp) AS nth
            FROM {table})"""
    )[0]
    assert 0.01 < late < 0.035
    assert 0.01 < again < 0.035


def test_some_of_the_repeated_rows_are_corrections(sql):
    repeats, corrections = sql(
        """SELECT count(*), count(*) FILTER (least <> greatest) FROM (
            SELECT min(credit_utilization) AS least, max(credit_utilization) AS greatest
            FROM credit_bureau GROUP BY applicant_id, event_timestamp HAVING count(*) = 2)"""
    )[0]
    assert 0.3 < corrections / repeats < 0.7


@pytest.mark.parametrize("table", ["credit_bureau", "account_cashflow", "repayment_history"])
def test_some_applicants_lack_a_whole_table(sql, table):
    with_rows = sql(f"SELECT count(DISTINCT applicant_id) FROM {table}")[0][0]
    assert 0.04 < 1 - with_rows / SMALL.applicants < 0.11


def test_most_views_are_fresh_at_the_end(sql):
    days = {"applicant_profile": 400, "credit_bureau": 120, "account_cashflow": 62, "repayment_history": 180}
    for table, ttl in days.items():
        fresh = sql(
            f"""SELECT count(DISTINCT applicant_id) FROM {table}
            WHERE event_timestamp >= TIMESTAMPTZ '{AS_OF}' - INTERVAL {ttl} DAY"""
        )[0][0]
        assert fresh / SMALL.applicants > 0.88, table


def test_default_rate_terms_and_amounts_are_those_of_a_point_of_sale_lender(sql):
    rate, lowest, highest, shortest, longest, per_applicant = sql(
        f"""SELECT avg(defaulted::INTEGER), min(purchase_amount), max(purchase_amount), min(term_months),
            max(term_months), count(*) / {SMALL.applicants} FROM loans"""
    )[0]
    assert 0.05 < rate < 0.1
    assert 100 <= lowest < highest <= 8000
    assert (shortest, longest) == (3, 36)
    assert 1.3 < per_applicant < 2


def test_outcomes_mature_with_the_loan_and_not_with_the_default(sql):
    assert sql("SELECT count(*) FROM loans WHERE outcome_observed_at > TIMESTAMPTZ '2026-01-01'") == [(0,)]
    known = sql(
        """SELECT bool_and((defaulted IS NOT NULL) = (event_timestamp < TIMESTAMPTZ '2025-07-01')),
            min(outcome_observed_at - event_timestamp), max(outcome_observed_at - event_timestamp) FROM loans
        WHERE event_timestamp::DATE <> DATE '2025-06-30'"""
    )[0]
    assert known[0]
    assert timedelta(days=180) < known[1] < known[2] < timedelta(days=187)


def test_the_truth_is_kept_outside_the_sources_and_agrees_with_the_outcomes(home, sql):
    assert sql("SELECT count(*) FROM loans ANTI JOIN truth USING (loan_id)") == [(0,)]
    assert sql("SELECT count(*) FROM truth ANTI JOIN loans USING (loan_id)") == [(0,)]
    assert "true_pd" not in pq.read_schema(home.sources / "loans" / "data.parquet").names
    assert not any("true" in path.name for path in home.raw.rglob("*"))
    rows = sql("SELECT true_pd, defaulted::INTEGER FROM loans JOIN truth USING (loan_id) WHERE defaulted IS NOT NULL")
    chance, bad = np.array(rows).T
    assert 0 < chance.min() < chance.max() < 1
    error = np.sqrt((chance * (1 - chance)).sum()) / len(bad)
    assert abs(chance.mean() - bad.mean()) < 4 * error, "outcomes are draws of the truth"
    assert roc_auc_score(bad, chance) > 0.78


def test_nobody_who_defaulted_and_no_minor_is_lent_to(sql):
    again = """SELECT count(*) FROM loans bad JOIN loans later USING (applicant_id)
        WHERE bad.defaulted AND later.event_timestamp > bad.outcome_observed_at"""
    assert sql(again) == [(0,)]
    young = """SELECT count(*) FROM loans JOIN raw.applicants USING (applicant_id)
        WHERE event_timestamp::DATE < born + INTERVAL 18 YEAR"""
    assert sql(young) == [(0,)]


def test_minors_are_told_apart(sql):
    assert sql("SELECT count(*) FROM applicant_profile WHERE of_legal_age <> (age >= 18)") == [(0,)]


def test_a_bureau_report_knows_no_later_delinquency(sql):
    events = defaultdict(list)
    for applicant, day in sql("SELECT applicant_id, late_on FROM raw.delinquencies"):
        events[applicant].append(day)
    rows = sql("SELECT applicant_id, event_timestamp, months_since_last_delinquency FROM credit_bureau")
    assert any(months is not None for *_, months in rows)
    for applicant, at, months in rows:
        past = [day for day in events[applicant] if day <= at.date()]
        assert months == ((at.date() - max(past)).days // 30.4375 if past else None)


# ---- repayment history against a slow computation ---------------------------------------------------


def same_day_later(day, months):
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def expected_repayment(loans, payments, at):
    """Recompute one row of repayment_history from what was known four hours after the month end `at`."""
    known = at + timedelta(hours=4, seconds=1)
    today, late, on_time, due_count, longest, owed, taken = at.date(), 0, 0, 0, 0, 0.0, 0
    for loan, decided, term, instalment in loans:
        if decided > at:
            continue
        taken += 1
        owed += term * instalment
        for number in range(1, term + 1):
            due = same_day_later(decided.date(), number)
            if due > today:
                continue
            paid = [paid for paid, received in payments[loan, number] if received <= known]
            days = max(((paid[0].date() if paid else today) - due).days, 0)
            due_count += 1
            on_time += days == 0
            late += days >= 30 and due > same_day_later(today, -24)
            if not paid or paid[0].date() > same_day_later(today, -12):
                longest = max(longest, days)
            if paid:
                owed -= instalment
    return late, taken, on_time / due_count if due_count else None, longest, owed


def test_repayment_history_equals_a_slow_computation(sql):
    payments = defaultdict(list)
    for loan, number, paid, received in sql(
        "SELECT loan_id, instalment_number, paid_at, received_at FROM raw.payments ORDER BY received_at"
    ):
        payments[loan, number].append((paid, received))
    loans = defaultdict(list)
    for applicant, *loan in sql("SELECT applicant_id, loan_id, decided_at, term_months, instalment FROM raw.loans"):
        loans[applicant].append(loan)
    rows = sql(
        """SELECT applicant_id, event_timestamp, num_late_payments, num_prior_loans, on_time_payment_ratio,
            max_days_past_due, outstanding_balance FROM repayment_history
        WHERE substr(applicant_id, 9) IN ('13', '57', '88') OR num_late_payments > 3"""
    )
    assert len(rows) > 500
    assert max(row[2] for row in rows) > 3
    for applicant, at, *found in rows:
        assert at.time() == time(23, 59, 59)
        assert found == pytest.approx(expected_repayment(loans[applicant], payments, at)), (applicant, at)


# ---- the macro shift --------------------------------------------------------------------------------


def test_a_shift_moves_three_features_from_its_date_and_no_outcome(home, sql, tmp_path):
    begins = datetime(2025, 7, 1, tzinfo=UTC)
    config = SimulationConfig(applicants=800, shift_from=begins, shift_strength=1.0)
    other = filled(tmp_path / "shifted", config)
    changed = {name for name, digest in digests(other).items() if digest != digests(home)[name]}
    assert changed == {
        f"{folder}/{name}.parquet"
        for folder, name in (
            ("raw/simulated", "bureau_reports"),
            ("raw/simulated", "account_reports"),
            ("sources", "credit_bureau/data"),
            ("sources", "account_cashflow/data"),
        )
    }
    query = """SELECT avg({1}), stddev({1}) FROM '{0}' WHERE event_timestamp {2} TIMESTAMPTZ '2025-07-01'"""
    for table, value, direction in (
        ("credit_bureau", "credit_utilization", 1),
        ("credit_bureau", "num_credit_inquiries", 1),
        ("account_cashflow", "ln(inflow_90d)", -1),
    ):
        for comparison, least, most in (("<", -0.05, 0.05), (">=", 0.8, 1.2)):
            path = f"{table}/data.parquet"
            plain, deviation = sql(query.format(home.sources / path, value, comparison))[0]
            moved, _ = sql(query.format(other.sources / path, value, comparison))[0]
            assert least <= direction * (moved - plain) / deviation <= most, (value, comparison)


# ---- configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"applicants": 0}, "applicants: 0"),
        ({"applicants": 10_000_000}, "applicants: 10000000"),
        ({"seed": -1}, "seed: -1"),
        ({"default_rate": 1.0}, "default_rate: 1.0"),
        ({"months": 0}, "months"),
        ({"shift_from": datetime(2025, 1, 1)}, "shift_from: .* has no time zone"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        SimulationConfig(**change)


def test_the_number_of_applicants_and_the_seed_can_be_given_alone(tmp_path):
    home = Home(tmp_path)
    ingest(home, "simulated", applicants=40, seed=3)
    assert len(pq.read_table(home.raw / "simulated" / "applicants.parquet")) == 40


def test_months_are_added_as_a_calendar_does():
    days = [date(2024, 1, 31), date(2024, 12, 31), date(2025, 8, 30), date(2025, 3, 15)]
    for months in range(1, 37):
        found = add_months(np.array(days, "M8[s]"), np.full(len(days), months))
        assert [day.date() for day in found.tolist()] == [same_day_later(day, months) for day in days]
