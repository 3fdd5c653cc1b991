"""Rows set aside: out of the sources, into quarantine with reason and origin, and none lost."""

from __future__ import annotations

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.unit.validation.samples import BUREAU_SPECS, LOAN_SPECS, LOANS, ROWS, spec
from validation import quarantine
from validation.gates import SourceTable, check_sources
from validation.runs import history

BUREAU, LOANS_TABLE = SourceTable((*BUREAU_SPECS, spec("more", "number", low=0))), SourceTable(LOAN_SPECS)
WIDER = "SELECT *, 1.0::DOUBLE AS more FROM source"
FILE = "sources/credit_bureau/data.parquet"
FIRST = "applicant_id = 'APP_000003' AND event_timestamp < '2026-01-02'"


def gate(home, *, quarantine=True, **tables):
    return {one.name: one for one in check_sources(home, tables or {"credit_bureau": BUREAU}, quarantine=quarantine)}


def spoiled(column, value, condition=FIRST):
    return f"SELECT * REPLACE (CASE WHEN {condition} THEN {value} ELSE {column} END AS {column}) FROM ({WIDER})"


def query(sql, path):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql, {"path": str(path)}).fetchall()


def rows(home, table="credit_bureau", columns="*"):
    return query(f"SELECT {columns} FROM read_parquet($path)", home.source_glob(table))


def aside(home, table="credit_bureau", columns="*"):
    return query(f"SELECT {columns} FROM read_parquet($path)", home.root / "quarantine" / table / "*.parquet")


def contents(home):
    return {path: path.read_bytes() for path in home.sources.rglob("*.parquet")}


SINGLE = {
    "out of its range": ("utilization", "-1.0", "utilization must be between 0 and 5 (ratio)"),
    "infinite": ("more", "'inf'::DOUBLE", "more must be finite and at least 0 (ratio)"),
    "a new category": ("home", "'YURT'", "home must be one of OWN, RENT, OTHER"),
    "an empty key": ("applicant_id", "''", "applicant_id must not be empty"),
    "no key": ("applicant_id", "NULL", "applicant_id must not be null"),
    "no event time": ("event_timestamp", "NULL", "event_timestamp must not be null"),
    "known too early": (
        "created_timestamp",
        "event_timestamp - INTERVAL 1 HOUR",
        "created_timestamp must not be before event_timestamp",
    ),
    "from the future": (
        "created_timestamp",
        "TIMESTAMPTZ '2030-01-01 00:00:00+00'",
        "created_timestamp must not be in the future (2026-06-30T00:00:00Z)",
    ),
}


@pytest.mark.parametrize("case", SINGLE)
def test_one_faulty_row_is_set_aside_with_its_reason_and_origin_and_the_others_stay(case, home, parquet):
    column, value, reason = SINGLE[case]
    parquet(spoiled(column, value), name=FILE)
    before = rows(home)
    result = gate(home)["credit_bureau"]
    assert result.passed
    assert (result.rows, result.quarantined) == (ROWS - 1, 1)
    assert result.note == f"1 row set aside in {result.quarantine}"
    (why,) = result.warnings
    assert (f"{why.column} {why.rule}", why.unexpected, why.of) == (reason, 1, ROWS)
    assert rows(home) == before[:3] + before[4:]
    ((*kept, why, run, file, number, sha256),) = aside(home)
    assert tuple(kept) == before[3]
    assert (why, file, number) == (reason, "data.parquet", 3)
    assert result.quarantine == f"quarantine/credit_bureau/{run}.parquet"
    assert len(sha256) == 64


def test_without_being_told_to_the_gate_only_says_what_could_be_done(home, parquet):
    parquet(spoiled("utilization", "-1.0"), name=FILE)
    before = contents(home)
    result = gate(home, quarantine=False)["credit_bureau"]
    assert not result.passed
    assert result.note == "1 row can be set aside: candor validate --quarantine"
    assert contents(home) == before
    assert not (home.root / "quarantine").exists()


def test_what_was_set_aside_is_not_found_again(home, parquet):
    parquet(spoiled("utilization", "-1.0"), name=FILE)
    assert [gate(home)["credit_bureau"].quarantined for _ in range(2)] == [1, 0]
    assert len(aside(home)) == 1


def test_all_reasons_of_a_row_are_told(home, parquet):
    broken = spoiled("utilization", "-1.0")
    parquet(f"SELECT * REPLACE (CASE WHEN {FIRST} THEN 'YURT' ELSE home END AS home) FROM ({broken})", name=FILE)
    assert gate(home)["credit_bureau"].quarantined == 1
    ((reason,),) = aside(home, columns=quarantine.REASON)
    assert reason == "utilization must be between 0 and 5 (ratio); home must be one of OWN, RENT, OTHER"


def test_more_than_the_set_share_stops_the_table_and_nothing_is_touched(home, parquet):
    four = "event_timestamp < '2026-01-02' AND applicant_id < 'APP_000004'"
    parquet(spoiled("utilization", "-1.0", four), name=FILE)
    assert gate(home)["credit_bureau"].quarantined == 4  # 1 % of 400
    five = four.replace("000004", "000005")
    parquet(spoiled("utilization", "-1.0", five), name=FILE)
    before = contents(home)
    result = gate(home)["credit_bureau"]
    assert not result.passed
    assert result.quarantined == 0
    assert contents(home) == before


def test_two_rules_may_not_together_set_aside_more_than_the_share(home, parquet):
    three = "event_timestamp < '2026-01-02' AND applicant_id < 'APP_000003'"
    others = "event_timestamp >= '2026-01-02' AND event_timestamp < '2026-01-03' AND applicant_id < 'APP_000003'"
    both = f"SELECT * REPLACE (CASE WHEN {others} THEN 'YURT' ELSE home END AS home) FROM ({{}})"
    parquet(both.format(spoiled("utilization", "-1.0", three)), name=FILE)
    assert not gate(home)["credit_bureau"].passed


def test_a_stopped_table_keeps_the_rows_of_the_others_where_they_are(home, parquet):
    parquet(spoiled("utilization", "-1.0"), name=FILE)
    parquet("SELECT * EXCLUDE (term_months) FROM source", source=LOANS, name="sources/loans/data.parquet")
    before = contents(home)
    found = gate(home, credit_bureau=BUREAU, loans=LOANS_TABLE)
    assert [one.passed for one in found.values()] == [False, False]
    assert contents(home) == before


def test_a_rule_about_the_whole_table_is_never_mended_by_setting_rows_aside(home, parquet):
    parquet(f"SELECT * EXCLUDE (verified) FROM ({spoiled('utilization', '-1.0')})", name=FILE)
    before = contents(home)
    assert not gate(home)["credit_bureau"].passed
    assert contents(home) == before


def test_rows_that_contradict_each_other_all_leave(home, parquet):
    other = f"SELECT * REPLACE (4.9::DOUBLE AS utilization) FROM ({WIDER}) WHERE {FIRST}"
    parquet(f"{WIDER} UNION ALL ({other})", name=FILE)
    result = gate(home)["credit_bureau"]
    assert (result.passed, result.quarantined, result.rows) == (True, 2, ROWS - 1)
    assert {reason for (reason,) in aside(home, columns=quarantine.REASON)} == {
        "applicant_id+event_timestamp+created_timestamp must be unique together"
    }


def test_of_two_rows_of_one_key_the_sound_one_stays(home, parquet):
    other = f"SELECT * REPLACE (-4.9::DOUBLE AS utilization) FROM ({WIDER}) WHERE {FIRST}"
    parquet(f"{WIDER} UNION ALL ({other})", name=FILE)
    before = rows(home)
    assert gate(home)["credit_bureau"].quarantined == 1
    assert rows(home) == before[:ROWS]


def test_of_a_loan_delivered_twice_the_first_stays(home, parquet):
    parquet("FROM source UNION ALL (FROM source LIMIT 2)", source=LOANS, name="sources/loans/data.parquet")
    before = rows(home, "loans")
    result = gate(home, loans=LOANS_TABLE)["loans"]
    assert (result.passed, result.quarantined) == (True, 2)
    assert rows(home, "loans") == before[:ROWS]


def test_a_faulty_row_leaves_every_file_that_holds_it_and_other_files_stay_as_they_were(home, parquet):
    parquet(spoiled("utilization", "-1.0"), name=FILE)
    pushed = f"FROM ({spoiled('utilization', '-1.0')}) WHERE {FIRST}"
    parquet(f"{pushed} OR applicant_id = 'APP_000007'", name="sources/credit_bureau/deep/appended-1.parquet")
    other = parquet(f"{WIDER} WHERE false", name="sources/credit_bureau/appended-2.parquet")
    untouched = other.read_bytes(), other.stat().st_mtime_ns
    result = gate(home)["credit_bureau"]
    assert (result.passed, result.quarantined) == (True, 2)
    assert sorted(aside(home, columns="origin_file, origin_row")) == [
        ("data.parquet", 3),
        ("deep/appended-1.parquet", 0),
    ]
    assert (other.read_bytes(), other.stat().st_mtime_ns) == untouched
    # copies of the rows of APP_000007, which are in order
    assert [one.column for one in result.warnings] == ["utilization", "copies of the row"]


def test_not_a_number_beside_a_fault_does_not_hide_the_row(home, parquet):
    parquet(f"SELECT * REPLACE (CASE WHEN {FIRST} THEN 'nan'::DOUBLE ELSE more END AS more) FROM "
            f"({spoiled('utilization', '-1.0')})", name=FILE)  # fmt: skip
    assert gate(home)["credit_bureau"].quarantined == 1


def test_files_keep_their_schema_and_row_groups(home, parquet):
    path = parquet(spoiled("utilization", "-1.0", "applicant_id = 'APP_000050' AND event_timestamp < '2026-01-02'"))
    target = home.sources / "credit_bureau" / "data.parquet"
    target.parent.mkdir(parents=True)
    table = pq.read_table(path)
    pq.write_table(table, target, row_group_size=100)
    gate(home)
    after = pq.ParquetFile(target)
    assert after.schema_arrow == table.schema
    assert [after.metadata.row_group(i).num_rows for i in range(after.num_row_groups)] == [99, 100, 100, 100]


@pytest.mark.parametrize("dies_at", ["_write", "_rewrite"])
def test_a_crash_loses_no_row_and_the_next_run_ends_as_an_undisturbed_one(dies_at, home, parquet, monkeypatch):
    parquet(spoiled("utilization", "-1.0"), name=FILE)
    parquet(f"FROM ({spoiled('home', repr('YURT'))}) WHERE {FIRST}", name="sources/credit_bureau/b.parquet")
    before = sorted(rows(home), key=str)

    def die(*_):
        raise KeyboardInterrupt

    whole = getattr(quarantine, dies_at)
    calls = []

    def once_then_die(*arguments):
        calls.append(whole(*arguments) if not calls and dies_at == "_rewrite" else die())

    monkeypatch.setattr(quarantine, dies_at, once_then_die)
    with pytest.raises(KeyboardInterrupt):
        gate(home)
    monkeypatch.undo()
    if dies_at == "_write":
        assert sorted(rows(home), key=str) == before
    result = gate(home)["credit_bureau"]
    assert result.passed
    kept = aside(home, columns="* EXCLUDE (quarantine_reason, quarantine_run, origin_file, origin_row, origin_sha256)")
    assert sorted(rows(home) + kept, key=str) == before
    assert len(kept) == 2
    assert not list(home.root.rglob("*.partial"))


def test_whose_rows_were_set_aside_is_remembered_until_it_is_settled(home, parquet):
    assert quarantine.unsettled(home) == (set(), [])
    parquet(spoiled("utilization", "-1.0"), name=FILE)
    gate(home)
    applicants, files = quarantine.unsettled(home)
    assert applicants == {"APP_000003"}
    quarantine.settle(home, files)
    assert quarantine.unsettled(home) == (set(), files)
    parquet(spoiled("utilization", "-1.0", FIRST.replace("3", "5")), name=FILE)
    gate(home)
    applicants, both = quarantine.unsettled(home)
    assert applicants == {"APP_000005"}
    assert set(files) < set(both)


def test_what_was_set_aside_is_in_the_history_of_runs_without_a_value(home, parquet):
    parquet(spoiled("utilization", "-987654.25"), name=FILE)
    gate(home)
    (run,) = history(home.reports)
    assert run.results[0].quarantined == 1
    index = (home.reports / "data-docs" / "index.html").read_text()
    assert run.results[0].quarantine in index
    for path in home.reports.rglob("*.*"):
        assert "987654" not in path.read_text()
        assert "APP_" not in path.read_text()
