"""Our offline store beside stock Feast's ``type: duckdb``: equal where that is right, and where it is not."""

import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float64, Int64, String

from feature_repo.errors import InputError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OURS = "feature_repo.stores.offline.CandorOfflineStore"


def open_store(root, kind):
    folder = root / kind.rpartition(".")[2]
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(
        f"project: p\nprovider: local\nregistry: registry.db\noffline_store: {{type: {kind}}}\n"
        "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
    )
    return FeatureStore(str(folder))


def rows(people, seed):
    """Return distinct (key, event, created) rows with late ones and corrections, on a grid of hours."""
    dice = random.Random(seed)
    seen = {}
    for _ in range(people * 12):
        who, event = f"A{dice.randrange(people)}", NOW - timedelta(hours=dice.randrange(200))
        created = event + timedelta(hours=dice.choice([0, 0, 1, 30, 100]))
        seen[who, event, created] = dice.random()
    return pa.table(
        {
            "applicant_id": [key[0] for key in seen],
            "event_timestamp": pa.array([key[1] for key in seen], pa.timestamp("us", "UTC")),
            "created_timestamp": pa.array([key[2] for key in seen], pa.timestamp("us", "UTC")),
            "ratio": list(seen.values()),
            "number": pa.array([None if value < 0.1 else int(value * 100) for value in seen.values()], pa.int64()),
            "flag": [value > 0.5 for value in seen.values()],
            "home": [f"Ü{value:.1f}" for value in seen.values()],
            "ratio_y": list(seen.values()),
            "loan": [1] * len(seen),
        }
    )


applicant = Entity(name="applicant", join_keys=["applicant_id"], value_type=ValueType.STRING)
NAMES = {"ratio": Float64, "number": Int64, "flag": Bool, "home": String}
request = RequestSource(name="request", schema=[Field(name="amount", dtype=Float64)])


def view_of(path, name="bureau", ttl=3 * DAY, extra=(), entities=(applicant,), **source):
    fields = [Field(name=field, dtype=dtype) for field, dtype in NAMES.items()]
    times = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_timestamp"}
    return FeatureView(
        name=name,
        entities=list(entities),
        ttl=ttl,
        source=FileSource(name=name, path=str(path), **(times | source)),
        schema=[*fields, *extra],
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    root = tmp_path_factory.mktemp("stock")
    for number, name in enumerate(("bureau", "cashflow")):
        (root / name).mkdir()
        pq.write_table(rows(40, number), root / name / "data.parquet")
    bureau = view_of(root / "bureau" / "data.parquet", extra=[Field(name="ratio_y", dtype=Float64),
                                                            Field(name="loan", dtype=Int64)])  # fmt: skip
    cashflow = view_of(root / "cashflow" / "data.parquet", "cashflow", ttl=timedelta(0))

    @on_demand_feature_view(
        sources=[bureau[["ratio"]], request], schema=[Field(name="burden", dtype=Float64)], mode="python"
    )
    def burden(inputs):
        return {
            "burden": [None if r is None else r * a for r, a in zip(inputs["ratio"], inputs["amount"], strict=True)]
        }

    service = FeatureService(name="service", features=[bureau[list(NAMES)], cashflow.with_name("cash")[["ratio"]]])
    stores = SimpleNamespace(root=root, ours=open_store(root, OURS), stock=open_store(root, "duckdb"))
    for store in (stores.ours, stores.stock):
        store.apply([applicant, bureau, cashflow, burden, service])
    return stores


def frame(count=400, seed=7):
    dice = random.Random(seed)
    return pd.DataFrame(
        {
            "loan": range(count),
            "applicant_id": [f"A{dice.randrange(44)}" for _ in range(count)],
            "event_timestamp": [NOW - timedelta(hours=dice.randrange(260)) for _ in range(count)],
            "amount": [dice.random() for _ in range(count)],
        }
    )


def same(one, other, key="loan"):
    one, other = (table.to_pandas().sort_values(key).reset_index(drop=True) for table in (one, other))
    pd.testing.assert_frame_equal(one[sorted(one)], other[sorted(other)])


ALL = [f"bureau:{name}" for name in NAMES]


@pytest.mark.parametrize(
    ("features", "full"),
    [
        (ALL, False),
        (ALL, True),
        ([*ALL, *(f"cashflow:{name}" for name in NAMES)], True),
        (["burden:burden"], False),
        ([*ALL, "burden:burden"], True),
    ],
)
def test_frames_are_joined_as_stock_joins_them_by_created_timestamp(both, features, full):
    answers = [
        store.get_historical_features(frame(), features, full, filter_by_created_timestamp=True).to_arrow()
        for store in (both.ours, both.stock)
    ]
    assert answers[0].column_names == answers[1].column_names
    filled = [name for name in answers[0].column_names if name.endswith(("ratio", "burden"))]
    assert all(answers[0][name].null_count < 300 for name in filled)
    same(*answers)


def test_a_service_with_an_alias_is_served_as_stock_serves_it(both):
    same(
        *(
            store.get_historical_features(
                frame(), store.get_feature_service("service"), True, filter_by_created_timestamp=True
            ).to_arrow()
            for store in (both.ours, both.stock)
        )
    )


def test_instants_without_a_zone_are_utc_and_text_is_read_as_stock_reads_it(both):
    expected = both.ours.get_historical_features(frame(), ALL).to_arrow()
    for times in (frame()["event_timestamp"].dt.tz_localize(None), frame()["event_timestamp"].astype(str),
                  frame()["event_timestamp"].dt.tz_convert("America/New_York")):  # fmt: skip
        for store in (both.ours, both.stock):
            asked = frame().assign(event_timestamp=times)
            same(store.get_historical_features(asked, ALL, filter_by_created_timestamp=True).to_arrow(), expected)


def test_created_filter_off_means_on_here_and_a_leak_in_stock(both):
    ours, stock = (store.get_historical_features(frame(), ALL).to_arrow() for store in (both.ours, both.stock))
    told = both.ours.get_historical_features(frame(), ALL, filter_by_created_timestamp=True).to_arrow()
    assert ours.equals(told)
    with pytest.raises(AssertionError):
        same(ours, stock)


def test_rows_keep_the_frames_order_with_duplicates(both):
    asked = pd.concat([frame(), frame().iloc[::3]], ignore_index=True)
    result = both.ours.get_historical_features(asked, ALL).to_arrow()
    for name in ("loan", "applicant_id", "amount"):
        assert result[name].to_pylist() == asked[name].tolist()
    stock = both.stock.get_historical_features(asked, ALL, filter_by_created_timestamp=True).to_arrow()
    assert stock["loan"].to_pylist() != asked["loan"].tolist()


def test_a_sql_frame_is_read_and_stock_fails_on_it(both):
    path = both.root / "frame.parquet"
    frame().to_parquet(path)
    query = f"select * from '{path}' order by loan desc"
    result = both.ours.get_historical_features(query, ALL).to_arrow()
    assert result["loan"].to_pylist() == list(range(len(frame())))[::-1]
    same(result, both.ours.get_historical_features(frame(), ALL).to_arrow())
    with pytest.raises(AttributeError):
        both.stock.get_historical_features(query, ALL)


def test_a_feature_may_end_in_y_and_stock_loses_it(both):
    asked = frame().drop(columns="amount")
    result = both.ours.get_historical_features(asked, ["bureau:ratio", "bureau:ratio_y"]).to_arrow()
    assert result["ratio_y"].equals(result["ratio"])
    with pytest.raises(Exception, match="ratio_y"):
        both.stock.get_historical_features(asked, ["bureau:ratio_y"]).to_arrow()


def test_a_frames_column_named_as_a_feature_is_refused_by_name_and_stock_fails_in_the_query(both):
    with pytest.raises(InputError, match=r"feature 'loan' has the name of a column of the entity frame"):
        both.ours.get_historical_features(frame(), ["bureau:loan"])
    full = both.ours.get_historical_features(frame(), ["bureau:loan"], full_feature_names=True).to_arrow()
    assert set(full["bureau__loan"].to_pylist()) == {1, None}
    assert full["loan"].to_pylist() == frame()["loan"].tolist()
    with pytest.raises(Exception, match="Duplicate column name 'loan'"):
        both.stock.get_historical_features(frame(), ["bureau:loan"]).to_arrow()


def relative(root, kind, path):
    store = open_store(root, kind)
    folder = root / kind.rpartition(".")[2]
    (folder / "data").mkdir()
    pq.write_table(rows(5, 1), folder / "data" / "one.parquet")
    store.apply([applicant, view_of(path)])
    return store


def test_a_relative_path_is_found_from_the_repo_and_from_the_working_folder_in_stock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours, stock = (relative(tmp_path, kind, "data/one.parquet") for kind in (OURS, "duckdb"))
    assert ours.get_historical_features(frame(), ALL).to_arrow()["ratio"].null_count < 400
    with pytest.raises(Exception, match="No files found"):
        stock.get_historical_features(frame(), ALL).to_arrow()


def test_a_folder_is_a_source_and_stock_fails_on_it(tmp_path):
    (tmp_path / "data").mkdir()
    pq.write_table(rows(5, 1), tmp_path / "data" / "one.parquet")
    stores = [open_store(tmp_path, kind) for kind in (OURS, "duckdb")]
    for store in stores:
        store.apply([applicant, view_of(tmp_path / "data")])
    assert stores[0].get_historical_features(frame(), ALL).to_arrow()["ratio"].null_count < 400
    with pytest.raises(AttributeError, match="mutate"):
        stores[1].get_historical_features(frame(), ALL).to_arrow()


def test_a_join_key_map_may_rename_one_of_two_keys_and_stock_then_ignores_the_other(tmp_path):
    lender = Entity(name="lender", join_keys=["lender_id"], value_type=ValueType.STRING)
    times = pa.array([NOW, NOW], pa.timestamp("us", "UTC"))
    pq.write_table(
        pa.table({"applicant_id": ["A", "A"], "lender_id": ["X", "Y"], "event_timestamp": times,
                  "created_timestamp": times, "ratio": [1.0, 2.0]}),
        tmp_path / "pair.parquet",
    )  # fmt: skip
    pair = FeatureView(
        name="pair",
        entities=[applicant, lender],
        ttl=DAY,
        source=FileSource(path=str(tmp_path / "pair.parquet"), timestamp_field="event_timestamp",
                          created_timestamp_column="created_timestamp"),
        schema=[Field(name="ratio", dtype=Float64)],
    )  # fmt: skip
    service = FeatureService(
        name="s", features=[pair.with_name("guarantor").with_join_key_map({"applicant_id": "who"})]
    )
    asked = pd.DataFrame({"who": ["A", "A"], "lender_id": ["X", "Y"], "event_timestamp": [NOW, NOW]})
    answers = []
    for kind in (OURS, "duckdb"):
        store = open_store(tmp_path, kind)
        store.apply([applicant, lender, pair, service])
        result = store.get_historical_features(asked, store.get_feature_service("s")).to_df()
        answers.append(dict(zip(result["lender_id"], result["ratio"], strict=True)))
    assert answers[0] == {"X": 1.0, "Y": 2.0}
    assert answers[1] != answers[0]


def test_a_saved_dataset_holds_on_demand_features_and_loses_them_in_stock(both, tmp_path):
    columns = []
    for store, name in ((both.ours, "ours"), (both.stock, "stock")):
        storage = SavedDatasetFileStorage(path=str(tmp_path / f"{name}.parquet"))
        job = store.get_historical_features(frame(), ["burden:burden"], filter_by_created_timestamp=True)
        job.persist(storage)
        columns.append(pq.read_schema(tmp_path / f"{name}.parquet").names)
        with pytest.raises(Exception, match="already exists"):
            job.persist(storage)
        job.persist(storage, allow_overwrite=True)
    assert "burden" in columns[0]
    assert "burden" not in columns[1]
    with pytest.warns(RuntimeWarning, match="experimental"):
        saved = both.ours.create_saved_dataset(
            both.ours.get_historical_features(frame(), ALL),
            "saved",
            SavedDatasetFileStorage(path="saved/loans"),
        )
    assert (both.root / "CandorOfflineStore" / "saved" / "loans" / "data.parquet").is_file()
    assert saved.to_df()["ratio"].count() > 100


def pulled(store, start, end, latest=True):
    view = store.get_feature_view("bureau")
    kind = "pull_latest_from_table_or_query" if latest else "pull_all_from_table_or_query"
    job = getattr(store._get_provider().offline_store, kind)(
        config=store.config, data_source=view.batch_source, join_key_columns=["applicant_id"],
        feature_name_columns=list(NAMES), timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp", start_date=start, end_date=end,
    )  # fmt: skip
    return job.to_arrow()


def test_pulls_are_stocks_where_all_was_known_by_the_end(both):
    start, end = NOW - 20 * DAY, NOW + 10 * DAY
    for latest in (True, False):
        ours, stock = (pulled(store, start, end, latest) for store in (both.ours, both.stock))
        assert ours.num_rows == stock.num_rows > 30
        order = ["applicant_id", "event_timestamp", "created_timestamp"]
        same(ours.sort_by([(name, "ascending") for name in order]), stock.select(ours.column_names), order)


def test_a_pull_knows_what_was_known_at_its_end_and_stock_what_came_later(both):
    ours, stock = (pulled(store, NOW - 20 * DAY, NOW) for store in (both.ours, both.stock))
    assert max(ours["created_timestamp"].to_pylist()) <= NOW
    assert max(stock["created_timestamp"].to_pylist()) > NOW


def test_runs_one_after_another_end_as_one_run_and_stock_misses_late_rows(both):
    whole = {row["applicant_id"]: row for row in pulled(both.ours, NOW - 20 * DAY, NOW).to_pylist()}
    ends = [NOW - timedelta(hours=hours) for hours in range(480, -1, -12)]
    ours, stock = {}, {}
    for start, end in zip(ends, ends[1:], strict=False):
        ours |= {row["applicant_id"]: row for row in pulled(both.ours, start, end).to_pylist()}
        stock |= {
            row["applicant_id"]: row
            for row in pulled(both.stock, start, end).to_pylist()
            if row["created_timestamp"] <= end  # what was there to be pulled by then
        }
    assert ours == whole
    assert stock != whole


@pytest.mark.parametrize("latest", [True, False])
def test_feast_materialize_writes_what_stock_writes(tmp_path, latest):
    pq.write_table(rows(30, 3), tmp_path / "data.parquet")
    answers = []
    for kind in (OURS, "duckdb"):
        store = open_store(tmp_path, kind)
        store.config.materialization_config.pull_latest_features = latest
        store.apply([applicant, view_of(tmp_path / "data.parquet")])
        store.materialize(NOW - 20 * DAY, NOW + 10 * DAY)
        people = [{"applicant_id": f"A{number}"} for number in range(31)]
        answers.append(store.get_online_features(ALL, people).to_df())
    pd.testing.assert_frame_equal(*(answer[sorted(answer)] for answer in answers))
    assert answers[0]["ratio"].count() == 30


def pushed(columns):
    return pd.DataFrame({name: rows(1, 1).to_pandas()[name].iloc[:1] for name in columns}).assign(applicant_id="NEW")


def test_rows_are_appended_to_a_glob_and_stock_cannot(tmp_path):
    (tmp_path / "data").mkdir()
    first = tmp_path / "data" / "one.parquet"
    pq.write_table(rows(5, 1), first)
    before = first.read_bytes()
    for kind in (OURS, "duckdb"):
        store = open_store(tmp_path, kind)
        store.apply([applicant, view_of(tmp_path / "data" / "**" / "*.parquet")])
        new = pushed(rows(1, 1).column_names)
        if kind == "duckdb":
            with pytest.raises(FileNotFoundError):
                store.write_to_offline_store("bureau", new)
        else:
            store.write_to_offline_store("bureau", new)
            asked = pd.DataFrame({"applicant_id": ["NEW"], "event_timestamp": new["created_timestamp"].tolist()})
            answer = store.get_historical_features(asked, ["bureau:ratio"]).to_df()
            assert answer["ratio"].tolist() == new["ratio"].tolist()
    assert first.read_bytes() == before


def test_appended_rows_take_the_files_names_and_stock_refuses_mapped_ones(tmp_path):
    (tmp_path / "data").mkdir()
    table = rows(5, 1)
    source = table.rename_columns(["raw_ratio" if name == "ratio" else name for name in table.column_names])
    for kind in ("duckdb", OURS):
        path = tmp_path / "data" / f"{kind}.parquet"
        pq.write_table(source, path)
        place = tmp_path / "data" / "*.parquet" if kind == OURS else path
        store = open_store(tmp_path, kind)
        store.apply([applicant, view_of(place, field_mapping={"raw_ratio": "ratio"})])
        new = pushed(table.column_names).rename(columns={"ratio": "raw_ratio"})
        if kind == "duckdb":
            with pytest.raises(ValueError, match="incorrect columns"):
                store.write_to_offline_store("bureau", new)
        else:
            store.write_to_offline_store("bureau", new)
            appended = next((tmp_path / "data").glob("appended-*.parquet"))
            assert pq.read_schema(appended).names == source.column_names
