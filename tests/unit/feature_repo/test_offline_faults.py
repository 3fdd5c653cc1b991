"""The offline store where files, folders, disks and frames are not as they should be."""

import io
import json
import logging
import os
import signal
import time
from threading import Barrier, Timer

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores import historical, prepared
from feature_repo.stores.events import read_events
from tests.unit.feature_repo.test_offline_store import (
    NOW,
    ask,
    data,
    frame,
    instants,
    open_store,
    person,
    table,
    values,
    view_of,
)

__all__ = ["data", "open_store"]  # fixtures

BOTH = pytest.mark.parametrize("settings", ["prepared_directory: prepared", "threads: 2"])


def indexes(tmp_path):
    return sorted((tmp_path / "prepared").iterdir())


def test_keys_beyond_the_exact_floats_are_refused_and_others_match_one_row_only(open_store, data):
    pq.write_table(table([2**53, 2**53 + 1], [NOW] * 2, values=[1.0, 2.0]), data / "a.parquet")
    store = open_store()
    assert values(store, frame([float(2**53), np.nan])) == [1.0, None]
    assert values(store, frame(pd.array([2**53 + 1, None], "Int64"))) == [2.0, None]
    with pytest.raises(InputError, match=r"join key 'id' is double.*nullable integer type"):
        ask(store, frame([2.0**53 + 2, np.nan]))
    with pytest.raises(InputError, match="join key 'id' has fractions"):
        ask(store, frame([1.5, 2.0]))


@BOTH
def test_a_path_is_no_pattern(open_store, tmp_path, settings):
    folder = tmp_path / "da[t]a*?"
    folder.mkdir()
    pq.write_table(table([1]), folder / "a[1].parquet")
    store = open_store(view_of(folder), settings)
    assert values(store, frame()) == [1.0, None]
    pq.write_table(table([2], values=[77.0]), folder / "a1.parquet")
    assert values(store, frame()) == [1.0, 77.0]


def test_an_index_is_found_in_a_folder_that_looks_like_a_pattern(open_store, data):
    assert values(open_store(settings="prepared_directory: 'pre[p]*'"), frame([1])) == [1.0]


def test_a_file_rewritten_in_place_with_its_old_time_and_size_is_another_file(open_store, data):
    path, store = data / "a.parquet", open_store()
    assert values(store, frame([1])) == [1.0]
    before = path.stat()
    pq.write_table(table(events=[NOW.replace(month=9)]), data / "other")
    path.write_bytes((data / "other").read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_ino) == (before.st_size, before.st_ino)
    assert values(store, frame([1])) == [None]


@BOTH
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_cut_to_microseconds_by_index_and_bounds_alike(open_store, data, settings, zone):
    start = pd.Timestamp(NOW).value
    events = [start, start + 999, *[start + 10**15] * 10]
    rows = table([1] * 12, [NOW] * 12, values=range(12))
    kind = pa.timestamp("ns", tz=zone)
    rows = rows.set_column(1, "event_timestamp", pa.array(events, kind)).drop_columns("created_timestamp")
    pq.write_table(rows, data / "a.parquet", version="2.6")
    store = open_store(view_of("data", ttl=pd.Timedelta("1h"), created_timestamp_column=""), settings)
    assert values(store, frame([1, 1], at=NOW)) == [1.0, 1.0]
    assert values(store, frame([1], at=NOW + pd.Timedelta("1h"))) == [1.0]
    assert values(store, frame([1], at=NOW + pd.Timedelta("1h") + pd.Timedelta("1us"))) == [None]
    assert values(store, frame([1], at=pd.Timestamp("2400-01-01", tz="UTC").as_unit("us"))) == [None]


@pytest.mark.parametrize("stored", [pa.array(["1"]), instants([NOW])])
def test_a_column_of_another_kind_than_declared_is_refused_by_name(open_store, data, stored):
    pq.write_table(table().set_column(3, "value", stored), data / "b.parquet")
    with pytest.raises(InputError, match=r"source: 'value' holds (text|instants) \(.*its view declares Float64"):
        ask(open_store(), frame())


@pytest.mark.parametrize("stored", [pa.array([1], pa.int32()), pa.array([True]), pa.nulls(1)])
def test_a_column_of_the_same_kind_is_joined(open_store, data, stored):
    pq.write_table(table().set_column(3, "value", stored), data / "a.parquet")
    assert values(open_store(), frame([1])) in ([1], [None])


def test_what_killed_processes_left_is_deleted_after_an_hour(open_store, data, tmp_path):
    store = open_store()
    values(store, frame([1]))
    (index,) = indexes(tmp_path)
    old, young = (tmp_path / "prepared" / f".{index.name}.{end}.partial" for end in ("old", "young"))
    for partial in (old, young):
        partial.mkdir()
        (partial / "known").write_bytes(b"")
    past = time.time() - 3700
    os.utime(old / "known", (past, past))
    os.utime(old, (past, past))
    os.utime(young, (past, past))  # but its file grows
    pq.write_table(table(values=[2.0]), data / "a.parquet")
    assert values(store, frame([1])) == [2.0]
    assert not old.exists()
    assert young.exists()


def test_two_indexes_of_a_source_are_kept_and_those_in_use(open_store, data, tmp_path):
    store, made = open_store(), []
    for value in range(4):
        pq.write_table(table(values=[float(value)]), data / "a.parquet")
        assert values(store, frame([1])) == [value]
        (new,) = set(indexes(tmp_path)) - set(made)
        made.append(new)
    assert set(indexes(tmp_path)) == set(made)  # opened just now
    past = time.time() - 400
    for index in made:
        os.utime(index, (past, past))
    assert values(store, frame([1])) == [3.0]
    assert made[3].stat().st_mtime > past + 300  # touched when it was opened
    os.utime(made[2], (past + 1, past + 1))
    pq.write_table(table(values=[9.0]), data / "a.parquet")
    assert values(store, frame([1])) == [9.0]
    assert set(indexes(tmp_path)) & set(made) == {made[3]}


def test_an_index_that_lost_rows_or_files_is_made_again(open_store, data, tmp_path):
    store = open_store()
    assert values(store, frame([1])) == [1.0]
    (index,) = indexes(tmp_path)
    assert json.loads((index / "manifest.json").read_text()) == {"keys": 1, "rows": 1}
    spoil = {
        "known": lambda path: path.write_bytes(b""),
        "rid": lambda path: path.write_bytes(b"abc"),
        "event": lambda path: path.unlink(),
        "keys.parquet": lambda path: path.write_bytes(b"PAR1"),
        "manifest.json": lambda path: path.unlink(),
    }
    for name, damage in spoil.items():
        damage(index / name)
        assert values(store, frame([1])) == [1.0]
        assert prepared._open_whole(index) is not None, name


def test_a_join_whose_index_goes_makes_it_once_more(open_store, data, tmp_path, monkeypatch, caplog):
    made = []

    def made_then_deleted(connection, view, directory, stop):
        index = prepared.kept_index(connection, view, directory, stop)
        made.append(index)
        if len(made) == 1:
            (folder,) = directory.iterdir()
            (folder / "keys.parquet").unlink()
        return index

    monkeypatch.setattr(historical, "kept_index", made_then_deleted)
    with caplog.at_level(logging.WARNING):
        assert values(open_store(), frame([1])) == [1.0]
    assert len(made) == 2
    assert "no index is kept" not in caplog.text


def two_views(open_store, settings):
    """Open a store of two views of two sources, the first named `view`."""
    first = view_of("data")
    source = FileSource(name="second", path="data/a.parquet", timestamp_field="event_timestamp")
    second = FeatureView(name="other", entities=[person], source=source, schema=first.schema)
    store = open_store(first, settings)
    store.apply([second])
    return lambda: store.get_historical_features(frame(), ["view:value", "other:value"], full_feature_names=True)


@BOTH
def test_an_interrupt_ends_a_join_that_makes_an_index_and_nothing_is_begun_anew(
    open_store, data, tmp_path, monkeypatch, caplog, settings
):
    begun = []

    def endless(view, *_):
        begun.append(view.source.name)
        Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        return "select 1::bigint as id, i as known, i as event, i as rid from range(1000000000000) t(i)"

    job = two_views(open_store, settings)()
    monkeypatch.setattr(prepared, "index_rows", endless)
    monkeypatch.setattr(historical, "join_view", lambda *_: pytest.fail("joins"))
    start = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        job.to_arrow()
    assert time.monotonic() - start < 5
    assert len(begun) == 1
    assert not caplog.text
    assert not list(tmp_path.glob("prepared/.*.partial"))


@pytest.mark.parametrize("fails", [0, 1])
def test_a_view_that_fails_ends_the_other_and_is_the_one_that_is_told_of(open_store, data, monkeypatch, fails):
    names = ["source", "second"]
    both = Barrier(2)

    def join_view(connection, view, *_):
        both.wait(5)
        if view.source.name == names[fails]:
            raise UnavailableError(f"{view.source.name} is broken")
        time.sleep(0.1)  # a query that begins after it was to end
        connection.execute("select sum(hash(i)) from range(10000000000000) t(i)").fetchall()

    job = two_views(open_store, "threads: 2")()
    monkeypatch.setattr(historical, "join_view", join_view)
    start = time.monotonic()
    with pytest.raises(UnavailableError, match=f"{names[fails]} is broken"):
        job.to_arrow()
    assert time.monotonic() - start < 5


def test_want_of_memory_for_an_index_is_not_taken_for_a_folder_that_cannot_be_written(
    open_store, data, monkeypatch, caplog
):
    made = []

    def out_of_memory(*_):
        made.append(1)
        yield pa.record_batch({"id": [1], "known": [1], "event": [1], "rid": [0]})
        raise OSError("Out of Memory Error: failed to pin block")  # as pyarrow has it of DuckDB

    real = prepared._read
    monkeypatch.setattr(prepared, "_read", lambda _: real(out_of_memory()))
    with caplog.at_level(logging.WARNING), pytest.raises(UnavailableError, match="failed to pin block"):
        values(open_store(), frame([1]))
    assert made == [1]
    assert not caplog.text


def test_no_join_fails_for_want_of_an_index_that_is_kept(open_store, data, tmp_path, caplog):
    (tmp_path / "prepared").write_text("a file")
    store = open_store()
    with caplog.at_level(logging.WARNING):
        assert values(store, frame()) == [1.0, None]
    assert caplog.text.count("no index is kept in") == 1


def test_files_that_cannot_be_read_are_one_line(open_store, data):
    store = open_store()
    job = ask(store, frame())
    (data / "b.parquet").write_bytes(b"PAR1 this is none PAR1")
    for failing in (job.to_arrow, lambda: ask(store, frame())):
        with pytest.raises(UnavailableError, match="source source cannot be read: ") as caught:
            failing()
        assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_nothing_appended(open_store, data, monkeypatch):
    store = open_store()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("feature_repo.stores.offline_job.os.fsync", full)
    with pytest.raises(UnavailableError, match=r"No space left on device\); nothing was appended: make room"):
        store.write_to_offline_store("view", table().to_pandas())
    assert [path.name for path in data.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        (frame([2**70, 1]), "more than 64 bits"),
        (frame(at=1_772_366_400), "'event_timestamp' is int64, not instants"),
        (frame(at=1_772_366_400.5), "'event_timestamp' is double, not instants"),
        ("create table x (i int)", "has no rows to join: give a SELECT"),
        ("select * frm x", r"failed: .*syntax error[^\n]*$"),
    ],
)
def test_frames_that_cannot_be_joined_are_refused_in_one_line(open_store, data, entity, message):
    with pytest.raises(InputError, match=message) as caught:
        ask(open_store(), entity)
    assert "\n" not in str(caught.value)


def test_instants_as_text_are_iso_8601_in_any_of_its_forms(open_store, data):
    entity = frame([1] * 3).assign(
        event_timestamp=["2026-03-02", "2026-03-01T13:00:00.5+02:00", "2026-03-01 12:00:00Z"]
    )
    assert values(open_store(), entity) == [1.0, None, 1.0]
    with pytest.raises(InputError, match="cannot be read as instants"):
        ask(open_store(), frame([1]).assign(event_timestamp="03/02/2026"))


@BOTH
@pytest.mark.parametrize("kind", ["object", "float64"])
def test_an_empty_frame_of_any_type_has_an_empty_result(tmp_path, open_store, settings, kind):
    (tmp_path / "data").mkdir()
    pq.write_table(table(name=["a"]), tmp_path / "data" / "a.parquet")
    named = Entity(name="named", join_keys=["name"], value_type=ValueType.STRING)
    source = FileSource(path="data", timestamp_field="event_timestamp")
    store = open_store(settings=settings)
    view = FeatureView(name="view", entities=[named], source=source, schema=[Field(name="value", dtype=Float64)])
    store.apply([named, view])
    result = ask(store, pd.DataFrame({"name": pd.Series([], dtype=kind), "event_timestamp": pd.Series([], dtype=kind)}))
    assert result.to_arrow().column_names == ["name", "event_timestamp", "value"]
    assert result.to_arrow().num_rows == 0


def test_folders_above_the_source_are_no_partitions(open_store, tmp_path):
    folder = tmp_path / "id=7" / "source"
    folder.mkdir(parents=True)
    pq.write_table(table([1]), folder / "a.parquet")
    for path in (folder, folder / "*.parquet", folder / "a.parquet"):
        store = open_store(view_of(path))
        assert values(store, frame([1, 7])) == [1.0, None]
    store = open_store(view_of(folder))
    store.write_to_offline_store("view", table([2], values=[5.0]).to_pandas())
    assert values(store, frame([1, 2])) == [1.0, 5.0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "a\n1\n" + "9" * 200_000 + "\n", "line 3: not CSV"),
        ("x.jsonl", '{"a": 1}\n' + "[" * 200_000 + "\n", "line 2: nested too deeply"),
        ("x.jsonl", "\n", "there are no events"),
        ("x.csv", "a\n", "there are no events"),
    ],
)
def test_events_that_cannot_be_read_name_their_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_events(str(tmp_path / name), pa.schema([("a", pa.int64())]))


def test_nothing_on_standard_input_is_said(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(InputError, match="there are no events"):
        read_events("-", pa.schema([("a", pa.int64())]))
