import io
import socket
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType
from feast.data_source import PushMode
from feast.types import Bool, Float64, Int64, String

from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores.event_schema import event_schema
from feature_repo.stores.events import read_events
from feature_repo.stores.push import append_events, push
from tests.contract.online_harness import END, ENGINE, OURS, START, a_redis

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVENT = {
    "applicant_id": "A1",
    "event_timestamp": NOW - HOUR,
    "created_timestamp": NOW - HOUR,
    "ratio": 0.5,
    "count": 3,
    "flag": True,
    "home": "OWN",
    "age": 40,
}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with a_redis(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
def store(tmp_path, port):
    return a_store(tmp_path, port)


def a_store(root, port):
    config = RepoConfig(
        project=root.name,
        provider="local",
        registry=str(root / "registry.db"),
        online_store={"type": OURS, "connection_string": f"127.0.0.1:{port}"},
        offline_store={"type": "feature_repo.stores.offline.CandorOfflineStore"},
        batch_engine={"type": ENGINE},
        entity_key_serialization_version=3,
        repo_path=str(root),
    )
    folder = root / "sources" / "events"
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema({name: pa.scalar(value).type for name, value in EVENT.items()})
    schema = schema.set(1, schema.field(1).with_type(pa.timestamp("us", "UTC")))
    schema = schema.set(2, schema.field(2).with_type(pa.timestamp("us", "UTC")))
    old = EVENT | {"event_timestamp": NOW - 48 * HOUR, "created_timestamp": NOW - 48 * HOUR, "ratio": 0.25}
    pq.write_table(pa.Table.from_pylist([old], schema), folder / "old.parquet")
    source = FileSource(
        name="events",
        path=str(folder / "**" / "*.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    applicant = Entity(name="applicant", join_keys=["applicant_id"], value_type=ValueType.STRING)
    fields = {"ratio": Float64, "count": Int64, "flag": Bool, "home": String}
    pushed = PushSource(name="events_push", batch_source=source)

    def view(name, source, online=True, **fields):
        schema = [Field(name=field, dtype=dtype) for field, dtype in fields.items()]
        return FeatureView(
            name=name, entities=[applicant], ttl=timedelta(days=30), source=source, schema=schema, online=online
        )

    store = FeatureStore(config=config)
    views = [
        view("facts", source, **fields),
        view("more", source, ratio=Float64),
        view("hidden", source, online=False, age=Int64),
        view("by_feast", pushed, **fields),
    ]
    store.apply([applicant, source, pushed, *views])
    return store


def table(*events):
    rows = [EVENT | event for event in events]
    return pa.table({name: pa.array([row[name] for row in rows]) for name in rows[0]})


def served(store, *features):
    answer = store.get_online_features(list(features), [{"applicant_id": "A1"}]).to_dict()
    return [answer[feature.partition(":")[2]][0] for feature in features]  # Feast answers in no order


def appended(root):
    return sorted((root / "sources" / "events").glob("appended-*.parquet"))


def test_an_event_is_in_history_and_served_at_once_in_every_view_of_its_source(store, tmp_path):
    done = push(store, "facts", table({}), NOW)
    assert done.events == 1
    assert done.served == 3
    assert served(store, "facts:ratio", "facts:count", "facts:flag", "facts:home") == [0.5, 3, True, "OWN"]
    assert served(store, "more:ratio") == [0.5]
    frame = pd.DataFrame({"applicant_id": ["A1", "A1"], "event_timestamp": [NOW, NOW - 2 * HOUR]})
    history = store.get_historical_features(frame, ["facts:ratio", "facts:count"]).to_df()
    assert history.sort_values("event_timestamp")["ratio"].tolist() == [0.25, 0.5]
    assert len(appended(tmp_path)) == 1


def test_an_older_event_is_history_only(store):
    push(store, "facts", table({}), NOW)
    older = table({"event_timestamp": NOW - 2 * HOUR, "ratio": 0.9})
    assert push(store, "facts", older, NOW).served == 0
    assert served(store, "facts:ratio") == [0.5]


def test_of_several_events_of_one_applicant_the_newest_is_served(store):
    times = [NOW - 3 * HOUR, NOW - HOUR, NOW - 2 * HOUR]
    events = [{"event_timestamp": time, "ratio": number / 10} for number, time in enumerate(times)]
    push(store, "facts", table(*events, {"event_timestamp": NOW - HOUR, "created_timestamp": NOW, "ratio": 0.7}), NOW)
    assert served(store, "facts:ratio") == [0.7]


def test_what_was_corrected_stays_corrected_when_the_original_comes_again(store):
    original, corrected = {"ratio": 0.1}, {"ratio": 0.2, "created_timestamp": NOW}
    for event in (original, corrected, original):
        done = push(store, "facts", table(event), NOW)
    assert done.served == 0
    assert [served(store, f"{view}:ratio") for view in ("facts", "more", "by_feast")] == [[0.2]] * 3
    frame = pd.DataFrame({"applicant_id": ["A1"], "event_timestamp": [NOW]})
    assert store.get_historical_features(frame, ["facts:ratio"]).to_df()["ratio"].tolist() == [0.2]


def test_what_it_corrects_may_come_after_the_correction(store):
    push(store, "facts", table({"ratio": 0.2, "created_timestamp": NOW}), NOW)
    assert push(store, "facts", table({"ratio": 0.1}), NOW).served == 0
    assert [served(store, f"{view}:ratio") for view in ("facts", "more")] == [[0.2]] * 2


def test_a_push_serves_what_the_source_knew_already_and_touches_no_other_applicant(store):
    append_events(store, "facts", table({}, {"applicant_id": "A2"}), NOW)
    older = {"event_timestamp": NOW - 3 * HOUR, "ratio": 0.9}
    assert push(store, "facts", table(older), NOW).served == 0
    assert served(store, "facts:ratio") == [0.5]
    other = store.get_online_features(["facts:ratio"], [{"applicant_id": "A2"}]).to_dict()
    assert other["ratio"] == [None]


def test_pushing_again_changes_nothing(store, tmp_path):
    for _ in range(2):
        assert push(store, "facts", table({}), NOW).events == 1
        frame = pd.DataFrame({"applicant_id": ["A1"], "event_timestamp": [NOW]})
        assert served(store, "facts:ratio") == [0.5]
        assert store.get_historical_features(frame, ["facts:ratio"]).to_df()["ratio"].tolist() == [0.5]
    assert len(appended(tmp_path)) == 1


def test_of_events_given_again_with_new_ones_the_new_are_appended(store, tmp_path):
    nulls = {"ratio": float("nan"), "home": None, "event_timestamp": NOW - 2 * HOUR}
    push(store, "facts", table({}, nulls), NOW)
    push(store, "facts", table({}, {"applicant_id": "A2"}, nulls), NOW)
    rows = [pq.read_table(path).to_pylist() for path in appended(tmp_path)]
    assert sorted([row["applicant_id"] for row in file] for file in rows) == [["A1", "A1"], ["A2"]]
    assert {row["ratio"] for file in rows for row in file} == {0.5, None}


def test_other_values_of_the_same_key_and_times_are_refused(store, tmp_path):
    push(store, "facts", table({}), NOW)
    with pytest.raises(InputError, match="events holds other values for applicant_id A1, .* a correction has a later"):
        push(store, "facts", table({"applicant_id": "A2"}, {"home": None}), NOW)
    assert len(appended(tmp_path)) == 1
    assert served(store, "facts:home") == ["OWN"]
    push(store, "facts", table({"home": None, "created_timestamp": NOW}), NOW)
    assert served(store, "facts:home") == [None]


def test_a_view_over_a_push_source_is_pushed_to_as_one_over_its_source(store, tmp_path):
    assert event_schema(store, "by_feast").equals(event_schema(store, "facts"))
    assert push(store, "by_feast", table({}), NOW).served == 3
    assert [served(store, f"{view}:ratio") for view in ("by_feast", "facts", "more")] == [[0.5]] * 3
    assert len(appended(tmp_path)) == 1


def test_repeated_text_of_a_parquet_file_is_text(store):
    coded = table({}).set_column(6, "home", pa.array(["OWN"]).dictionary_encode())
    push(store, "facts", coded, NOW)
    assert served(store, "facts:home") == ["OWN"]


def test_without_a_created_time_events_become_known_now(store, tmp_path):
    push(store, "facts", table({}).drop_columns("created_timestamp"), NOW)
    (path,) = appended(tmp_path)
    assert duckdb.sql(f"select epoch_us(created_timestamp) from '{path}'").fetchall() == [(int(NOW.timestamp() * 1e6),)]


def test_when_redis_is_away_the_event_is_in_history_and_a_second_push_serves_it(tmp_path, port):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = probe.getsockname()[1]
    broken = a_store(tmp_path, dead)
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{dead} cannot be reached; the events are in the source"):
        push(broken, "facts", table({}), NOW)
    assert len(appended(tmp_path)) == 1
    store = a_store(tmp_path, port)
    push(store, "facts", table({}), NOW)
    assert served(store, "facts:ratio") == [0.5]


def test_a_reader_never_sees_a_half_written_file(store, tmp_path, monkeypatch):
    def no_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_disk)
    with pytest.raises(UnavailableError, match="No space left.*nothing was appended"):
        push(store, "facts", table({}), NOW)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "sources" / "events").iterdir()] == ["old.parquet"]
    assert served(store, "facts:ratio") == [None]


NAIVE = pa.array([datetime(2026, 1, 1)], pa.timestamp("us"))
WRONG = {
    "column ratio: string where double belongs": lambda t: t.set_column(3, "ratio", pa.array(["0.5"])),
    "column count: double values are not int64": lambda t: t.set_column(4, "count", pa.array([1.5])),
    "column home: int64 where string belongs": lambda t: t.set_column(6, "home", pa.array([1])),
    "column event_timestamp: instants need a time zone": lambda t: t.set_column(1, "event_timestamp", NAIVE),
    "column event_timestamp: 1 events have none": lambda t: t.set_column(
        1, "event_timestamp", pa.nulls(1, pa.timestamp("us", "UTC"))
    ),
    "column applicant_id: 1 events have none": lambda t: t.set_column(0, "applicant_id", pa.nulls(1, pa.string())),
    "column event_timestamp: .* is later than now": lambda t: t.set_column(
        1, "event_timestamp", pa.array([NOW + HOUR])
    ),
    r"column applicant_id: 'A\\x001' must consist of printable": lambda t: t.set_column(
        0, "applicant_id", pa.array(["A\x001"])
    ),
    "column applicant_id: '' must not be empty": lambda t: t.set_column(0, "applicant_id", pa.array([""])),
    "column age: missing; every column of source events": lambda t: t.drop_columns("age"),
    "column rato: unknown": lambda t: t.append_column("rato", pa.array([1.0])),
    "column ratio: twice": lambda t: t.append_column("ratio", pa.array([1.0])),
    "there are no events": lambda t: t.slice(0, 0),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_with_an_event_is_named_and_nothing_is_written(store, tmp_path, message):
    with pytest.raises(InputError, match=message):
        push(store, "facts", WRONG[message](table({})), NOW)
    assert appended(tmp_path) == []
    assert served(store, "facts:ratio") == [None]


def test_an_unknown_view_is_named(store):
    with pytest.raises(InputError, match="no feature view 'fact'"):
        push(store, "fact", table({}), NOW)


def test_feasts_own_push_goes_the_same_way(store, tmp_path):
    frame = table({}).to_pandas()
    store.push("events_push", frame, to=PushMode.ONLINE_AND_OFFLINE)
    older = frame.assign(event_timestamp=NOW - 5 * HOUR, ratio=0.1)
    store.push("events_push", older, to=PushMode.ONLINE_AND_OFFLINE)
    assert served(store, "by_feast:ratio", "by_feast:home") == [0.5, "OWN"]
    assert len(appended(tmp_path)) == 2


def test_feasts_own_push_takes_nothing_from_the_future_into_redis(store, tmp_path):
    later = table({}).to_pandas().assign(event_timestamp=pd.Timestamp.now("UTC") + 2 * HOUR)
    with pytest.raises(InputError, match=r"view by_feast: event time \d{4}-.* is later than now, "):
        store.push("events_push", later, to=PushMode.ONLINE_AND_OFFLINE)
    assert served(store, "by_feast:ratio") == [None]
    assert appended(tmp_path) == []
    store.push("events_push", later.assign(event_timestamp=pd.Timestamp.now("UTC") + HOUR / 120), to=PushMode.ONLINE)
    assert served(store, "by_feast:ratio") == [0.5]


def test_what_was_pushed_is_materialized_again_alike(store):
    push(store, "facts", table({}), NOW)
    store.materialize(START, END, feature_views=["facts"])
    assert served(store, "facts:ratio") == [0.5]


LINE = (
    '{"applicant_id": "A1", "event_timestamp": "2025-06-01T13:00:00+02:00", "ratio": 1, "count": 3, "flag": true,'
    ' "home": null, "age": 40}\n'
)
CSV = "applicant_id,event_timestamp,ratio,count,flag,home,age\n007,2025-06-01T11:00:00Z,1,3.0,true,,40\n"


def test_json_lines_and_csv_say_the_same(store, tmp_path, monkeypatch):
    schema = event_schema(store, "facts")
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "a.jsonl").write_text(LINE + "\n" + LINE)
    read = [read_events(str(tmp_path / name), schema) for name in ("a.jsonl", "a.csv")]
    assert [[events.place(row) for row in range(len(events.table))] for events in read] == [
        ["line 1", "line 3"],
        ["line 2"],
    ]
    lines, cells = (events.table for events in read)
    assert lines.drop_columns("applicant_id").slice(0, 1).to_pylist() == cells.drop_columns("applicant_id").to_pylist()
    assert cells["applicant_id"].to_pylist() == ["007"]
    assert lines["event_timestamp"][0].as_py() == NOW - HOUR
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(LINE.encode())))
    assert read_events("-", schema).table.equals(lines.slice(0, 1).combine_chunks())
    push(store, "facts", lines, NOW)
    pq.write_table(lines, tmp_path / "a.parquet")
    rows = read_events(str(tmp_path / "a.parquet"), schema)
    assert [rows.place(row) for row in range(len(rows.table))] == ["row 1", "row 2"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "{", "line 1: not JSON"),
        ("a.jsonl", "\n[1]", "line 2: an event is a JSON object"),
        ("a.jsonl", LINE.replace('"ratio": 1', '"ratio": "x"'), "line 1, column ratio: 'x' is no double"),
        ("a.jsonl", LINE.replace('"count": 3', '"count": 3.5'), "line 1, column count: 3.5 is no int64"),
        ("a.jsonl", LINE.replace('"count": 3', '"count": 1e999'), "line 1, column count: inf is no int64"),
        ("a.jsonl", LINE.replace('"count": 3', f'"count": {2**64}'), f"line 1, column count: {2**64} is no int64"),
        ("a.jsonl", LINE.replace('"ratio": 1', '"ratio": true'), "line 1, column ratio: True is no double"),
        ("a.jsonl", LINE.replace('"flag": true', '"flag": 1'), "line 1, column flag: 1 is no bool"),
        ("a.jsonl", LINE.replace('"home": null', '"home": 1'), "line 1, column home: 1 is no string"),
        ("a.jsonl", LINE.replace('"2025-06-01T13:00:00+02:00"', "5"), "line 1, column event_timestamp: 5 is no time"),
        ("a.csv", CSV.replace(",3.0,", ",1_0,"), "line 2, column count: '1_0' is no int64"),
        ("a.csv", CSV.replace(",1,3.0,", ",1_0,3.0,"), "line 2, column ratio: '1_0' is no double"),
        ("a.csv", CSV.replace(",3.0,", ",3.5,"), "line 2, column count: '3.5' is no int64"),
        ("a.jsonl", LINE.replace("+02:00", ""), "line 1, column event_timestamp: .* is no timestamp"),
        ("a.jsonl", LINE.replace("ratio", "rato"), "column rato: unknown"),
        ("a.jsonl", LINE + LINE.replace('"ratio": 1,', ""), "line 2, column ratio: missing; null says"),
        ("a.csv", CSV.replace("true", "maybe"), "line 2, column flag: 'maybe' is no bool"),
        ("a.csv", CSV.replace(",40", ""), "line 2: not as many cells"),
        ("a.csv", CSV.replace(",40", ",40,50"), "line 2: not as many cells"),
        ("a.parquet", "x", "is no Parquet file"),
        ("a.txt", "x", "events come as .jsonl"),
    ],
)
def test_what_cannot_be_read_is_named(store, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_events(str(tmp_path / name), event_schema(store, "facts"))
    with pytest.raises(InputError, match="cannot be read"):
        read_events(str(tmp_path / "nowhere.csv"), event_schema(store, "facts"))
