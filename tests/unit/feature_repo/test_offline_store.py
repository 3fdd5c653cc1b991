"""What the offline store refuses, keeps, appends and survives."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Barrier

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.errors import EntityTimestampInferenceException, FeastError
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.types import Float64, Int64

from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores.asof import ViewJoin, bounds, index_rows
from feature_repo.stores.lookup import worth_testing
from feature_repo.stores.offline import CandorOfflineStore
from feature_repo.stores.offline_source import open_source
from feature_repo.stores.offline_stop import Stop
from feature_repo.stores.prepared import kept_index

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
person = Entity(name="person", join_keys=["id"], value_type=ValueType.INT64)


def instants(values):
    return pa.array(values, pa.timestamp("us", tz="UTC"))


def table(ids=(1,), events=(NOW,), created=None, values=(1.0,), **more):
    columns = {"id": pa.array(ids, pa.int64()), "event_timestamp": instants(events)}
    columns |= {"created_timestamp": instants(created or events), "value": pa.array(values, pa.float64())}
    return pa.table(columns | more)


def view_of(path, ttl=None, entities=(person,), **source):
    times = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_timestamp"}
    return FeatureView(
        name="view",
        entities=list(entities),
        ttl=ttl or timedelta(0),
        source=FileSource(name="source", path=str(path), **(times | source)),
        schema=[*([Field(name="id", dtype=Int64)] if entities else []), Field(name="value", dtype=Float64)],
    )


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(table(), folder / "a.parquet")
    return folder


@pytest.fixture
def open_store(tmp_path):
    def opened(view=None, settings="prepared_directory: prepared"):
        (tmp_path / "feature_store.yaml").write_text(
            "project: p\nprovider: local\nregistry: registry.db\nonline_store: {type: sqlite, path: online.db}\n"
            "offline_store:\n  type: feature_repo.stores.offline.CandorOfflineStore\n"
            f"  {settings}\nentity_key_serialization_version: 3\n"
        )
        store = FeatureStore(str(tmp_path))
        store.apply([person, view or view_of("data")])
        return store

    return opened


def frame(ids=(1, 2), at=NOW, **more):
    return pd.DataFrame({"id": list(ids), "event_timestamp": [at] * len(ids)} | more)


def ask(store, entity, **options):
    return store.get_historical_features(entity, ["view:value"], **options)


def values(store, entity):
    return ask(store, entity).to_arrow()["value"].to_pylist()


def test_a_key_that_nobody_has_gets_null(open_store, data):
    assert values(open_store(), frame()) == [1.0, None]


@pytest.mark.parametrize("settings", ["prepared_directory: prepared", "threads: 1"])
def test_of_equal_rows_the_one_written_last_is_seen(open_store, data, settings):
    pq.write_table(table([1, 1], [NOW] * 2, values=[3.0, 2.0]), data / "0.parquet")
    store = open_store(settings=settings)
    assert values(store, frame([1])) == [1.0]  # a.parquet sorts after 0.parquet
    for value in (7.0, 6.0):
        store.write_to_offline_store("view", table(values=[value]).to_pandas())
        assert values(store, frame([1])) == [value]  # appended- sorts before a.parquet, but was written later
    (data / "a.parquet").unlink()
    for appended in data.glob("appended-*"):
        appended.unlink()
    assert values(store, frame([1])) == [2.0]


def test_a_changed_file_gets_a_new_index_and_an_old_one_goes_after_an_hour(open_store, data, tmp_path, monkeypatch):
    store = open_store()
    assert values(store, frame([1])) == [1.0]
    assert values(store, frame([1])) == [1.0]
    (first,) = (tmp_path / "prepared").iterdir()
    pq.write_table(table(values=[5.0]), data / "a.parquet")
    assert values(store, frame([1])) == [5.0]
    assert len(list((tmp_path / "prepared").iterdir())) == 2
    now = first.stat().st_mtime + 3601
    monkeypatch.setattr("feature_repo.stores.prepared.time.time", lambda: now)
    pq.write_table(table(values=[6.0]), data / "a.parquet")
    assert values(store, frame([1])) == [6.0]
    assert first not in list((tmp_path / "prepared").iterdir())


def test_several_that_make_one_index_at_once_all_get_it(data, tmp_path):
    count, together = 20_000, Barrier(6)
    pq.write_table(table(range(count), [NOW] * count, values=range(count)), data / "a.parquet")

    def make(_):
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            source = open_source(connection, FileSource(path="data", timestamp_field="event_timestamp"), tmp_path)
            view = ViewJoin(source, {"id": "id"}, {"value": "value"}, "event_timestamp", "created_timestamp", None)
            together.wait()
            index = kept_index(connection, view, tmp_path / "prepared", Stop())
            (keys,) = connection.execute(f"select count(distinct k0) from {index.keys}").fetchone()
            return keys, len(set(index.rid.tolist()))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(make, range(6))) == [(count, count)] * 6
    (folder,) = (tmp_path / "prepared").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["event", "keys.parquet", "known", "manifest.json", "rid"]


def test_rows_read_while_their_file_is_replaced_are_not_returned(open_store, data, monkeypatch):
    store = open_store()
    job = ask(store, frame())

    def replaced(*arguments):
        pq.write_table(table([1, 1], [NOW] * 2, values=[8.0, 9.0]), data / "a.parquet")
        return real(*arguments)

    real = __import__("feature_repo.stores.historical", fromlist=["join_view"]).join_view
    monkeypatch.setattr("feature_repo.stores.historical.join_view", replaced)
    with pytest.raises(UnavailableError, match=r"source source: .*a\.parquet changed while it was being read"):
        job.to_arrow()


def test_results_come_as_arrow_pandas_and_a_duckdb_relation(open_store, data):
    job = ask(open_store(), frame())
    assert job.to_arrow().schema.field("event_timestamp").type == pa.timestamp("us", tz="UTC")
    assert job.to_df()["value"].isna().tolist() == [False, True]
    assert job.to_relation().filter("value = 1").fetchall()[0][0] == 1
    with duckdb.connect() as mine:
        assert job.to_relation(mine).aggregate("count(*)").fetchone() == (2,)
    assert job.metadata.keys == ["id"]
    assert job.metadata.max_event_timestamp == NOW
    assert not job.supports_remote_storage_export()
    with pytest.raises(NotImplementedError, match="remote storage"):
        job.to_remote_storage()
    with pytest.raises(InputError, match="SavedDatasetFileStorage, not to str"):
        job.persist("somewhere")


@pytest.mark.parametrize(
    ("entity", "error", "message"),
    [
        (None, InputError, "time range"),
        ([1], InputError, "is a list"),
        ("select * from nowhere", InputError, "nowhere"),
        ("create table x (i int)", InputError, "read as a DuckDB query"),
        (frame().drop(columns="id"), InputError, "lacks join key 'id'"),
        (frame(["1", "2"]), InputError, "join key 'id' is string in the entity frame, BIGINT in source"),
        (frame(value=[1, 2]), InputError, "feature 'value' has the name of a column"),
        (frame(VALUE=[1, 2]), InputError, "feature 'value' has the name of a column"),
        (frame(x=[1, "one"]), InputError, "column x"),
        (frame().rename(columns={"event_timestamp": "x"}).assign(y=NOW), EntityTimestampInferenceException, ""),
        (frame().assign(event_timestamp="soon"), InputError, "'event_timestamp' cannot be read as instants"),
        (frame(X=[1, 2], x=[1, 2]), InputError, "two columns named 'x'"),
    ],
)
def test_a_wrong_entity_frame_is_refused_by_name(open_store, data, entity, error, message):
    with pytest.raises(error, match=message):
        ask(open_store(), entity)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({"path": "data/*.csv"}, UnavailableError, "source source: no Parquet file matches"),
        ({"path": "s3://bucket/x.parquet"}, InputError, "is not on this machine"),
        ({"path": "data", "file_format": DeltaFormat()}, InputError, "DeltaFormat; this store reads Parquet only"),
        ({"path": "data", "created_timestamp_column": "made"}, InputError, "no column 'made'"),
        ({"path": "data", "timestamp_field": "value"}, InputError, "'value' is DOUBLE, not a timestamp"),
        ({"path": "data", "field_mapping": {"old": "value"}}, InputError, "no column 'old'"),
    ],
)
def test_a_source_that_cannot_be_joined_is_refused_by_name(open_store, data, source, error, message):
    view = view_of(**source)
    store = open_store()
    stored = store.get_feature_view("view")
    stored.batch_source = view.batch_source
    with pytest.raises(error, match=message):
        CandorOfflineStore.get_historical_features(store.config, [stored], ["view:value"], frame(), store.registry, "p")


def test_settings_that_duckdb_does_not_know_are_named(open_store, data):
    with pytest.raises(InputError, match=r"offline_store in feature_store\.yaml.*Memory must have"):
        values(open_store(settings="memory_limit: much"), frame())


def test_a_query_finds_files_from_the_repo_and_none_of_our_variables(open_store, data):
    store = open_store()
    query = "select id, event_timestamp + interval 1 hour as event_timestamp from 'data/a.parquet'"
    assert values(store, query) == [1.0]
    entity = frame()
    with pytest.raises(InputError, match="entity"):
        ask(store, "select * from entity")
    assert len(entity) == 2


def test_odd_frames_are_joined(open_store, data):
    store = open_store()
    assert values(store, frame([])) == []
    assert values(store, frame([1], at=pd.NaT)) == [None]
    assert values(store, frame([1], at=date(2026, 3, 2))) == [1.0]
    assert values(store, frame([1.0, np.nan])) == [1.0, None]
    assert values(store, pd.DataFrame({"id": pd.array([1, None], "Int32"), "event_timestamp": [NOW] * 2})) == [
        1.0,
        None,
    ]
    assert values(store, frame([1, 1], index=[5, 5]).set_index("index")) == [1.0, 1.0]
    renamed = frame([1]).rename(columns={"event_timestamp": "decided"})
    assert values(store, renamed) == [1.0]


def test_a_source_may_have_columns_named_as_ours(tmp_path, open_store):
    names = ["row", "rid", "id", "t", "k0", "k1", "f1", "f0", "known", "newest", "kept", "next_known", "s", "found"]
    (tmp_path / "data").mkdir()
    columns = {name: pa.array([float(place), -1.0]) for place, name in enumerate(names)}
    times = {"event": instants([NOW, NOW + HOUR]), "created": instants([NOW, NOW + 2 * HOUR])}
    pq.write_table(pa.table({"asked": [1, 1]} | times | columns), tmp_path / "data" / "a.parquet")
    asker = Entity(name="asker", join_keys=["asked"], value_type=ValueType.INT64)
    view = FeatureView(
        name="view",
        entities=[asker],
        source=FileSource(path="data", timestamp_field="event", created_timestamp_column="created"),
        schema=[Field(name=name, dtype=Float64) for name in names],
    )
    for settings in ("prepared_directory: prepared", "threads: 2"):
        store = open_store(settings=settings)
        store.apply([asker, view])
        entity = pd.DataFrame({"asked": [1, 1], "event_timestamp": [NOW + HOUR, NOW + 2 * HOUR]})
        result = store.get_historical_features(entity, [f"view:{name}" for name in names]).to_arrow()
        assert result.select(names).to_pylist() == [
            dict(zip(names, range(14), strict=True)),
            dict.fromkeys(names, -1.0),
        ]
        job = CandorOfflineStore.pull_latest_from_table_or_query(
            store.config, view.batch_source, ["asked"], names, "event", "created", NOW, NOW + HOUR
        )
        (row,) = job.to_arrow().to_pylist()
        assert [row[name] for name in names] == list(range(14))


def test_text_keys_may_be_categories(tmp_path, open_store):
    named = Entity(name="named", join_keys=["name"], value_type=ValueType.STRING)
    (tmp_path / "data").mkdir()
    pq.write_table(table(name=["Ü'1"]), tmp_path / "data" / "a.parquet")
    view = FeatureView(
        name="view", entities=[named], source=view_of("data").batch_source, schema=[Field(name="value", dtype=Float64)]
    )
    store = open_store()
    store.apply([named, view])
    entity = pd.DataFrame({"name": pd.Categorical(["Ü'1", "x", None]), "event_timestamp": [NOW] * 3})
    assert values(store, entity) == [1.0, None, None]


def test_a_view_without_entities_has_one_history(open_store, data):
    pq.write_table(table([1, 2], [NOW, NOW + HOUR], values=[1.0, 2.0]), data / "a.parquet")
    store = open_store(view_of("data", entities=()))
    asked = pd.DataFrame({"event_timestamp": [NOW - HOUR, NOW, NOW + 2 * HOUR]})
    assert values(store, asked) == [None, 1.0, 2.0]


def test_files_of_before_a_feature_came_have_nulls_and_instants_without_a_zone_are_utc(open_store, data):
    old = table([3], values=[None]).drop_columns(["value"])
    naive = old["event_timestamp"].cast(pa.timestamp("us"))
    pq.write_table(old, data / "0.parquet")
    store = open_store()
    assert values(store, frame([1, 3])) == [1.0, None]
    for name in data.iterdir():
        name.unlink()
    pq.write_table(
        table().set_column(1, "event_timestamp", naive).set_column(2, "created_timestamp", naive), data / "n.parquet"
    )
    assert values(store, pd.concat([frame([1]), frame([1], NOW - HOUR)])) == [1.0, None]
    assert values(open_store(settings="threads: 2"), frame([1])) == [1.0]


def test_partitions_are_columns_and_cannot_be_appended_to(open_store, tmp_path):
    for day in (1, 2):
        folder = tmp_path / "data" / f"day=2026-03-0{day}"
        folder.mkdir(parents=True)
        pq.write_table(table([day], values=[day]), folder / "a.parquet")
    store = open_store()
    assert values(store, frame([1, 2])) == [1.0, 2.0]
    with pytest.raises(InputError, match=r"partitioned by folders \(day\)"):
        store.write_to_offline_store("view", table(day=pa.array([date(2026, 3, 3)])).to_pandas())


def test_only_files_that_can_matter_are_scanned(tmp_path):
    paths = []
    for year in range(10):
        paths.append(tmp_path / f"{year}.parquet")
        at = NOW + timedelta(days=365 * year)
        pq.write_table(table(range(50), [at] * 50, values=range(50)), paths[-1])
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        source = open_source(connection, FileSource(path="*.parquet", timestamp_field="event_timestamp"), tmp_path)
        view = ViewJoin(
            source, {"id": "id"}, {"value": "value"}, "event_timestamp", "created_timestamp", 400 * 24 * HOUR
        )
        where = bounds(view, NOW, NOW + HOUR)
        connection.execute("create temp table few as select 1::bigint as k0, 1 as id")
        (plan,) = connection.execute(f"explain {index_rows(view, 'few', where)}").fetchall()
        scan = plan[1][plan[1].index("READ_PARQUET") :]
        assert "event_timestamp<" in scan.replace(" ", "").replace("│", "").replace("\n", "")
        index = kept_index(connection, view, tmp_path / "kept", Stop())
        assert worth_testing(view, index, NOW, NOW + HOUR)
        assert not worth_testing(view, index, NOW, NOW + timedelta(days=4000))


def test_a_first_file_is_written_from_the_views_types(open_store, tmp_path, data):
    store = open_store()
    (data / "a.parquet").unlink()
    rows = table()
    CandorOfflineStore.offline_write_batch(store.config, store.get_feature_view("view"), rows, print)
    (path,) = data.iterdir()
    written = pq.read_table(path)
    assert written.select(rows.column_names).equals(rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (table().drop_columns(["value"]), r"missing \['value'\], unknown none"),
        (table(more=[1]), r"missing none, unknown \['more'\]"),
        (table().set_column(3, "value", pa.array(["x"])), "'value' is double, not string"),
        (
            table().set_column(1, "event_timestamp", pa.array([1])),
            r"'event_timestamp' is timestamp\[us, tz=UTC\], not int64",
        ),
        (table([None]), "'id' has nulls"),
        (table(created=[None]), "'created_timestamp' has nulls"),
    ],
)
def test_rows_that_do_not_fit_are_not_appended(open_store, data, rows, message):
    store = open_store()
    with pytest.raises(InputError, match=message):
        CandorOfflineStore.offline_write_batch(store.config, store.get_feature_view("view"), rows, None)
    assert len(list(data.iterdir())) == 1


def test_one_file_is_not_rewritten(open_store, data):
    store = open_store(view_of("data/a.parquet"))
    with pytest.raises(InputError, match=r"nothing can be appended to .*a\.parquet; give the source a folder"):
        store.write_to_offline_store("view", table().to_pandas())


def test_logged_features_are_appended_to_a_folder(open_store, data, tmp_path):
    config = open_store().config
    logging = LoggingConfig(destination=FileLoggingDestination(path="logs"))
    for _ in range(2):
        CandorOfflineStore.write_logged_features(config, table(), None, logging, None)
    assert pq.read_table(tmp_path / "logs").num_rows == 2
    with pytest.raises(InputError, match="partition_by"):
        CandorOfflineStore.write_logged_features(
            config, table(), None, LoggingConfig(destination=FileLoggingDestination(path="x", partition_by=["y"])), None
        )
    assert issubclass(EntityTimestampInferenceException, FeastError)
    assert Path(tmp_path / "logs").is_dir()
