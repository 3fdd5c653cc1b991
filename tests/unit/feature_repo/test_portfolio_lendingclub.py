"""LendingClub: what each column means, and that nothing of the outcome reaches a feature."""

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from feature_repo.home import PROJECT_ROOT, Home
from feature_repo.portfolios.ingest import ingest
from feature_repo.registry import table_specs

DATA = PROJECT_ROOT.parent / "shared" / "data" / "lendingclub"

LOAN = {
    "loan_amnt": 5000,
    "funded_amnt": 4000,
    "term": "36",
    "emp_length": "10+ years",
    "home_ownership": "RENT",
    "annual_inc": 48000.0,
    "verification_status": "Source Verified",
    "issue_d": date(2010, 3, 1),
    "loan_status": "Fully Paid",
    "purpose": "car",
    "dti": 12.5,
    "delinq_2yrs": 0.0,
    "earliest_cr_line": date(2000, 1, 1),
    "inq_last_6mths": 2.0,
    "mths_since_last_delinq": None,
    "open_acc": 7.0,
    "pub_rec": 1.0,
    "revol_bal": 900,
    "revol_util": 0.45,
    "total_acc": 20.0,
    "last_pymnt_d": date(2012, 6, 1),
    "grade": "A",
}
# One change each; the row number is the applicant.
CHANGES = [
    {},
    {"emp_length": "< 1 year", "home_ownership": "NONE", "purpose": "vacation", "verification_status": "Not Verified"},
    {"emp_length": "n/a", "purpose": "educational", "annual_inc": float("nan"), "revol_util": None},
    {"loan_status": "Charged Off", "last_pymnt_d": date(2011, 1, 1)},
    {"loan_status": "Does not meet the credit policy. Status:Charged Off", "last_pymnt_d": None},
    {"mths_since_last_delinq": 0.0, "loan_status": "Does not meet the credit policy. Status:Fully Paid"},
    {"mths_since_last_delinq": 0.0, "delinq_2yrs": 1.0},
    {"mths_since_last_delinq": 30.0, "last_pymnt_d": date(2010, 3, 1)},
    {"emp_length": "1 year", "delinq_2yrs": None, "mths_since_last_delinq": None, "open_acc": None},
]


def rows_of(home, table):
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        relation = con.sql(f"SELECT * FROM '{home.sources / table / 'data.parquet'}'")
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def instant(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("lendingclub")
    pd.DataFrame([LOAN | change for change in CHANGES]).to_parquet(root / "loans_2007_2011.parquet")
    home = Home(root / "home")
    ingest(home, "lendingclub", root)
    return home


def test_the_applicant_is_the_row_and_the_decision_sees_the_features_of_its_day(sample):
    for table in ("applicant_profile", "credit_bureau", "repayment_history"):
        rows = rows_of(sample, table)
        assert [row["applicant_id"] for row in rows] == [f"LC_{number:07d}" for number in range(1, len(CHANGES) + 1)]
        assert {(row["event_timestamp"], row["created_timestamp"]) for row in rows} == {(instant(2010, 3, 1),) * 2}
    assert {row["event_timestamp"] for row in rows_of(sample, "loans")} == {instant(2010, 3, 1, 12)}
    assert rows_of(sample, "account_cashflow") == []


def test_profile(sample):
    rows = rows_of(sample, "applicant_profile")
    assert [row["employment_years"] for row in rows][:4] == [10, 0.5, None, 10]
    assert rows[8]["employment_years"] == 1
    assert [row["home_ownership"] for row in rows][:2] == ["RENT", "OTHER"]
    assert [row["income_verified"] for row in rows][:2] == [True, False]
    assert [row["annual_income"] for row in rows][1:3] == [48000, None]
    assert {(row["of_legal_age"], row["age"], row["sex"]) for row in rows} == {(True, None, None)}


def test_bureau_units(sample):
    rows = rows_of(sample, "credit_bureau")
    expected = {
        "debt_to_income_ratio": 0.125,
        "credit_utilization": 0.45,
        "num_credit_lines": 7,
        "total_credit_lines": 20,
        "num_credit_inquiries": 2,
        "months_since_last_delinquency": None,
        "num_public_records": 1,
        "revolving_balance": 900,
        "credit_history_months": 122,
    }
    assert {name: rows[0][name] for name in expected} == expected
    assert rows[2]["credit_utilization"] is None
    assert rows[8]["num_credit_lines"] is None


def test_zero_months_since_a_delinquency_that_was_not_counted_is_never(sample):
    months = [row["months_since_last_delinquency"] for row in rows_of(sample, "credit_bureau")]
    assert months[5:8] == [None, 0, 30]
    late = [row["num_late_payments"] for row in rows_of(sample, "repayment_history")]
    assert late[5:] == [0, 1, 0, None]


def test_loans_and_when_their_outcome_was_known(sample):
    rows = rows_of(sample, "loans")
    assert (rows[0]["purchase_amount"], rows[0]["term_months"]) == (5000, 36)
    assert [row["loan_purpose"] for row in rows][:3] == ["car", "travel", "education"]
    assert [row["defaulted"] for row in rows] == [False, False, False, True, True, False, False, False, False]
    assert rows[0]["outcome_observed_at"] == instant(2012, 6, 1)
    assert rows[3]["outcome_observed_at"] == instant(2011, 6, 1), "150 days after the last payment"
    assert rows[4]["outcome_observed_at"] == instant(2010, 8, 1), "150 days after the loan, never paid"
    assert rows[7]["outcome_observed_at"] == instant(2010, 3, 2), "not before the decision"


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if not DATA.is_dir():
        pytest.skip(f"{Path(*DATA.parts[-3:])} is not beside the project")
    home = Home(tmp_path_factory.mktemp("lendingclub-real"))
    return home, ingest(home, "lendingclub", DATA)


@pytest.mark.real_data
def test_all_real_loans_are_there_with_an_outcome_inside_the_watch(real):
    home, report = real
    assert report.rows == {
        "applicant_profile": 42535,
        "credit_bureau": 42535,
        "account_cashflow": 0,
        "repayment_history": 42535,
        "loans": 42535,
    }
    loans = rows_of(home, "loans")
    assert sum(row["defaulted"] for row in loans) == 5670 + 761
    assert max(row["outcome_observed_at"] for row in loans) < home.outcomes_now() == instant(2017, 12, 1)
    assert max(row["event_timestamp"] for row in loans) < home.now() == instant(2011, 12, 31)
    assert sum(row["event_timestamp"] >= report.oot_start for row in loans) == 12493


@pytest.mark.real_data
def test_real_values_lie_in_the_ranges_of_the_contract(real):
    home, _ = real
    for table, specs in table_specs(home).items():
        path = home.sources / table / "data.parquet"
        for spec in specs:
            if spec.low is not None:
                query = f"SELECT min({spec.name}), max({spec.name}) FROM '{path}'"
                low, high = duckdb.sql(query).fetchall()[0]
                assert low is None or spec.low <= low <= high <= spec.high, spec.name
            if spec.kind == "category":
                found = {value for (value,) in duckdb.sql(f"SELECT DISTINCT {spec.name} FROM '{path}'").fetchall()}
                assert found <= {None, *spec.categories}, spec.name


@pytest.mark.real_data
def test_coded_zeros_are_nulls_in_the_early_rows(real):
    home, _ = real
    months = [row["months_since_last_delinquency"] for row in rows_of(home, "credit_bureau")]
    assert months.count(0) == 1
    assert sum(value is None for value in months) == 26926 + 820
