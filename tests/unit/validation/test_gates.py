from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from feature_repo.errors import GateError, InputError
from feature_repo.home import Home, HomeState
from tests.unit.validation.samples import AS_OF, BUREAU_SPECS, LOAN_SPECS, LOANS, ROWS
from validation.gates import SourceTable, check_frame, check_sources, require_passed, run_gate
from validation.results import GateResult
from validation.suites import frame_suite, loans_suite, table_suite

BUREAU, LOANS_TABLE = SourceTable(BUREAU_SPECS), SourceTable(LOAN_SPECS)
BUREAU_SUITE = table_suite("credit_bureau", BUREAU_SPECS, as_of=AS_OF)
LOANS_SUITE = loans_suite(LOAN_SPECS, as_of=AS_OF)

# What spoils a table, and the column, expectation and number of rows that must be named for it.
SPOILED_BUREAU = {
    "null key": ("applicant_id", "NULL", "expect_column_values_to_not_be_null"),
    "empty key": ("applicant_id", "''", "expect_column_values_to_not_be_in_set"),
    "null event time": ("event_timestamp", "NULL", "expect_column_values_to_not_be_null"),
    "null created time": ("created_timestamp", "NULL", "expect_column_values_to_not_be_null"),
    "from the future": (
        "created_timestamp",
        "TIMESTAMPTZ '2099-01-01 00:00:00+00'",
        "expect_column_values_to_be_between",
    ),
    "known before it was true": (
        "created_timestamp",
        "event_timestamp - INTERVAL 1 MINUTE",
        "expect_column_pair_values_a_to_be_greater_than_b",
    ),
    "below the range": ("utilization", "-0.5", "expect_column_values_to_be_between"),
    "above the range": ("inquiries", "101", "expect_column_values_to_be_between"),
    "infinite": ("utilization", "'inf'::DOUBLE", "expect_column_values_to_be_between"),
    "infinite without a bound": ("never_filled", "'inf'::DOUBLE", "expect_column_values_to_be_between"),
    "new category": ("home", "'YURT'", "expect_column_values_to_be_in_set"),
}
RETYPED = {
    "utilization": ("coalesce(utilization::VARCHAR, 'n/a')", "string"),
    "inquiries": ("inquiries::INTEGER", "Int32"),
    "verified": ("verified::BIGINT", "Int64"),
    "home": ("1", "Int32"),
    "never_filled": ("NULL::BIGINT", "Int64"),
    "event_timestamp": ("event_timestamp::TIMESTAMP", "datetime64[us]"),
    "created_timestamp": ("created_timestamp::TIMESTAMP_NS", "datetime64[ns]"),
}
SPOILED_LOANS = {
    "free purchase": ("purchase_amount", "0", "expect_column_values_to_be_between"),
    "no term": ("term_months", "NULL", "expect_column_values_to_not_be_null"),
    "outcome before application": (
        "outcome_observed_at",
        "event_timestamp - INTERVAL 1 DAY",
        "expect_column_pair_values_a_to_be_greater_than_b",
    ),
    "outcome without an instant": ("outcome_observed_at", "NULL", "expect_column_values_to_not_be_null"),
    "outcome from the future": (
        "outcome_observed_at",
        "TIMESTAMPTZ '2027-01-01 00:00:00+00'",
        "expect_column_values_to_be_between",
    ),
}


def spoil(column: str, value: str, condition: str) -> str:
    return f"SELECT * REPLACE (CASE WHEN {condition} THEN {value} ELSE {column} END AS {column}) FROM source"


def test_a_sound_table_passes_with_every_expectation_checked(parquet, tmp_path):
    result = run_gate("credit_bureau", parquet(), BUREAU_SUITE, tmp_path)
    assert result == GateResult(name="credit_bureau", passed=True, rows=ROWS, checked=result.checked)
    # all but the one that asks an empty column to be half filled
    assert result.checked == len(BUREAU_SUITE.expectations) - 1
    require_passed([result])


@pytest.mark.parametrize("case", SPOILED_BUREAU)
def test_three_spoiled_rows_close_the_gate(case, parquet, tmp_path):
    column, value, expectation = SPOILED_BUREAU[case]
    path = parquet(spoil(column, value, "applicant_id IN ('APP_000003') AND event_timestamp < '2026-01-04'"))
    result = run_gate("credit_bureau", path, BUREAU_SUITE, tmp_path)
    (failure,) = result.failures
    assert (failure.column, failure.expectation, failure.unexpected, failure.of) == (column, expectation, 3, ROWS)
    with pytest.raises(GateError) as error:
        require_passed([result])
    message = str(error.value)
    assert "\n" not in message
    for part in ("credit_bureau", column, expectation, "3 of 400"):
        assert part in message


def test_a_row_given_twice_closes_the_gate(parquet, tmp_path):
    path = parquet("FROM source UNION ALL (FROM source LIMIT 2)")
    (failure,) = run_gate("credit_bureau", path, BUREAU_SUITE, tmp_path).failures
    assert failure.expectation == "expect_compound_columns_to_be_unique"
    assert failure.unexpected == 4


def test_columns_of_another_type_are_named_and_not_looked_at_further(parquet, tmp_path):
    retyped = ", ".join(f"{value} AS {column}" for column, (value, _) in RETYPED.items())
    path = parquet(f"SELECT * REPLACE ({retyped}) FROM source")
    failures = run_gate("credit_bureau", path, BUREAU_SUITE, tmp_path).failures
    assert {f.expectation for f in failures} == {"expect_column_type_to_be"}
    assert {f.column: f.observed for f in failures} == {column: found for column, (_, found) in RETYPED.items()}


def test_missing_columns_are_named(parquet, tmp_path):
    path = parquet("SELECT * EXCLUDE (utilization, created_timestamp) FROM source")
    result = run_gate("credit_bureau", path, BUREAU_SUITE, tmp_path)
    assert {f.column for f in result.failures} == {"utilization", "created_timestamp"}
    assert {f.expectation for f in result.failures} == {"expect_column_to_exist"}


def test_softer_findings_warn_and_let_pass(parquet, tmp_path):
    query = """SELECT * REPLACE (
        CASE WHEN applicant_id > 'APP_000010' THEN NULL ELSE utilization END AS utilization,
        CASE WHEN applicant_id = 'APP_000003' THEN TIMESTAMPTZ '1970-01-01 00:00:00+00' + INTERVAL 1 HOUR
            * extract(day FROM event_timestamp) ELSE event_timestamp END AS event_timestamp) FROM source"""
    result = run_gate("credit_bureau", parquet(query), BUREAU_SUITE, tmp_path)
    assert result.passed
    assert {(f.column, f.level) for f in result.warnings} == {
        ("utilization", "warning"),
        ("event_timestamp", "warning"),
    }
    require_passed([result])


def test_an_empty_table_passes_only_where_that_is_said_to_be_in_order(parquet, tmp_path):
    path = parquet("FROM source WHERE false")
    closed = run_gate("credit_bureau", path, BUREAU_SUITE, tmp_path)
    assert not closed.passed
    assert closed.failures[0].expectation == "expect_table_row_count_to_be_between"
    allowed = table_suite("credit_bureau", BUREAU_SPECS, as_of=AS_OF, allow_empty=True)
    passed = run_gate("credit_bureau", path, allowed, tmp_path)
    assert passed.passed
    assert passed.note == "empty, nothing to check"


@pytest.mark.parametrize("damage", ["half", "no footer", "nothing", "no parquet", "inside"])
def test_a_damaged_file_is_a_failure_and_no_stack_trace(damage, parquet, tmp_path):
    path = parquet()
    whole = path.read_bytes()
    middle = len(whole) // 3
    path.write_bytes(
        {
            "half": whole[: len(whole) // 2],
            "no footer": whole[:-4],
            "nothing": b"",
            "no parquet": b"applicant_id,utilization\nAPP_000001,0.3\n" * 20,
            "inside": whole[:40] + bytes(byte ^ 0x5A for byte in whole[40:middle]) + whole[middle:],
        }[damage]
    )
    result = run_gate("credit_bureau", path, BUREAU_SUITE, tmp_path)
    assert not result.passed
    with pytest.raises(GateError, match="credit_bureau"):
        require_passed([result])
    assert "credit_bureau" in (tmp_path / "data-docs" / "index.html").read_text()


def test_a_table_without_a_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="credit_bureau"):
        run_gate("credit_bureau", tmp_path / "absent" / "**" / "*.parquet", BUREAU_SUITE, tmp_path)


def test_files_that_disagree_on_a_type_fail_without_quoting_a_value(parquet, tmp_path):
    parquet("SELECT * REPLACE (7::DOUBLE AS never_filled) FROM source", name="both/a.parquet")
    parquet("SELECT * REPLACE ('secret-4711' AS never_filled) FROM source", name="both/b.parquet")
    result = run_gate("credit_bureau", tmp_path / "both" / "*.parquet", BUREAU_SUITE, tmp_path)
    assert not result.passed
    assert "secret" not in str(result)


def test_no_value_of_the_data_leaves_the_gate(parquet, tmp_path):
    query = """SELECT * REPLACE ('YURT' AS home, -987654.25 AS utilization, 76543 AS inquiries,
        TIMESTAMPTZ '2093-07-08 09:10:11+00' AS created_timestamp) FROM source UNION ALL (FROM source LIMIT 3)"""
    result = run_gate("credit_bureau", parquet(query), BUREAU_SUITE, tmp_path)
    assert len(result.failures) == 4
    written = [path.read_text() for path in (tmp_path / "data-docs").iterdir()]
    for text in [*written, str(result), msgspec.json.encode(result).decode()]:
        for value in ("YURT", "987654", "76543", "2093", "APP_"):
            assert value not in text


def test_data_docs_show_the_expectations_and_need_no_network(parquet, tmp_path):
    run_gate("credit_bureau", parquet(spoil("utilization", "9", "utilization = 0.1")), BUREAU_SUITE, tmp_path)
    run_gate("loans", parquet(source=LOANS), LOANS_SUITE, tmp_path)
    docs = tmp_path / "data-docs"
    page, index = (docs / "credit_bureau.html").read_text(), (docs / "index.html").read_text()
    assert "must always be greater than or equal to those in" in page
    assert "must be between 0 and 5 (ratio)" in page
    assert re.findall(r'href="([^#][^"]*)"', page) == ["index.html"]
    assert re.findall(r'href="([^"]*)"', index) == ["credit_bureau.html", "loans.html"]
    for text in (page, index):
        assert not re.search(r"https?:|//cdn|<script|<link|src=|@import|url\(", text)
        assert str(Path.cwd()) not in text
    kept = msgspec.json.decode((docs / "credit_bureau.json").read_bytes(), type=GateResult)
    assert kept.failures[0].column == "utilization"


def test_a_sound_loans_table_passes(parquet, tmp_path):
    result = run_gate("loans", parquet(source=LOANS), LOANS_SUITE, tmp_path)
    assert result.passed
    assert not result.warnings


@pytest.mark.parametrize("case", SPOILED_LOANS)
def test_three_spoiled_loans_close_the_gate(case, parquet, tmp_path):
    column, value, expectation = SPOILED_LOANS[case]
    path = parquet(spoil(column, value, "loan_id IN ('L1', 'L2', 'L4')"), source=LOANS)
    (failure,) = run_gate("loans", path, LOANS_SUITE, tmp_path).failures
    assert (failure.column, failure.expectation, failure.unexpected) == (column, expectation, 3)


def test_a_loan_given_twice_closes_the_gate_and_one_corrected_later_does_not(parquet, tmp_path):
    twice = parquet("FROM source UNION ALL (FROM source LIMIT 1)", source=LOANS)
    (failure,) = run_gate("loans", twice, LOANS_SUITE, tmp_path).failures
    assert (failure.column, failure.unexpected) == ("loan_id+created_timestamp", 2)
    later = "SELECT * REPLACE (created_timestamp + INTERVAL 1 DAY AS created_timestamp) FROM source LIMIT 1"
    corrected = parquet(f"FROM source UNION ALL ({later})", source=LOANS)
    assert run_gate("loans", corrected, LOANS_SUITE, tmp_path).passed


def test_a_loan_needs_a_positive_amount_and_term_whatever_the_contract_says(parquet, tmp_path):
    path = parquet("SELECT * REPLACE (-1.0::DOUBLE AS purchase_amount, 0 AS term_months) FROM source", source=LOANS)
    failures = run_gate("loans", path, loans_suite((), as_of=AS_OF), tmp_path).failures
    assert {"purchase_amount", "term_months"} <= {failure.column for failure in failures}


def test_an_instant_without_an_outcome_closes_the_gate(parquet, tmp_path):
    path = parquet(spoil("defaulted", "NULL", "loan_id = 'L1'"), source=LOANS)
    (failure,) = run_gate("loans", path, LOANS_SUITE, tmp_path).failures
    assert str(failure) == (
        "loans.outcome_observed_at must be null where 'defaulted' is null: 1 of 135 rows break this "
        "(expect_column_values_to_be_null)"
    )


def test_sources_are_measured_on_the_clock_of_the_home(parquet, tmp_path):
    home = Home(root=tmp_path)
    home.save_state(HomeState(as_of=AS_OF, outcomes_as_of=datetime(2026, 9, 30, tzinfo=UTC)))
    parquet(name="sources/credit_bureau/part.parquet")
    parquet(source=LOANS, name="sources/loans/part.parquet")
    parquet("FROM source WHERE false", name="sources/repayment_history/part.parquet")
    empty = SourceTable(BUREAU_SPECS, allow_empty=True)
    results = check_sources(home, {"credit_bureau": BUREAU, "loans": LOANS_TABLE, "repayment_history": empty})
    assert [(r.name, r.passed, r.rows) for r in results] == [
        ("credit_bureau", True, ROWS),
        ("loans", True, ROWS),
        ("repayment_history", True, 0),
    ]
    home.save_state(HomeState(as_of=datetime(2026, 1, 4, tzinfo=UTC)))
    earlier = check_sources(home, {"credit_bureau": BUREAU})
    assert [f.column for f in earlier[0].failures] == ["created_timestamp"]


def test_an_event_pushed_twice_counts_once_and_a_correction_or_a_loan_given_twice_closes_the_gate(parquet, tmp_path):
    home = Home(root=tmp_path)
    home.save_state(HomeState(as_of=AS_OF, outcomes_as_of=datetime(2026, 9, 30, tzinfo=UTC)))
    parquet(name="sources/credit_bureau/part.parquet")
    parquet("FROM source LIMIT 3", name="sources/credit_bureau/appended.parquet")
    parquet(source=LOANS, name="sources/loans/part.parquet")
    parquet("FROM source LIMIT 3", source=LOANS, name="sources/loans/appended.parquet")
    bureau, loans = check_sources(home, {"credit_bureau": BUREAU, "loans": LOANS_TABLE})
    assert (bureau.passed, bureau.rows) == (True, ROWS)
    assert [(f.expectation, f.unexpected) for f in loans.failures] == [("expect_compound_columns_to_be_unique", 6)]
    parquet(
        "SELECT * REPLACE (4.9::DOUBLE AS utilization) FROM source LIMIT 3",
        name="sources/credit_bureau/appended.parquet",
    )
    (bureau,) = check_sources(home, {"credit_bureau": BUREAU})
    assert [f.unexpected for f in bureau.failures] == [6]


def test_a_clock_set_back_does_not_condemn_rows_that_came_later(parquet, tmp_path):
    home = Home(root=tmp_path, as_of_override=datetime(2026, 1, 4, tzinfo=UTC))
    home.save_state(HomeState(as_of=AS_OF))
    parquet(name="sources/credit_bureau/part.parquet")
    require_passed(check_sources(home, {"credit_bureau": BUREAU}))


def training_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "loan_id": [f"L{i}" for i in range(60)],
            "applicant_id": [f"APP_{i % 40}" for i in range(60)],
            "event_timestamp": pd.date_range("2026-01-01", periods=60, freq="h", tz="UTC"),
            "utilization": [0.5, None, 1.5] * 20,
            "inquiries": [1.0, None, 3.0] * 20,
            "verified": [True, None, False] * 20,
            "home": ["OWN", None, "RENT"] * 20,
            "never_filled": [None] * 60,
            "defaulted": [0, 1] * 30,
        }
    )


FRAME_SUITE = frame_suite(BUREAU_SPECS)


def test_a_training_frame_passes_with_the_types_that_pandas_gives_it(tmp_path):
    assert check_frame(Home(root=tmp_path), training_frame(), BUREAU_SPECS).passed
    assert (tmp_path / "reports" / "data-docs" / "training_frame.html").exists()
    typed = training_frame().astype(
        {"inquiries": "Int64", "verified": "boolean", "home": "string", "defaulted": "bool"}
    )
    assert run_gate("training_frame", typed, FRAME_SUITE, tmp_path).passed


@pytest.mark.parametrize(
    ("column", "value", "expectation"),
    [
        ("utilization", 7.0, "expect_column_values_to_be_between"),
        ("utilization", float("inf"), "expect_column_values_to_be_between"),
        ("utilization", "seven", "expect_column_values_to_be_in_type_list"),
        ("inquiries", -1.0, "expect_column_values_to_be_between"),
        ("home", "YURT", "expect_column_values_to_be_in_set"),
        ("verified", "yes", "expect_column_values_to_be_in_type_list"),
        ("defaulted", 2, "expect_column_values_to_be_in_set"),
        ("defaulted", None, "expect_column_values_to_not_be_null"),
        ("loan_id", None, "expect_column_values_to_not_be_null"),
    ],
)
def test_one_spoiled_value_of_a_training_frame_is_caught(column, value, expectation, tmp_path):
    frame = training_frame()
    frame[column] = frame[column].astype(object)
    frame.loc[4, column] = value
    if column in ("utilization", "inquiries") and not isinstance(value, str):
        frame[column] = frame[column].astype(float)
    (failure,) = run_gate("training_frame", frame, FRAME_SUITE, tmp_path).failures
    assert (failure.column, failure.expectation) == (column, expectation)


def test_a_join_that_multiplies_rows_is_caught(tmp_path):
    frame = pd.concat([training_frame(), training_frame().head(1)])
    (failure,) = run_gate("training_frame", frame, FRAME_SUITE, tmp_path).failures
    assert failure.expectation == "expect_compound_columns_to_be_unique"
