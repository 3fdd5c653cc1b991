"""A pushed event: served at once, learned from only where it was known, and refused before it can do harm."""

import json
import os
import shutil
import signal
import threading
from datetime import timedelta

import duckdb
import msgspec
import pandas as pd
import pytest
import redis
from litestar.testing import TestClient

from feature_repo import registry
from feature_repo.errors import GateError, InputError
from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from feature_repo.stores.engine import CandorEngine
from services import embedded, intake, pipeline
from services.scoring.app import create_app
from training.dataset import build_dataset

HOUR = timedelta(hours=1)
TABLE = "credit_bureau"


@pytest.fixture(scope="module")
def home(finished, tmp_path_factory):
    """The finished home's sources and champion beside a Redis of its own."""
    home = Home(root=tmp_path_factory.mktemp("pushed"))
    for folder in ("sources", "bundles"):
        shutil.copytree(finished.home.root / folder, home.root / folder)
    shutil.copy(finished.home.champion_path, home.champion_path)
    home.save_state(msgspec.structs.replace(finished.home.state(), redis_port=None, materialized_to=None))
    try:
        intake.materialize(home)
        yield home
    finally:
        embedded.stop(home)


def query(home, sql, table=TABLE):
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.execute(sql, {"source": home.source_glob(table)}).to_arrow_table().to_pylist()


def an_event(home, applicant, at, known=None, **changes):
    """What the bureau last said of an applicant, changed and of another time."""
    row = query(home, f"""select * exclude (created_timestamp) from read_parquet($source)
                          where applicant_id = '{applicant}' order by event_timestamp desc limit 1""")[0]  # fmt: skip
    times = {"event_timestamp": at} | ({"created_timestamp": known} if known else {})
    return row | times | changes


def lines(*events):
    return "".join(json.dumps(event, default=lambda instant: instant.isoformat()) + "\n" for event in events)


def file_of(tmp_path, *events):
    path = tmp_path / "events.jsonl"
    path.write_text(lines(*events))
    return str(path)


def contents(home):
    with redis.Redis(port=int(home.redis.rpartition(":")[2])) as client:
        return {key: client.hgetall(key) for key in client.scan_iter()}


def appended(home, table=TABLE):
    return sorted((home.sources / table).glob("appended-*.parquet"))


def pd_of(client, applicant):
    request = {"applicant_id": applicant, "purchase_amount": 900, "term_months": 12}
    answer = client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()["default_probability"]


def bureau(client, applicant):
    return client.get(f"/applicants/{applicant}/features").json()["views"][TABLE]


def test_an_event_changes_the_next_decision_and_an_older_one_none(home, finished, candor, tmp_path):
    applicant = finished.decision["applicant_id"]
    bad = {"credit_utilization": 1.9, "num_credit_inquiries": 14, "debt_to_income_ratio": 1.2}
    with TestClient(create_app(home)) as client:
        before = pd_of(client, applicant)
        event = an_event(home, applicant, home.now() - HOUR, **bad)
        done = candor("push", TABLE, "--file", "-", "--json", home=home.root, stdin=lines(event))
        assert json.loads(done.stdout) == {"events": 1, "served": 1}
        after = pd_of(client, applicant)
        assert after > 1.5 * before
        assert bureau(client, applicant)["features"]["num_credit_inquiries"] == 14
        older = an_event(home, applicant, home.now() - 2 * HOUR, num_credit_inquiries=0)
        assert intake.push(home, TABLE, file_of(tmp_path, older)).served == 0
        assert bureau(client, applicant)["features"]["num_credit_inquiries"] == 14
        assert pd_of(client, applicant) == after
    scored = candor("score", applicant, "--purchase-amount", "900", "--term-months", "12", "--json", home=home.root)
    assert json.loads(scored.stdout)["default_probability"] == after


def frame(home):
    store = registry.apply(home)
    contract = registry.read_contract(store, pipeline.SERVICE)
    return build_dataset(
        store, contract, home.source_glob("loans"), as_of=home.outcomes_now(), oot_start=home.state().oot_start
    ).frame.set_index("loan_id")


def test_training_sees_an_event_only_where_it_was_known(home, tmp_path):
    before = frame(home)
    loans = before.sort_values("event_timestamp").groupby("applicant_id")
    applicant = next(name for name, own in loans if len(own) > 2)
    first, second, *_ = loans.get_group(applicant).itertuples()
    known = second.event_timestamp - HOUR
    assert first.event_timestamp < known - HOUR
    event = an_event(home, applicant, known - HOUR, known, debt_to_income_ratio=9.5)
    intake.push(home, TABLE, file_of(tmp_path, event))
    after = frame(home)
    assert before.loc[second.Index, "debt_to_income_ratio"] < 9.5 == after.loc[second.Index, "debt_to_income_ratio"]
    changed = before.compare(after).index
    assert set(after.loc[changed, "applicant_id"]) == {applicant}
    assert (after.loc[changed, "event_timestamp"] >= known).all()


def test_what_was_pushed_passes_the_gate_again_and_materializes_to_the_same(home, finished, tmp_path):
    path = file_of(tmp_path, an_event(home, finished.decision["applicant_id"], home.now() - HOUR / 2))
    for _ in range(2):
        assert intake.push(home, TABLE, path).events == 1
    before = contents(home)
    intake.materialize(home)
    assert contents(home) == before
    registry.clear_online_store(registry.open_store(home))
    intake.materialize(home)
    assert contents(home) == before


def test_a_view_over_a_source_with_protected_columns_is_pushed_whole(home, finished, tmp_path):
    row = query(home, "select * exclude (created_timestamp) from read_parquet($source) limit 1", "applicant_profile")[0]
    event = row | {"applicant_id": "NEW", "event_timestamp": home.now() - HOUR, "age": 30, "annual_income": 4321}
    assert intake.push(home, "applicant_profile", file_of(tmp_path, event)).served == 1
    kept = query(home, "select age, annual_income from read_parquet($source) where applicant_id = 'NEW'",
                 "applicant_profile")  # fmt: skip
    assert kept == [{"age": 30, "annual_income": 4321.0}]
    with TestClient(create_app(home)) as client:
        view = client.get("/applicants/NEW/features").json()["views"]["applicant_profile"]
    assert view["features"]["annual_income"] == 4321.0
    assert "age" not in view["features"]


WRONG = [
    ({"credit_utilization": "high"}, InputError, r"line 2, column credit_utilization: 'high' is no double"),
    ({"num_credit_lines": 1.5}, InputError, r"line 2, column num_credit_lines: 1.5 is no int64"),
    ({"event_timestamp": "2025-12-31T12:00:00"}, InputError, r"line 2, column event_timestamp: .* is no timestamp"),
    ({"event_timestamp": "2999-01-01T00:00:00Z"}, InputError, r"column event_timestamp: 2999.* is later than now"),
    ({"applicant_id": None}, InputError, r"column applicant_id: 1 events have none"),
    ({"credit_utilization": -3}, GateError, r"line 2, column credit_utilization must be between 0 and 5 \(ratio\)"),
    ({"credit_history_months": float("inf")}, GateError, r"line 2, column credit_history_months must be finite"),
    ({"created_timestamp": "2001-01-01T00:00:00Z"}, GateError, r"created_timestamp must not be before event_timestamp"),
    ({"applicant_id": ""}, InputError, r"column applicant_id: '' must not be empty"),
    ({"event_timestamp": None}, GateError, r"must be unique together"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG)
def test_a_bad_event_is_refused_by_line_and_column_and_nothing_is_written(
    home, finished, tmp_path, wrong, error, message
):
    applicant = finished.decision["applicant_id"]
    good = an_event(home, applicant, home.now() - HOUR / 4, home.now() - HOUR / 8)
    bad = good if "unique" in message else good | {"applicant_id": "B"} | wrong
    before = contents(home), appended(home)
    with pytest.raises(error, match=message):
        intake.push(home, TABLE, file_of(tmp_path, good, bad))
    assert (contents(home), appended(home)) == before


def test_the_command_ends_with_2_on_a_bad_line_and_with_1_on_a_failed_gate(home, finished, candor, tmp_path):
    good = an_event(home, finished.decision["applicant_id"], home.now() - HOUR / 4)
    before = contents(home), appended(home)
    for wrong, code, said in (
        ({"credit_utilization": "high"}, 2, "line 2, column credit_utilization: 'high' is no double"),
        ({"credit_utilization": -3}, 1, "line 2, column credit_utilization must be between 0 and 5"),
    ):
        path = file_of(tmp_path, good, good | {"applicant_id": "B"} | wrong)
        done = candor("push", TABLE, "--file", path, home=home.root, ok=False)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.splitlines()[-1].startswith("candor: ")
        assert said in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert (contents(home), appended(home)) == before
    assert (home.reports / "data-docs" / f"{TABLE}_events.html").exists()


def test_with_redis_away_the_event_is_kept_and_a_second_push_serves_it(home, finished, candor, tmp_path):
    applicant = finished.decision["applicant_id"]
    path = file_of(tmp_path, an_event(home, applicant, home.now() - HOUR / 60, num_credit_inquiries=3))
    before = len(appended(home))
    done = candor("push", TABLE, "--file", path, home=home.root, ok=False, CANDOR_REDIS="127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "candor: online store: Redis at 127.0.0.1:1 cannot be reached; the events are in the source: push them again"
    )
    assert len(appended(home)) == before + 1
    with TestClient(create_app(home)) as client:
        assert bureau(client, applicant)["features"]["num_credit_inquiries"] != 3
        assert intake.push(home, TABLE, path).served == 1
        assert bureau(client, applicant)["features"]["num_credit_inquiries"] == 3
    assert len(appended(home)) == before + 1


def test_a_redis_that_hangs_keeps_no_event_from_its_source(home, finished, candor, tmp_path):
    path = file_of(tmp_path, an_event(home, finished.decision["applicant_id"], home.now() - HOUR / 70))
    port = home.redis.rpartition(":")[2]
    number, before = int((home.redis_dir / f"redis-{port}.pid").read_text()), len(appended(home))
    os.kill(number, signal.SIGSTOP)
    try:
        done = candor("push", TABLE, "--file", path, home=home.root, ok=False)
    finally:
        os.kill(number, signal.SIGCONT)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"candor: the home's Redis at 127.0.0.1:{port} does not answer: wait, or run `candor stop`")
    assert said.endswith("; the events are in the source: push them again")
    assert len(appended(home)) == before + 1
    assert intake.push(home, TABLE, path).served == 1


def test_a_push_waits_for_a_materialize_that_has_read_what_it_corrects(home, finished, tmp_path, monkeypatch):
    event = an_event(home, finished.decision["applicant_id"], home.now() - HOUR / 50, home.now() - HOUR / 51)
    event |= {"applicant_id": "CORRECTED", "num_credit_inquiries": 1}
    intake.push(home, TABLE, file_of(tmp_path, event))
    corrected = event | {"num_credit_inquiries": 2, "created_timestamp": home.now() - HOUR / 52}
    path = file_of(tmp_path, corrected)
    read = CandorEngine._latest
    waited = []

    def read_then_push(self, registry, task):
        table = read(self, registry, task)
        if task.feature_view.name == TABLE:
            pushing.start()
            pushing.join(4)
            waited.append(pushing.is_alive())
        return table

    pushing = threading.Thread(target=intake.push, args=(home, TABLE, path))
    monkeypatch.setattr(CandorEngine, "_latest", read_then_push)
    intake.materialize(home)
    pushing.join()
    assert waited == [True]
    with TestClient(create_app(home)) as client:
        assert bureau(client, event["applicant_id"])["features"]["num_credit_inquiries"] == 2


def test_the_registry_is_applied_only_where_it_is_not_what_the_definitions_say(home, finished, tmp_path, monkeypatch):
    path = file_of(tmp_path, an_event(home, finished.decision["applicant_id"], home.now() - HOUR / 40))
    intake.push(home, TABLE, path)
    applied = []
    apply = registry.apply
    monkeypatch.setattr(registry, "apply", lambda home: applied.append(home) or apply(home))
    intake.push(home, TABLE, path)
    assert applied == []
    (home.root / "registry.sha256").write_text("of other definitions")
    intake.push(home, TABLE, path)
    (home.root / "registry.db").unlink()
    intake.push(home, TABLE, path)
    assert len(applied) == 2


def test_a_materialize_into_a_redis_that_forgets_says_so(home, candor):
    with redis.Redis(port=int(home.redis.rpartition(":")[2])) as client:
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = candor("materialize", home=home.root)
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert "warning: Redis: maxmemory-policy allkeys-lru throws applicants away" in done.stderr


def test_csv_and_parquet_say_the_same_as_json_lines(home, finished, tmp_path):
    row = an_event(home, finished.decision["applicant_id"], home.now() - HOUR / 100, home.now() - HOUR / 100)
    held = len(appended(home))
    intake.push(home, TABLE, file_of(tmp_path, row))
    pd.DataFrame([row]).to_csv(tmp_path / "events.csv", index=False)
    pd.DataFrame([row]).to_parquet(tmp_path / "events.parquet")
    for name in ("events.csv", "events.parquet"):
        assert intake.push(home, TABLE, str(tmp_path / name)).events == 1
    assert len(appended(home)) == held + 1


@pytest.mark.parametrize("view", ["loans", "affordability", "nowhere"])
def test_only_stored_views_are_pushed_to(home, tmp_path, view):
    with pytest.raises(InputError, match=f"there is no feature view '{view}' .*credit_bureau"):
        intake.push(home, view, file_of(tmp_path, {}))


def test_nothing_is_pushed_before_an_ingest_and_an_ingest_replaces_what_was_pushed(tmp_path):
    home = Home(root=tmp_path / "home")
    path = str(tmp_path / "events.jsonl")
    with pytest.raises(InputError, match="candor ingest"):
        intake.push(home, TABLE, path)
    try:
        ingest(home, "simulated", applicants=200)
        applicant = query(home, "select applicant_id from read_parquet($source) limit 1")[0]["applicant_id"]
        intake.push(home, TABLE, file_of(tmp_path, an_event(home, applicant, home.now() - HOUR)))
        assert len(appended(home)) == 1
        ingest(home, "simulated", applicants=200)
        assert appended(home) == []
    finally:
        embedded.stop(home)
