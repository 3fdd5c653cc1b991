"""Poisoned inputs at every door: each is caught by the rule that is there for it, and nothing is half-written.

The table that documents them is ``validation/POISON.md``, made of the cases below; after a change of these
``python -m tests.integration.test_poison`` writes it anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import redis
from litestar.testing import TestClient

from feature_repo import registry
from feature_repo.errors import CandorError, GateError, InputError
from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from services import embedded, intake, present
from services.scoring.app import create_app
from tests.unit.services import harness
from validation.gates import check_frame, require_passed
from validation.results import GateResult
from validation.runs import history

DOCUMENT = Path(__file__).parents[2] / "validation" / "POISON.md"
PROFILE, BUREAU, CASHFLOW, REPAYMENT = "applicant_profile", "credit_bureau", "account_cashflow", "repayment_history"
LOANS = "loans"
ALL = "true"


@dataclass(frozen=True)
class Poison:
    """What is done to a source table, and what must come of it.

    Parameters
    ----------
    spoil : str or callable
        SQL over ``source``, or what makes of a file's bytes those that take their place.
    found : str
        Column and kind of the expectation that is not met.
    becomes : {"stopped", "set aside", "told"}
        What becomes of the table; of one that is stopped nothing goes on.
    """

    what: str
    table: str
    spoil: str | Callable[[bytes], bytes]
    found: str
    becomes: str = "stopped"


def replaced(where: str = ALL, **columns: str) -> str:
    """SQL that puts other values into columns where a condition holds."""
    changed = ", ".join(f"CASE WHEN {where} THEN {to} ELSE {name} END AS {name}" for name, to in columns.items())
    return f"SELECT * REPLACE ({changed}) FROM source"


BETWEEN, IN_SET, NOT_NULL = (f"expect_column_values_to_{rest}" for rest in ("be_between", "be_in_set", "not_be_null"))
ORDER, UNIQUE = "expect_column_pair_values_a_to_be_greater_than_b", "expect_compound_columns_to_be_unique"
QUARTILES, CONSTANT = "expect_column_quantile_values_to_be_between", "expect_column_unique_value_count_to_be_between"
TYPE, EXIST, READ = "expect_column_type_to_be", "expect_column_to_exist", "read_parquet"
ROWS, NEWEST = "expect_table_row_count_to_be_between", "expect_column_max_to_be_between"
COLUMNS = "expect_table_columns_to_match_set"
KEY = "applicant_id+event_timestamp+created_timestamp"
FEW = "hash(applicant_id, event_timestamp) % 1000 = 0"
LATER = "TIMESTAMPTZ '2026-02-01 00:00:00+00'"

AT_THE_SOURCE = [
    Poison("cents for euros", PROFILE, replaced(annual_income="annual_income * 100"), f"annual_income {QUARTILES}"),
    Poison(
        "columns swapped", BUREAU,
        "SELECT * REPLACE (credit_utilization AS debt_to_income_ratio, debt_to_income_ratio AS credit_utilization) "
        "FROM source", f"debt_to_income_ratio as credit_utilization {ORDER}",
    ),
    Poison("decimal shifted", BUREAU, replaced(revolving_balance="revolving_balance / 10"),
           f"revolving_balance {QUARTILES}"),
    Poison("percent for fraction", REPAYMENT, replaced(on_time_payment_ratio="on_time_payment_ratio * 100"),
           f"on_time_payment_ratio {BETWEEN}"),
    Poison("a column all null", REPAYMENT, replaced(num_late_payments="NULL"), f"num_late_payments {NOT_NULL}"),
    Poison("a column all NaN", CASHFLOW, replaced(balance_mean_90d="'nan'::DOUBLE"), f"balance_mean_90d {NOT_NULL}"),
    Poison("a column all one value", PROFILE, replaced(employment_years="3.0"), f"employment_years {CONSTANT}"),
    Poison("infinite values", REPAYMENT, replaced(outstanding_balance="'inf'::DOUBLE"),
           f"outstanding_balance {BETWEEN}"),
    Poison("negative amounts", CASHFLOW, replaced(inflow_90d="-inflow_90d"), f"inflow_90d {BETWEEN}"),
    Poison("a category that the contract does not know", PROFILE, replaced(home_ownership="'HOUSEBOAT'"),
           f"home_ownership {IN_SET}"),
    Poison("one applicant and instant with different values", BUREAU,
           "FROM source UNION ALL (SELECT * REPLACE (credit_utilization + 0.1 AS credit_utilization) FROM source)",
           f"{KEY} {UNIQUE}"),
    Poison("an empty applicant ID", REPAYMENT, replaced(applicant_id="''"),
           "applicant_id expect_column_values_to_not_be_in_set"),
    Poison("timestamps of the future", CASHFLOW, replaced(created_timestamp=LATER), f"created_timestamp {BETWEEN}"),
    Poison("known before it was true", BUREAU, replaced(created_timestamp="event_timestamp - INTERVAL 1 DAY"),
           f"created_timestamp {ORDER}"),
    Poison("a stale file: no row is young enough to be served", REPAYMENT,
           "SELECT * REPLACE (event_timestamp - INTERVAL 200 DAY AS event_timestamp, "
           "created_timestamp - INTERVAL 200 DAY AS created_timestamp) FROM source", f"event_timestamp {NEWEST}"),
    Poison("instants without a time zone", PROFILE,
           "SELECT * REPLACE (event_timestamp::TIMESTAMP AS event_timestamp) FROM source", f"event_timestamp {TYPE}"),
    Poison("text in a column of numbers", PROFILE,
           "SELECT * REPLACE (annual_income || ' EUR' AS annual_income) FROM source", f"annual_income {TYPE}"),
    Poison("a count written as a float", BUREAU,
           "SELECT * REPLACE (num_credit_lines::DOUBLE AS num_credit_lines) FROM source", f"num_credit_lines {TYPE}"),
    Poison("a column missing", REPAYMENT, "SELECT * EXCLUDE (max_days_past_due) FROM source",
           f"max_days_past_due {EXIST}"),
    Poison("a truncated Parquet file", CASHFLOW, lambda data: data[: len(data) // 2], READ),
    Poison("CSV under the name of Parquet", BUREAU, lambda data: b"applicant_id,credit_utilization\nA,0.3\n", READ),
    Poison("a file without a byte", PROFILE, lambda data: b"", READ),
    Poison("a file without a row", REPAYMENT, "FROM source WHERE false", ROWS),
    Poison("half of the applicants gone", BUREAU, "FROM source WHERE hash(applicant_id) % 5 > 2", ROWS),
    Poison("a day's volume halved", CASHFLOW,
           "FROM source WHERE NOT (created_timestamp::DATE = DATE '2025-12-01' AND hash(applicant_id) % 2 = 0)",
           f"rows of a day {ORDER}"),
    Poison("a day's rows again for other applicants", CASHFLOW,
           "FROM source UNION ALL (SELECT * REPLACE ('X' || applicant_id AS applicant_id) FROM source "
           "WHERE created_timestamp::DATE = DATE '2025-12-01')", f"most rows of the day {ORDER}"),
    Poison("applicants whom no other table knows", LOANS, replaced(applicant_id="'CUSTOMER-' || applicant_id"),
           f"applicant known elsewhere {IN_SET}"),
    Poison("bureau reports of applicants without a profile", BUREAU, replaced(applicant_id="lower(applicant_id)"),
           f"applicant known elsewhere {IN_SET}"),
    Poison("an outcome seen before the application", LOANS,
           replaced(outcome_observed_at="event_timestamp - INTERVAL 1 DAY"), f"outcome_observed_at {ORDER}"),
    Poison("amounts of nothing", LOANS, replaced(purchase_amount="0.0"), f"purchase_amount {BETWEEN}"),
    Poison("a day's loans delivered twice", LOANS,
           "FROM source UNION ALL (FROM source WHERE event_timestamp::DATE >= DATE '2025-11-01')",
           f"loan_id+created_timestamp {UNIQUE}"),
    Poison("a few negative amounts", CASHFLOW, replaced(FEW, inflow_90d="-7777.0"), f"inflow_90d {BETWEEN}",
           "set aside"),
    Poison("a few loans delivered twice", LOANS, "FROM source UNION ALL (FROM source LIMIT 3)",
           f"loan_id+created_timestamp {UNIQUE}", "set aside"),
    Poison("a day delivered twice, row for row", REPAYMENT,
           "FROM source UNION ALL (FROM source WHERE created_timestamp::DATE = DATE '2025-12-01')",
           f"copies of the row {BETWEEN}", "told"),
    Poison("a column too many", BUREAU, "SELECT *, 'secret' AS maiden_name FROM source", COLUMNS, "told"),
]  # fmt: skip


def write(path: Path, spoil: str | Callable[[bytes], bytes]) -> None:
    if not isinstance(spoil, str):
        path.write_bytes(spoil(path.read_bytes()))
        return
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        target = path.with_suffix(".new")
        connection.execute(f"COPY (WITH source AS (FROM '{path}') {spoil}) TO '{target}' (FORMAT parquet)")
    target.replace(path)


def files(home: Home) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(home.sources.rglob("*")) if path.is_file()}


def contents(home: Home) -> dict[bytes, dict[bytes, bytes]]:
    with redis.Redis(port=int(home.redis.rpartition(":")[2])) as client:
        return {key: client.hgetall(key) for key in client.scan_iter()}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Home]:
    """A home whose tables passed and are in Redis, so that there is a last good run."""
    home = Home(root=tmp_path_factory.mktemp("poisoned"))
    try:
        ingest(home, "simulated", applicants=600)
        intake.materialize(home)
        shutil.copytree(home.sources, home.root / "sound")
        yield home
    finally:
        embedded.stop(home)


@pytest.fixture
def sound(home) -> Iterator[Home]:
    """The home, its sources as they were."""
    shutil.rmtree(home.sources)
    shutil.copytree(home.root / "sound", home.sources)
    shutil.rmtree(home.root / "quarantine", ignore_errors=True)
    return home


def spoil(home: Home, *poisons: Poison) -> None:
    for poison in poisons:
        write(home.sources / poison.table / "data.parquet", poison.spoil)


def rounds() -> list[list[Poison]]:
    """The poisons that stop a table, at most one a table in each round: together they are quicker."""
    by_table: dict[str, list[Poison]] = {}
    for poison in AT_THE_SOURCE:
        if poison.becomes == "stopped":
            by_table.setdefault(poison.table, []).append(poison)
    return [[one for one in some if one] for some in zip_longest(*by_table.values())]


def found(result: GateResult) -> dict[str, str]:
    """Level by column and kind, as `Poison.found` names them."""
    return {f"{one.column} {one.expectation}".strip(): one.level for one in (*result.warnings, *result.failures)}


@pytest.mark.parametrize("poisons", rounds(), ids=lambda poisons: ", ".join(poison.what for poison in poisons))
def test_a_poisoned_table_is_stopped_by_the_rule_that_is_there_for_it_and_nothing_goes_on(poisons, sound):
    before = contents(sound)
    spoil(sound, *poisons)
    poisoned, state = files(sound), sound.state()
    with pytest.raises(GateError, match=r"^validation failed: "):
        intake.materialize(sound)
    results = {result.name: result for result in history(sound.reports, 1)[0].results}
    for poison in poisons:
        assert found(results[poison.table]).get(poison.found) == "critical", (poison.what, found(results[poison.table]))
    assert {name for name, result in results.items() if not result.passed} >= {poison.table for poison in poisons}
    assert (contents(sound), files(sound), sound.state()) == (before, poisoned, state)
    assert not (sound.root / "quarantine").exists()


def test_nothing_learns_from_a_table_that_would_be_stopped(sound):
    intake.require_gated(sound)
    runs = len(history(sound.reports))
    intake.require_gated(sound)
    assert len(history(sound.reports)) == runs  # what passed and was not touched since is not read again
    spoil(sound, AT_THE_SOURCE[0])
    with pytest.raises(GateError, match=r"applicant_profile\.annual_income"):
        intake.require_gated(sound)
    assert [result.name for result in history(sound.reports)[0].results] == [PROFILE]


def test_a_few_faulty_rows_are_set_aside_and_neither_redis_nor_a_training_set_sees_them(sound):
    few = [poison for poison in AT_THE_SOURCE if poison.becomes == "set aside"]
    before = files(sound)
    spoil(sound, *few)
    intake.materialize(sound)
    results = {result.name: result for result in history(sound.reports, 1)[0].results}
    for poison in few:
        result = results[poison.table]
        assert (result.passed, found(result)[poison.found]) == (True, "warning")
        assert result.quarantined == pq.read_metadata(sound.root / result.quarantine).num_rows > 0
    with duckdb.connect() as connection:
        kept = connection.execute(f"SELECT count(*), min(inflow_90d) FROM '{sound.source_glob(CASHFLOW)}'").fetchone()
    assert kept is not None
    assert kept[0] == results[CASHFLOW].rows
    assert kept[1] >= 0
    marked = np.float64(-7777.0).tobytes()
    assert not any(marked in value for fields in contents(sound).values() for value in fields.values())
    assert pq.read_metadata(sound.sources / LOANS / "data.parquet").num_rows == results[LOANS].rows
    assert {name for name, data in files(sound).items() if before[name] != data} == {
        str(sound.sources / poison.table / "data.parquet") for poison in few
    }


def test_a_row_that_plain_feast_served_leaves_redis_when_it_is_set_aside(sound):
    applicant, value = b"APP_000003", np.float64(-7777.0).tobytes()
    newest = "applicant_id = 'APP_000003' AND event_timestamp = (SELECT max(event_timestamp) FROM source s "
    newest += "WHERE s.applicant_id = source.applicant_id)"
    spoil(sound, Poison("", CASHFLOW, replaced(newest, inflow_90d="-7777.0"), "", ""))
    store = registry.open_store(sound)
    store.materialize(start_date=intake.BEGINNING, end_date=sound.now())

    def served() -> list[bytes]:
        return [v for key, fields in contents(sound).items() if applicant in key for v in fields.values()]

    assert any(value in field for field in served())
    intake.materialize(sound)
    assert served()
    assert not any(value in field for field in served())


def test_what_does_no_harm_is_told_and_lets_pass(sound):
    intake.materialize(sound)
    before = contents(sound)
    told = [poison for poison in AT_THE_SOURCE if poison.becomes == "told"]
    spoil(sound, *told)
    intake.materialize(sound)
    results = {result.name: result for result in history(sound.reports, 1)[0].results}
    for poison in told:
        assert found(results[poison.table]) == {poison.found: "warning"}
    assert contents(sound) == before
    text = present.gates(sound, list(results.values()))
    assert "maiden_name" in text
    assert "secret" not in text


AT_THE_PUSH: dict[str, tuple[str | Callable[[bytes], bytes], type[CandorError], str]] = {
    "cents for euros in 200 events": (replaced(revolving_balance="revolving_balance * 100"), GateError,
                                      "revolving_balance must have quartiles"),
    "percent for fraction": (replaced(credit_utilization="30.0"), GateError,
                             "credit_utilization must be between 0 and 5"),
    "negative counts": (replaced(num_credit_lines="-1"), GateError, "num_credit_lines must be between 0 and 200"),
    "infinite values": (replaced(credit_history_months="'inf'::DOUBLE"), GateError, "credit_history_months must be"),
    "known before it was true": (replaced(created_timestamp="event_timestamp - INTERVAL 1 DAY"), GateError,
                                 "created_timestamp must not be before event_timestamp"),
    "one event with two values": (
        "FROM source UNION ALL (SELECT * REPLACE (credit_utilization + 1 AS credit_utilization) FROM source)",
        GateError, "must be unique together"),
    "an event of the source with other values": (
        "SELECT * REPLACE (event_timestamp - INTERVAL 1 MINUTE AS event_timestamp, created_timestamp - INTERVAL 1 "
        "MINUTE AS created_timestamp, coalesce(credit_utilization, 0) + 0.5 AS credit_utilization) FROM source",
        InputError, "holds other values"),
    "timestamps of the future": (replaced(event_timestamp=LATER, created_timestamp=LATER), InputError,
                                 "is later than now"),
    "instants without a time zone": ("SELECT * REPLACE (event_timestamp::TIMESTAMP AS event_timestamp) FROM source",
                                     InputError, "event_timestamp: instants need a time zone"),
    "text in a column of numbers": ("SELECT * REPLACE ('high' AS credit_utilization) FROM source", InputError,
                                    "column credit_utilization: string where double belongs"),
    "a column missing": ("SELECT * EXCLUDE (num_public_records) FROM source", InputError,
                         "column num_public_records: missing"),
    "a column too many": ("SELECT *, 1 AS shoe_size FROM source", InputError, "column shoe_size: unknown"),
    "a truncated Parquet file": (lambda data: data[: len(data) // 2], InputError, "is no Parquet file"),
    "no event": ("FROM source WHERE false", InputError, "there are no events"),
}  # fmt: skip


@pytest.fixture(scope="module")
def events(home) -> Path:
    """300 bureau reports of applicants as they were, a minute after their last ones."""
    path = home.root / "events.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"""COPY (SELECT * REPLACE (event_timestamp + INTERVAL 1 MINUTE AS event_timestamp,
                                        created_timestamp + INTERVAL 1 MINUTE AS created_timestamp)
                      FROM (FROM '{home.root}/sound/{BUREAU}/data.parquet'
                            QUALIFY row_number() OVER (PARTITION BY applicant_id ORDER BY event_timestamp DESC) = 1)
                      ORDER BY applicant_id LIMIT 300) TO '{path}' (FORMAT parquet)"""
        )
    return path


@pytest.mark.parametrize("what", AT_THE_PUSH)
def test_poisoned_events_are_refused_and_nothing_is_written(what, sound, events, tmp_path):
    change, error, message = AT_THE_PUSH[what]
    path = tmp_path / "events.parquet"
    shutil.copy(events, path)
    write(path, change)
    before = contents(sound), files(sound)
    with pytest.raises(error, match=message):
        intake.push(sound, BUREAU, str(path))
    assert (contents(sound), files(sound)) == before


def test_the_same_events_unpoisoned_are_taken_and_a_change_that_is_meant_too(sound, events, tmp_path):
    assert intake.push(sound, BUREAU, str(events)).events == 300
    assert len(list((sound.sources / BUREAU).glob("appended-*"))) == 1
    change, _, message = AT_THE_PUSH["cents for euros in 200 events"]
    path = tmp_path / "events.parquet"
    shutil.copy(events, path)
    write(path, f"SELECT * REPLACE (applicant_id || 'X' AS applicant_id) FROM ({change})")
    with pytest.raises(GateError, match=rf"{message}.*; if a change is meant: candor push --accept$"):
        intake.push(sound, BUREAU, str(path))
    assert intake.push(sound, BUREAU, str(path), accept=True).events == 300


AT_THE_INGEST: dict[str, tuple[str | Callable[[bytes], bytes], str]] = {
    "a column that the contract does not know": ("SELECT *, 1 AS shoe_size FROM source", "shoe_size"),
    "instants without a time zone": (
        "SELECT * REPLACE (event_timestamp::TIMESTAMP AS event_timestamp) FROM source", "no time zone"),
    "text in a column of numbers": ("SELECT * REPLACE ('a' AS credit_utilization) FROM source", "credit_utilization"),
    "one applicant and instant twice": ("FROM source UNION ALL FROM source", "two rows of applicant"),
    "infinite values": (replaced(credit_utilization="'inf'::DOUBLE"), "credit_utilization is infinite"),
    "no key": (replaced(applicant_id="NULL"), "applicant_id is null or empty"),
    "a file without a row": ("FROM source WHERE false", "has no rows"),
    "a truncated Parquet file": (lambda data: data[: len(data) // 2], "is not a readable Parquet file"),
}  # fmt: skip


@pytest.mark.parametrize("what", AT_THE_INGEST)
def test_poisoned_tables_are_not_ingested_and_the_old_ones_stay(what, sound, tmp_path):
    change, message = AT_THE_INGEST[what]
    for table in (PROFILE, BUREAU, LOANS):
        shutil.copytree(sound.root / "sound" / table, tmp_path / table)
    write(tmp_path / BUREAU / "data.parquet", change)
    before, state = files(sound), sound.state()
    with pytest.raises(InputError, match=message):
        ingest(sound, "tables", tmp_path)
    assert (files(sound), sound.state()) == (before, state)


Frame = Callable[[pd.DataFrame], pd.DataFrame]
AT_THE_FRAME: dict[str, tuple[Frame, str]] = {
    "a join that multiplied rows": (
        lambda f: pd.concat([f, f.head(1)]), f"loan_id+applicant_id+event_timestamp {UNIQUE}"),
    "an outcome that is neither 0 nor 1": (
        lambda f: f.assign(defaulted=f["defaulted"].astype(int) + 1), f"defaulted {IN_SET}"),
    "an outcome that is not known": (
        lambda f: f.assign(defaulted=[None] + [0] * (len(f) - 1)), f"defaulted {NOT_NULL}"),
    "an infinite feature": (lambda f: f.assign(instalment_to_income=np.inf), f"instalment_to_income {BETWEEN}"),
    "percent for fraction": (lambda f: f.assign(on_time_payment_ratio=97.0), f"on_time_payment_ratio {BETWEEN}"),
    "text in a column of numbers": (
        lambda f: f.assign(annual_income="much"), "annual_income expect_column_values_to_be_in_type_list"),
    "a feature missing": (lambda f: f.drop(columns="inflow_90d"), f"inflow_90d {EXIST}"),
    "a category that the contract does not know": (
        lambda f: f.assign(home_ownership="TENT"), f"home_ownership {IN_SET}"),
}  # fmt: skip


@pytest.fixture(scope="module")
def training_frame(home) -> tuple[pd.DataFrame, tuple[Any, ...]]:
    """A frame of the shape that training makes, of plausible values."""
    contract = registry.read_contract(registry.open_store(home), "credit_decision_v1")
    usual = {"number": 0.5, "count": 1.0, "flag": True}
    columns: dict[str, Any] = {
        "loan_id": [f"L{i}" for i in range(20)],
        "applicant_id": [f"A{i}" for i in range(20)],
        "event_timestamp": pd.date_range("2025-01-01", periods=20, freq="D", tz="UTC"),
        "defaulted": [True, False] * 10,
    }
    for spec in contract.features:
        columns[spec.name] = usual[spec.kind] if spec.kind in usual else spec.categories[0]
    return pd.DataFrame(columns), contract.features


def test_the_training_frame_unpoisoned_passes(home, training_frame):
    require_passed([check_frame(home, *training_frame)])


@pytest.mark.parametrize("what", AT_THE_FRAME)
def test_a_poisoned_training_frame_is_stopped_before_a_model_is_fitted(what, home, training_frame):
    change, rule = AT_THE_FRAME[what]
    frame, specs = training_frame
    result = check_frame(home, change(frame.copy()), specs)
    assert list(found(result)) == [rule]
    with pytest.raises(GateError):
        require_passed([result])


AT_THE_SERVICE: dict[str, tuple[str, Any, str]] = {
    "percent for fraction": ("credit_utilization", 35.0, "range"),
    "negative counts": ("num_inquiries", -1, "range"),
    "an amount that no one has": ("annual_income", 1e12, "range"),
    "a category that the contract does not know": ("home_ownership", "HOUSEBOAT", "category"),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[tuple[TestClient[Any], Home]]:
    with harness.a_home(tmp_path_factory.mktemp("served")) as home:
        harness.promote(home)
        model = harness.a_model(harness.LinearScorer(base=-6.0))
        with TestClient(create_app(home, lambda _: model)) as client:
            yield client, home


@pytest.mark.parametrize("what", AT_THE_SERVICE)
def test_a_poisoned_value_in_redis_goes_to_a_person_and_one_in_a_request_is_refused(what, client):
    service, home = client
    feature, value, rule = AT_THE_SERVICE[what]
    asked = {"applicant_id": "APP_1", "purchase_amount": 3500, "term_months": 12}
    harness.put(home, "APP_1")
    assert service.post("/predict", json=asked).json()["approval_recommendation"] == "APPROVED"
    rows = {view: values | ({feature: value} if feature in values else {}) for view, values in harness.GOOD.items()}
    harness.put(home, "APP_1", rows)
    answer = service.post("/predict", json=asked).json()
    assert answer["approval_recommendation"] == "MANUAL_REVIEW"
    assert answer["guard"]["passed"] is False
    (violation,) = answer["guard"]["violations"]
    assert (violation["feature"], violation["rule"], violation["level"]) == (feature, rule, "critical")
    logged = service.get(f"/decisions/{answer['decision_id']}").json()
    assert logged["guard"] == answer["guard"]
    refused = service.post("/predict", json=asked | {feature: value})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [feature]


def document() -> str:
    """The table of all poisons, as Markdown."""
    becomes = {
        "stopped": "stopped; sources and Redis unchanged",
        "set aside": "these rows to quarantine, the others go on",
        "told": "goes on; a warning",
    }
    lines = [
        "# What is poisoned, and where it is caught",
        "",
        "Every line is a case of `tests/integration/test_poison.py`, which also writes this file.",
        "",
        "| what | where | door | what becomes of it | found by |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.what} | `{one.table}` | source gate | {becomes[one.becomes]} | {_told(one.found)} |"
        for one in AT_THE_SOURCE
    ]
    refused = "refused, all events; sources and Redis unchanged"
    lines += [
        f"| {what} | events of `{BUREAU}` | push gate | {refused} | `{message}` |"
        for what, (_, _, message) in AT_THE_PUSH.items()
    ]
    lines += [
        f"| {what} | `{BUREAU}` of one's own | ingest | refused; the tables before stay | `{message}` |"
        for what, (_, message) in AT_THE_INGEST.items()
    ]
    lines += [
        f"| {what} | training frame | frame gate | no model is fitted | {_told(rule)} |"
        for what, (_, rule) in AT_THE_FRAME.items()
    ]
    lines += [
        f"| {what} | `{feature}` in Redis, in a request | guard | `MANUAL_REVIEW`, 422 | rule `{rule}` |"
        for what, (feature, _, rule) in AT_THE_SERVICE.items()
    ]
    return "\n".join([*lines, *NOT_CAUGHT, ""])


NOT_CAUGHT = [
    "",
    "Not caught, or not here:",
    "",
    "- On the first run of a portfolio there is nothing to compare with: only ranges stand against cents for euros.",
    "- Quartiles are asked of 200 rows or more that are new since the last good run, or pushed at once "
    "(`thresholds.toml`); of fewer, ranges, types, keys and times.",
    "- Two columns swapped that have like quartiles and like nulls; a value that is wrong but plausible.",
    "- A new day with fewer rows than usual: what is usual depends on the day of month, week and year.",
    "- NaN is a missing value, in Parquet as in Redis; so is an infinity that is in Redis already.",
    "- A plain `feast materialize` and Feast's own push pass no gate; what was set aside they do not find either.",
]


def _told(rule: str) -> str:
    column, _, kind = rule.rpartition(" ")
    return f"`{kind}` of `{column}`" if column else f"`{kind}`"


def test_the_documents_table_is_that_of_the_cases():
    assert DOCUMENT.read_text(encoding="utf-8") == document()


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
