"""What is asked of a source table beyond its own rows: freshness, other tables, columns, copies, and what is kept."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from tests.unit.validation.samples import AS_OF, BUREAU_SPECS, LOAN_SPECS, LOANS, ROWS
from validation.gates import SourceTable, check_frame, check_sources
from validation.runs import KEPT, Run, history, new_run, record, report_path

DAY = timedelta(days=1)
FILE, LOANS_FILE = "sources/credit_bureau/data.parquet", "sources/loans/data.parquet"
NEWEST = 177 * DAY  # before the clock; the sample's last event is of 2026-01-04


def bureau(**promises):
    return {"credit_bureau": SourceTable(BUREAU_SPECS, **promises)}


def loans(*tables):
    return {"loans": SourceTable(LOAN_SPECS, refers_to=tables)}


@pytest.mark.parametrize(("ttl", "passed"), [(NEWEST, True), (NEWEST - timedelta(microseconds=1), False), (None, True)])
def test_a_table_whose_newest_row_is_past_its_time_to_live_is_stopped(ttl, passed, home, parquet):
    parquet(name=FILE)
    (result,) = check_sources(home, bureau(ttl=ttl))
    assert result.passed == passed
    if not passed:
        (failure,) = result.failures
        assert failure.column == "event_timestamp"
        assert failure.rule.startswith(
            "must have a row within its view's time to live, so from 2026-01-04T00:00:00Z on"
        )
        assert failure.observed.startswith("2026-01-04 00:00:00")


def test_an_empty_table_that_may_be_empty_is_not_stale(home, parquet):
    parquet("FROM source WHERE false", name=FILE)
    (result,) = check_sources(home, bureau(ttl=DAY, allow_empty=True))
    assert result.passed


def test_a_column_that_the_contract_does_not_know_is_named_and_lets_pass(home, parquet):
    parquet('SELECT *, \'x\' AS surprise, 1 AS "and ""more" FROM source', name=FILE)
    (result,) = check_sources(home, bureau())
    assert result.passed
    (warning,) = result.warnings
    assert warning.observed == 'and "more, surprise'
    assert warning.rule == "should have no column that the contract does not know"


def test_a_column_too_few_is_no_column_too_many(home, parquet):
    parquet("SELECT * EXCLUDE (home) FROM source", name=FILE)
    (result,) = check_sources(home, bureau())
    assert [(one.column, one.expectation) for one in result.failures] == [("home", "expect_column_to_exist")]
    assert result.warnings == ()


def test_rows_delivered_twice_are_counted_once_and_told(home, parquet):
    parquet("FROM source UNION ALL (FROM source LIMIT 7)", name=FILE)
    (result,) = check_sources(home, bureau())
    assert (result.passed, result.rows) == (True, ROWS)
    (warning,) = result.warnings
    assert (warning.column, warning.unexpected) == ("copies of the row", 7)


STRANGERS = "SELECT * REPLACE (CASE WHEN rowid < {} THEN 'X' || applicant_id ELSE applicant_id END AS applicant_id)"
STRANGERS += " FROM (SELECT *, row_number() OVER () - 1 AS rowid FROM source)"
STRANGERS = f"SELECT * EXCLUDE (rowid) FROM ({STRANGERS})"
PEOPLE = """SELECT 'APP_' || i AS applicant_id, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS event_timestamp,
    TIMESTAMPTZ '2026-01-01 00:00:00+00' AS created_timestamp FROM range(400) AS t(i)"""


@pytest.mark.parametrize(
    ("strangers", "failures", "warnings"), [(0, 0, 0), (40, 0, 0), (41, 0, 1), (200, 0, 1), (201, 1, 0)]
)
def test_loans_of_applicants_whom_no_table_knows_are_counted(strangers, failures, warnings, home, parquet):
    parquet(STRANGERS.format(strangers), source=LOANS, name=LOANS_FILE)
    parquet(source=PEOPLE, name="sources/applicant_profile/data.parquet")
    (result,) = check_sources(home, loans("applicant_profile", "credit_bureau"))
    assert (len(result.failures), len(result.warnings)) == (failures, warnings)
    for one in (*result.failures, *result.warnings):
        assert (one.column, one.unexpected, one.of) == ("applicant known elsewhere", strangers, ROWS)


def test_an_applicant_in_any_of_the_tables_is_known(home, parquet):
    parquet(source=LOANS, name=LOANS_FILE)
    for number, table in enumerate(("applicant_profile", "credit_bureau")):
        half = f"FROM source WHERE substr(applicant_id, 5)::INT % 2 = {number}"
        parquet(half, source=PEOPLE, name=f"sources/{table}/data.parquet")
    (result,) = check_sources(home, loans("applicant_profile", "credit_bureau"))
    assert result.warnings == ()


@pytest.mark.parametrize("other", ["empty", "unreadable", "absent", "keyless"])
def test_a_table_that_knows_nobody_is_not_asked(other, home, parquet):
    parquet(STRANGERS.format(400), source=LOANS, name=LOANS_FILE)
    name = "sources/credit_bureau/data.parquet"
    if other == "unreadable":
        parquet(name=name).write_bytes(b"PAR1")
    elif other != "absent":
        parquet("FROM source WHERE false" if other == "empty" else "SELECT 1 AS one", name=name)
    (result,) = check_sources(home, loans("credit_bureau"))
    assert (result.passed, result.warnings) == (True, ())


def test_few_loans_are_not_asked_for_acquaintance(home, parquet):
    parquet(f"{STRANGERS.format(400)} LIMIT 49", source=LOANS, name=LOANS_FILE)
    parquet(source=PEOPLE, name="sources/applicant_profile/data.parquet")
    (result,) = check_sources(home, loans("applicant_profile"))
    assert (result.passed, result.warnings) == (True, ())


def test_every_run_is_kept_and_listed_the_newest_first(home, parquet):
    parquet(name=FILE)
    check_sources(home, bureau())
    parquet("SELECT * REPLACE (-1.0::DOUBLE AS utilization) FROM source", name=FILE)
    check_sources(home, bureau())
    failed, passed = history(home.reports)
    assert failed.at > passed.at
    assert (failed.results[0].passed, passed.results[0].passed) == (False, True)
    index = report_path(home).read_text()
    assert index.index(f"{failed.at:%Y-%m-%d %H:%M:%S}") <= index.index(f"{passed.at:%Y-%m-%d %H:%M:%S}")
    assert index.count("credit_bureau.utilization must be between") == 2  # the latest of the gate, and the run


def test_old_runs_go_and_a_damaged_record_hides_no_other(home):
    run, at = new_run()
    record(home.reports, Run(run=run, at=at, results=()))
    (first,) = (home.reports / "validation-runs").glob("*.json")
    for number in range(KEPT + 2):
        first.with_name(f"{run}{number:05}.json").write_bytes(first.read_bytes().replace(b'Z"', b'Z%05d"' % number, 1))
    record(home.reports, Run(run=f"{run}{KEPT + 2:05}", at=at, results=()))
    kept = sorted((home.reports / "validation-runs").glob("*.json"))
    assert first not in kept
    assert len(kept) == KEPT
    kept[-1].write_bytes(b"{")
    assert [run.run for run in history(home.reports, 3)] == [path.stem for path in kept[-2:-4:-1]]


def test_the_page_of_a_gate_can_be_linked_to(home, parquet):
    parquet(name=FILE)
    check_sources(home, bureau())
    assert report_path(home, "credit_bureau").exists()
    assert not report_path(home, "training_frame").exists()


def test_a_result_says_all_of_itself_as_json(home, parquet):
    parquet(name=FILE)
    (result,) = check_sources(home, bureau(ttl=DAY))
    kept = msgspec.json.decode((home.reports / "data-docs" / "credit_bureau.json").read_bytes(), type=type(result))
    assert kept == result
    assert home.now() == AS_OF


def test_the_gate_of_a_frame_is_a_run_too(home):
    from tests.unit.validation.test_gates import training_frame

    check_frame(home, training_frame(), BUREAU_SPECS)
    (run,) = history(home.reports)
    assert [one.name for one in run.results] == ["training_frame"]
    assert report_path(home, "training_frame").exists()
