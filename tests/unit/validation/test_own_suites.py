"""Suites written by hand: plain Great Expectations in a home, merged into what the contract asks."""

from __future__ import annotations

import duckdb
import great_expectations as gx
import great_expectations.expectations as gxe
import msgspec
import pytest
from great_expectations.expectations.row_conditions import Column

from feature_repo.errors import InputError
from tests.unit.validation.samples import BUREAU, BUREAU_SPECS, LOAN_SPECS
from tests.unit.validation.test_gates import training_frame
from validation.gates import SourceTable, check_events, check_frame, check_sources
from validation.guard import Guard
from validation.own_suites import guard_suite

TABLES = {"credit_bureau": SourceTable(BUREAU_SPECS)}


@pytest.fixture
def suite(home):
    def write(*expectations, gate="credit_bureau"):
        path = home.root / "suites" / f"{gate}.json"
        path.parent.mkdir(exist_ok=True)
        suite = gx.ExpectationSuite(name="own", expectations=list(expectations))
        path.write_bytes(msgspec.json.encode(suite.to_json_dict()))
        return path

    return write


@pytest.fixture
def gate(home, parquet):
    parquet(name="sources/credit_bureau/data.parquet")

    def run(**options):
        (result,) = check_sources(home, TABLES, **options)
        return result

    return run


def test_what_great_expectations_writes_is_asked_beside_the_contract(suite, gate):
    asked = gate(compare=False).checked
    suite(
        gxe.ExpectColumnValuesToBeBetween(column="utilization", max_value=4.85, meta={"rule": "must be below 4.85"}),
        gxe.ExpectColumnMeanToBeBetween(column="inquiries", min_value=9, severity="warning"),
        gxe.ExpectColumnValuesToNotBeNull(column="utilization", row_condition=Column("inquiries") > 3, mostly=0.5),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="utilization", column_B="inquiries", severity="info"),
    )
    result = gate(compare=False)
    assert result.checked == asked + 4
    assert [(one.column, one.rule) for one in result.failures] == [("utilization", "must be below 4.85")]
    mean, pair = sorted(result.warnings, key=lambda one: one.column)
    with duckdb.connect() as connection:
        ((expected,),) = connection.execute(f"SELECT avg(inquiries) FROM ({BUREAU})").fetchall()
    assert mean.rule == "must meet expect_column_mean_to_be_between (min_value 9.0)"
    assert float(mean.observed) == pytest.approx(expected, rel=1e-12)
    assert pair.expectation == "expect_column_pair_values_a_to_be_greater_than_b"


def test_rows_that_do_not_meet_it_are_set_aside_like_others(suite, gate):
    suite(gxe.ExpectColumnValuesToNotMatchRegex(column="applicant_id", regex="00001[78]$", mostly=1.0))
    assert gate().failures[0].unexpected == 8
    suite(gxe.ExpectColumnValuesToNotMatchRegex(column="applicant_id", regex="000017$"))
    assert gate(quarantine=True).quarantined == 4


def test_a_share_of_rows_or_an_aggregate_is_never_mended_by_setting_rows_aside(suite, gate):
    suite(gxe.ExpectColumnValuesToNotMatchRegex(column="applicant_id", regex="000017$", mostly=0.999))
    assert not gate(quarantine=True).passed
    suite(gxe.ExpectColumnMaxToBeBetween(column="utilization", max_value=1))
    result = gate(quarantine=True)
    assert not result.passed
    assert result.failures[0].observed == ""  # it is the value of one row


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is no Great Expectations suite"),
        (b'{"name": "x", "expectations": [{"kwargs": {}}]}', "is no Great Expectations suite"),
        (b'{"name": "x", "expectations": [{"type": "expect_the_best", "kwargs": {}}]}', r"1 \(expect_the_best\)"),
        (
            b'{"name": "x", "expectations": [{"type": "expect_column_max_to_be_between", "kwargs": {"min_value": 1}}]}',
            r"expectation 1 \(expect_column_max_to_be_between\): .*column",
        ),
        (
            b'{"name": "x", "expectations": [{"type": "expect_column_mean_to_be_between", "kwargs": {"column": "y"}}]}',
            "there is no column y",
        ),
    ],
)
def test_what_is_no_suite_is_refused_by_file_number_and_kind(text, message, home, gate):
    path = home.root / "suites" / "credit_bureau.json"
    path.parent.mkdir()
    path.write_bytes(text)
    with pytest.raises(InputError, match=message) as error:
        gate()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_suite_for_a_gate_that_there_is_not_is_refused(suite, gate):
    suite(gate="credit_bureu")
    with pytest.raises(
        InputError, match=r"credit_bureu.json: there is no gate 'credit_bureu' .*credit_bureau.*request"
    ):
        gate()


def test_events_and_training_frames_are_asked_too(home, suite):
    suite(
        gxe.ExpectColumnValuesToBeBetween(column="utilization", max_value=4.5),
        gxe.ExpectColumnMeanToBeBetween(column="inquiries", min_value=1000),
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        events = connection.execute(f"FROM ({BUREAU}) LIMIT 50").to_arrow_table()
    result = check_events(home, "credit_bureau", events, BUREAU_SPECS)
    assert [one.column for one in result.failures] == ["utilization"]  # no mean of a few events
    suite(gxe.ExpectColumnMeanToBeBetween(column="defaulted", max_value=0.1), gate="training_frame")
    assert [one.column for one in check_frame(home, training_frame(), BUREAU_SPECS).failures] == ["defaulted"]


def test_the_guard_of_requests_takes_a_suite_of_ones_own(home, suite):
    suite(
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="utilization", column_B="purchase_amount", severity="warning", meta={"rule": "should be larger"}
        ),
        gate="request",
    )
    guard = Guard.of_json(guard_suite(home, [*BUREAU_SPECS, *LOAN_SPECS]))
    (violation,) = guard.check({"utilization": 1.0, "purchase_amount": 9.0})
    assert (violation.message, violation.level) == ("utilization should be larger", "warning")
    assert [one.rule for one in guard.check({"utilization": 9.0, "purchase_amount": 1.0})] == ["range"]


@pytest.mark.parametrize(
    "expectation",
    [
        gxe.ExpectColumnMeanToBeBetween(column="utilization", min_value=0),
        gxe.ExpectColumnValuesToBeBetween(column="utilization", min_value=0, mostly=0.99),
        gxe.ExpectColumnValuesToBeNull(column="utilization", row_condition=Column("inquiries").is_null()),
    ],
)
def test_a_guard_that_could_not_say_it_of_one_request_is_not_made(expectation, home, suite):
    path = suite(expectation, gate="request")
    with pytest.raises(InputError, match="expectation 1") as error:
        guard_suite(home, BUREAU_SPECS)
    assert str(path) in str(error.value)


def test_without_a_suite_of_ones_own_the_guard_is_that_of_the_contract(home):
    assert Guard.of_json(guard_suite(home, BUREAU_SPECS)).source == Guard(BUREAU_SPECS).source
