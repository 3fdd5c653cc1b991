"""Materialize through plain Feast: what is recorded, what a crash leaves, and where stock Feast goes wrong."""

import os
import random
import select
import socket
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event, current_thread

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.types import Float64
from redis.client import Pipeline

from feature_repo.errors import UnavailableError
from tests.contract.online_harness import (
    END,
    START,
    Materializer,
    a_config,
    a_redis,
    a_store,
    contents,
    doubles,
    dumps,
    empty,
    write_rows,
)

EVENT = datetime(2026, 5, 31, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
FIELDS = {"value": Float64}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with a_redis(tmp_path_factory.mktemp("redis")) as port:
        yield port


def a_table(rows):
    """A table of (applicant, event time, created time, value)."""
    return pa.table(
        {
            "applicant_id": pa.array([row[0] for row in rows]),
            "event_timestamp": pa.array([row[1] for row in rows], INSTANT),
            "created_timestamp": pa.array([row[2] for row in rows], INSTANT),
            "value": pa.array([row[3] for row in rows], pa.float64()),
        }
    )


def value(store, name="A1"):
    return store.get_online_features(["rows:value"], [{"applicant_id": name}]).to_dict()["value"][0]


def both(root, port, rows):
    """Apply a stock store and ours to the same source, ours working in an emptied server later."""
    path = write_rows(root / "rows.parquet", a_table(rows))
    for ours in (False, True):
        empty(port)
        yield a_store(a_config(root, port, ours), path, FIELDS)


def test_a_correction_of_the_same_event_arrives_where_stock_keeps_the_old_value(tmp_path, port):
    found = []
    for store in both(tmp_path, port, [("A1", EVENT, EVENT, 1.0)]):
        store.materialize(START, END)
        write_rows(
            tmp_path / "rows.parquet",
            a_table([("A1", EVENT, EVENT, 1.0), ("A1", EVENT, EVENT + timedelta(days=1), 2.0)]),
        )
        store.materialize(START, END)
        found.append(value(store))
        write_rows(tmp_path / "rows.parquet", a_table([("A1", EVENT, EVENT, 1.0)]))
    assert found == [1.0, 2.0]


def test_of_rows_before_1970_the_newest_wins_where_stock_takes_the_last(tmp_path, port):
    old = datetime(1960, 1, 1, tzinfo=UTC)
    found = []
    for store in both(tmp_path, port, [("A1", EVENT, EVENT, 0.0)]):
        for event, number in ((old + timedelta(days=1), 1.0), (old, 2.0)):
            frame = {
                "applicant_id": ["A1"],
                "event_timestamp": [event],
                "created_timestamp": [event],
                "value": [number],
            }
            store.write_to_online_store("rows", pd.DataFrame(frame))
        found.append(value(store))
    assert found == [2.0, 1.0]


def test_a_writer_that_hesitates_does_not_undo_a_newer_row_and_stocks_does(tmp_path, port, monkeypatch):
    """Stock Feast asks for the stored time, compares, and writes: another may have written in between."""
    execute, asked, go_on = Pipeline.execute, Event(), Event()

    def hesitating(pipeline, *args, **kwargs):
        answer = execute(pipeline, *args, **kwargs)
        if current_thread().name.startswith("hesitating") and not asked.is_set():
            asked.set()
            go_on.wait(10)
        return answer

    monkeypatch.setattr(Pipeline, "execute", hesitating)
    found = []
    for store in both(tmp_path, port, [("A1", EVENT, EVENT, 0.0)]):
        asked.clear()
        go_on.clear()
        frames = [
            pd.DataFrame({"applicant_id": ["A1"], "event_timestamp": [event], "created_timestamp": [event], "value": v})
            for event, v in ((EVENT, 1.0), (EVENT + timedelta(days=1), 2.0))
        ]
        with ThreadPoolExecutor(1, thread_name_prefix="hesitating") as pool:
            older = pool.submit(store.write_to_online_store, "rows", frames[0])
            older.add_done_callback(lambda _: asked.set())
            assert asked.wait(10)
            store.write_to_online_store("rows", frames[1])
            go_on.set()
            older.result()
        found.append(value(store))
    assert found == [1.0, 2.0]


def test_of_one_batch_with_a_key_twice_the_newest_is_kept(tmp_path, port):
    events = [EVENT, EVENT + timedelta(days=2), EVENT + timedelta(days=1), EVENT + timedelta(days=2)]
    frame = pd.DataFrame(
        {
            "applicant_id": ["A1"] * 4,
            "event_timestamp": events,
            "created_timestamp": events,
            "value": [1.0, 2.0, 3.0, 4.0],
        }
    )
    *_, ours = both(tmp_path, port, [("A1", EVENT, EVENT, 0.0)])
    ours.write_to_online_store("rows", frame)
    assert value(ours) == 4.0


def test_the_interval_is_recorded_when_all_is_written_and_not_before(tmp_path, port):
    *_, ours = both(tmp_path, port, [("A1", EVENT, EVENT, 1.0)])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = probe.getsockname()[1]
    broken = FeatureStore(config=a_config(tmp_path, dead, ours=True))
    with pytest.raises(UnavailableError, match=f"Redis at 127.0.0.1:{dead} cannot be reached"):
        broken.materialize(START, END)
    assert ours.registry.get_feature_view("rows", "candor").materialization_intervals == []
    ours.materialize_incremental(END)
    assert ours.registry.get_feature_view("rows", "candor").materialization_intervals[-1][1] == END
    assert value(ours) == 1.0


def test_progress_is_shown_on_a_terminal_and_only_there(tmp_path, port, capsys, monkeypatch):
    *_, ours = both(tmp_path, port, [(f"A{number}", EVENT, EVENT, 1.0) for number in range(300)])
    capsys.readouterr()
    ours.materialize(START, END)
    assert "300" not in "".join(capsys.readouterr())
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    with os.fdopen(terminal, "w") as screen, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", screen)
        ours.materialize(START, END)
        shown = b""
        while select.select([controller], [], [], 1)[0] and b"300/300" not in shown:
            shown += os.read(controller, 1000)
    os.close(controller)
    assert b"300/300" in shown
    assert "300" not in capsys.readouterr().out


def test_a_source_without_new_rows_writes_nothing(tmp_path, port):
    *_, ours = both(tmp_path, port, [("A1", EVENT, EVENT, 1.0)])
    ours.materialize(START, EVENT - timedelta(days=1))
    assert contents(port) == {}


def test_what_is_deleted_is_gone_and_nothing_else(tmp_path, port):
    *_, ours = both(tmp_path, port, [("A1", EVENT, EVENT, 1.0), ("*", EVENT, EVENT, 1.0)])
    ours.materialize(START, END)
    config = a_config(tmp_path, port, ours=True)
    ours._get_provider().online_store.delete_entity_values(config, ["applicant_id"])
    assert contents(port) == {}


def numbers(rows, event):
    chance = np.random.default_rng(0)
    times = pa.array([event] * rows, INSTANT)
    keys = pa.array([f"A{number:06}" for number in range(rows)])
    columns = {f"value_{number}": chance.normal(size=rows) for number in range(6)}
    return pa.table({"applicant_id": keys, "event_timestamp": times, "created_timestamp": times} | columns)


@pytest.fixture(scope="module")
def materializer(tmp_path_factory, port):
    root = tmp_path_factory.mktemp("killed")
    worker = Materializer(root, port)
    yield root, worker
    worker.close()


@pytest.mark.parametrize("before", ["an empty store", "older rows", "the same rows"])
def test_a_materialize_that_was_killed_and_run_again_leaves_what_one_run_leaves(materializer, port, before):
    root, worker = materializer
    rows = 12_000
    filled = {"an empty store": None, "older rows": EVENT - timedelta(days=9), "the same rows": EVENT}[before]

    def start_over():
        empty(port)
        if filled:
            write_rows(root / "rows.parquet", numbers(rows, filled))
            doubles(root, port).materialize(START, END)
        write_rows(root / "rows.parquet", numbers(rows, EVENT))

    start_over()
    doubles(root, port).materialize(START, END)
    uninterrupted = dumps(port)
    start_over()
    assert worker.kill_after(random.Random(before).randrange(1, rows // 2))
    if before != "the same rows":
        assert dumps(port) != uninterrupted
    doubles(root, port).materialize(START, END)
    assert dumps(port) == uninterrupted
