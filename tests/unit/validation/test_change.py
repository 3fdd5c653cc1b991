"""A table against its last good run: what is the same table grown, and what is another one."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import msgspec
import pytest

from feature_repo.errors import GateError, InputError
from tests.unit.validation.samples import spec
from validation import last_good
from validation.gates import SourceTable, check_events, check_sources, require_passed
from validation.source_gate import FIRST_RUN
from validation.thresholds import thresholds

ORIGIN = "a lender"
SPECS = (
    spec("income", "number", low=0, high=1e9),
    spec("debts", "number", low=0, high=1e9),
    spec("lines", "count", low=0, high=200),
    spec("verified", "flag"),
    spec("home", "category", categories=("OWN", "RENT")),
    spec("empty", "number"),
    spec("spent", "number", low=0),
    spec("adult", "flag"),
)
TABLE = {"credit_bureau": SourceTable(SPECS)}
# 70 rows on each of 100 days, the last of them 2026-04-10.
DAYS = """
    SELECT 'APP_' || i AS applicant_id,
           TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL 1 DAY * (i // 70) AS event_timestamp,
           TIMESTAMPTZ '2026-01-01 12:00:00+00' + INTERVAL 1 DAY * (i // 70) AS created_timestamp,
           (20000 + (i * 7919) % 60000)::DOUBLE AS income,
           CASE WHEN i % 10 = 0 THEN NULL ELSE (100 + (i * 104729) % 4000) END::DOUBLE AS debts,
           (i % 23)::BIGINT AS lines, i % 3 = 0 AS verified, ['OWN', 'RENT'][1 + i % 2] AS home, NULL::DOUBLE AS empty,
           (12000 + (i * 7919) % 36000)::DOUBLE AS spent, i % 100 <> 5 AS adult
    FROM range({rows}) AS t(i)
"""
WHOLE, DAY = 7000, 70
FILE = "sources/credit_bureau/data.parquet"


@pytest.fixture
def fill(parquet):
    def write(query: str = "FROM source", rows: int = WHOLE) -> None:
        parquet(query, source=DAYS.format(rows=rows), name=FILE)

    return write


@pytest.fixture
def good(home, fill):
    """Give the home a last good run of so many rows; the gate itself is run for the first of them only."""

    def make(rows: int = WHOLE) -> None:
        if rows not in PROFILES:
            fill(rows=rows)
            assert gate(home).passed
            PROFILES[rows] = last_good.read(home, "credit_bureau", ORIGIN)
        last_good.write(home, "credit_bureau", PROFILES[rows])

    return make


PROFILES = {}


def gate(home, **options):
    (result,) = check_sources(home, TABLE, origin=ORIGIN, **options)
    return result


def found(result):
    """Column, kind in short and level of each finding."""
    return {(one.column, one.expectation.split("_")[2], one.level) for one in (*result.failures, *result.warnings)}


def test_a_first_run_has_nothing_to_compare_with_and_says_so(home, fill):
    fill()
    first = gate(home)
    assert (first.passed, first.note) == (True, FIRST_RUN)
    again = gate(home)
    assert again.passed
    assert again.note == ""
    assert again.warnings == ()
    assert again.checked > first.checked


def test_the_profile_of_a_good_run_says_what_the_table_was(home, fill):
    fill()
    gate(home)
    profile = last_good.read(home, "credit_bureau", ORIGIN)
    assert profile is not None
    assert profile.rows == WHOLE
    assert profile.until == datetime(2026, 4, 10, 12, tzinfo=UTC)
    # eight weeks before the last day, which may not be over
    assert list(profile.days) == sorted(profile.days)
    assert (min(profile.days), max(profile.days)) == ("2026-02-13", "2026-04-09")
    assert set(profile.days.values()) == {DAY}
    assert profile.columns["debts"].nulls == pytest.approx(0.1)
    assert profile.columns["empty"].nulls == 1
    assert profile.columns["empty"].common == 1
    assert profile.columns["adult"].common == pytest.approx(0.99)
    with duckdb.connect() as connection:
        expected = connection.execute(
            f"SELECT quantile_cont(income, [0.05, 0.25, 0.5, 0.75, 0.95]) FROM ({DAYS.format(rows=WHOLE)})"
        ).fetchone()
    assert expected is not None
    assert profile.columns["income"].quantiles == pytest.approx(tuple(expected[0]))
    assert profile.columns["home"].quantiles == ()
    assert profile.files == last_good.files_of(home, "credit_bureau")


def test_a_table_that_only_grew_passes_without_a_warning(home, fill, good):
    good(WHOLE - 10 * DAY)
    fill()
    result = gate(home)
    assert result.passed
    assert result.warnings == ()


REPLACED = "SELECT * REPLACE ({} AS {}) FROM source"
RANGES = {
    "cents for euros": (REPLACED.format("income * 100", "income"), {("income", "quantile", "critical")}),
    "a decimal shifted to the left": (REPLACED.format("income / 10", "income"), {("income", "quantile", "critical")}),
    "two columns swapped": (
        "SELECT * REPLACE (income AS debts, debts AS income) FROM source",
        {
            ("income", "quantile", "critical"),
            ("debts", "quantile", "critical"),
            ("income", "values", "warning"),
            ("income as debts", "pair", "critical"),
        },
    ),
    "two columns swapped that are not so different": (
        "SELECT * REPLACE (income AS spent, spent AS income) FROM source",
        {
            ("income as spent", "pair", "critical"),
            ("income", "quantile", "warning"),
            ("spent", "quantile", "warning"),
        },
    ),
    "twice as much": (REPLACED.format("income * 2", "income"), {("income", "quantile", "warning")}),
    "a column of nulls": (
        REPLACED.format("NULL::DOUBLE", "income"),
        {("income", "values", "critical")},
    ),
    "a third of a column null": (
        REPLACED.format("CASE WHEN lines % 5 = 0 THEN NULL ELSE income END", "income"),
        {("income", "values", "warning")},
    ),
    "a constant flag": (REPLACED.format("true", "verified"), {("verified", "unique", "critical")}),
    "a constant number": (
        REPLACED.format("30000.0::DOUBLE", "income"),
        {("income", "unique", "critical"), ("income", "quantile", "warning")},
    ),
}


@pytest.mark.parametrize("case", RANGES)
def test_values_that_are_no_longer_like_the_last_good_runs_are_found(case, home, fill, good):
    query, expected = RANGES[case]
    good()
    fill(query)
    result = gate(home)
    assert found(result) == expected
    assert result.passed == all(level == "warning" for *_, level in expected)
    assert all(one.since_last_run for one in (*result.failures, *result.warnings))


@pytest.mark.parametrize("case", ["cents for euros", "two columns swapped", "a column of nulls", "a constant flag"])
def test_a_few_bad_days_among_many_good_ones_are_found_too(case, home, fill, good):
    query, expected = RANGES[case]
    good(WHOLE - 4 * DAY)
    new = "created_timestamp > TIMESTAMPTZ '2026-04-06 13:00:00+00'"
    fill(f"FROM ({query}) WHERE {new} UNION ALL BY NAME (FROM source WHERE NOT ({new}))")
    result = gate(home)
    assert {(column, kind) for column, kind, level in found(result) if level == "critical"} == {
        (column, kind) for column, kind, level in expected if level == "critical"
    }
    assert all("in rows since the last good run" in one.rule for one in result.failures)


def test_half_of_the_rows_gone_stops_the_table_and_a_tenth_warns(home, fill, good):
    good()
    long_ago = "created_timestamp < TIMESTAMPTZ '2026-02-10 00:00:00+00'"
    fill(f"FROM source WHERE NOT ({long_ago} AND lines % 10 IN (3, 4))")
    result = gate(home)
    assert found(result) == {("", "row", "warning")}
    fill(f"FROM source WHERE {long_ago}")
    result = gate(home)
    assert ("", "row", "critical") in found(result)


def test_a_day_that_lost_half_of_its_rows_or_has_them_twice_is_found(home, fill, good):
    good()
    on = "created_timestamp::DATE = DATE '2026-04-02'"
    fill(f"FROM source WHERE NOT ({on} AND lines % 2 = 0)")
    (failure,) = gate(home).failures
    assert (failure.column, failure.unexpected) == ("rows of a day", 1)
    again = "SELECT * REPLACE (applicant_id || 'X' AS applicant_id) FROM source"
    fill(f"FROM source UNION ALL ({again} WHERE {on})")
    (failure,) = gate(home).failures
    assert (failure.column, failure.unexpected) == ("most rows of the day", 1)


def test_a_flag_that_is_nearly_always_set_may_be_set_in_all_new_rows(home, fill, good):
    good(WHOLE - 4 * DAY)
    fill(REPLACED.format("adult OR created_timestamp > TIMESTAMPTZ '2026-04-06 13:00:00+00'", "adult"))
    assert gate(home).warnings == gate(home).failures == ()
    good()
    fill(REPLACED.format("true", "adult"))
    assert found(gate(home)) == {("adult", "unique", "critical")}


def test_a_table_of_another_origin_is_not_compared(home, fill, good):
    good()
    fill(REPLACED.format("income * 100", "income"), rows=700)
    (other,) = check_sources(home, TABLE, origin="another lender")
    assert (other.passed, other.note) == (True, FIRST_RUN)
    assert not gate(home).passed


def test_few_rows_are_compared_with_nothing_but_their_number(home, fill):
    fill(rows=199)
    gate(home)
    fill(REPLACED.format("income * 100", "income"), rows=199)
    assert gate(home).warnings == ()


def test_a_change_that_is_meant_is_accepted_once_and_for_all(home, fill, good):
    good()
    fill(REPLACED.format("income * 100", "income"))
    with pytest.raises(GateError, match="if a change is meant: candor validate --accept$"):
        require_passed([gate(home)])
    assert gate(home, compare=False).passed
    assert gate(home).passed


def test_a_run_that_failed_is_no_measure(home, fill, good):
    good()
    before = last_good.read(home, "credit_bureau", ORIGIN)
    fill(REPLACED.format("-1.0::DOUBLE", "income"))
    assert not gate(home).passed
    assert last_good.read(home, "credit_bureau", ORIGIN) == before


def test_a_feature_that_the_last_run_did_not_know_is_no_change(home, fill):
    fill()
    (narrow,) = check_sources(home, {"credit_bureau": SourceTable(SPECS[1:])}, origin=ORIGIN)
    assert narrow.passed
    assert gate(home).passed


def test_a_profile_that_is_damaged_is_named(home, fill, good):
    fill()
    good()
    path = home.reports / "last-good" / "a-lender" / "credit_bureau.json"
    path.write_bytes(b"{")
    with pytest.raises(InputError, match=r"last-good/a-lender/credit_bureau.json is damaged .* delete it"):
        gate(home)


def events(query):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"WITH source AS ({DAYS.format(rows=300)}) {query}").to_arrow_table()


def test_many_events_at_once_are_held_against_the_last_good_run_and_few_are_not(home, fill, good):
    good()

    def pushed(query):
        return check_events(home, "credit_bureau", events(query), SPECS, ORIGIN)

    assert pushed("FROM source").passed
    cents = REPLACED.format("income * 100", "income")
    assert [one.column for one in pushed(cents).failures] == ["income"]
    assert pushed(f"{cents} LIMIT 199").passed


def test_what_is_kept_of_a_good_run_names_no_one(home, fill, good):
    good()
    kept = (home.reports / "last-good" / "a-lender" / "credit_bureau.json").read_text()
    assert "APP_" not in kept
    assert msgspec.json.decode(kept)["rows"] == WHOLE


def test_what_is_critical_is_always_more_than_what_warns():
    limits = thresholds().last_run  # the graver rule is asked only where the softer is not met
    assert limits.rows.critical_below < limits.rows.warning_below
    assert limits.nulls.critical_rise > limits.nulls.warning_rise
    assert limits.quartiles.critical_spreads > limits.quartiles.warning_spreads
    assert limits.quartiles.critical_factor > limits.quartiles.warning_factor
