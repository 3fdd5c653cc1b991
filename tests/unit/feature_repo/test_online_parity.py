"""What a home's Feast writes, the compiled reader reads as Feast does; with stock Feast: tests/contract."""

import asyncio
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, FileSource, ValueType

from feature_repo.home import Home
from feature_repo.registry import read_contract
from feature_repo.schema import feature
from feature_repo.stores.compile import compile_plan
from feature_repo.stores.online import OnlineReader
from services import embedded
from services.store_config import write_feature_store_yaml

EVENT = datetime(2026, 5, 31, 23, 59, 59, 123456, tzinfo=UTC)
ROWS = {
    "A1": (0.1, 3, True, "OWN"),
    "Ünï-ço∂é 😀": (-1e-300, -7, False, "日本"),
    "A2": (0.0, 0, False, ""),
    "A3": (1e300, 2**62, True, "a:b,c"),
    "empty": (None, None, None, None),
}
NAMES = ["ratio", "amount", "number", "flag", "home"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("parity home")
    home = Home(root=root)
    embedded.ensure(home)
    source = FileSource(name="rows", path=str(root / "rows.parquet"), timestamp_field="event_timestamp")
    pd.DataFrame({"applicant_id": ["A1"], "event_timestamp": [EVENT]}).to_parquet(root / "rows.parquet")
    applicant = Entity(name="applicant", join_keys=["applicant_id"], value_type=ValueType.STRING)

    def view(name, *fields):
        return FeatureView(name=name, entities=[applicant], ttl=timedelta(days=30), source=source, schema=list(fields))

    first = view(
        "first",
        feature("ratio", "number", "", unit="ratio", reason="r"),
        feature("amount", "number", "", unit="currency", reason="r"),
        feature("number", "count", "", unit="things", reason="r"),
    )
    second = view(
        "second",
        feature("flag", "flag", "", unit="flag", reason="r"),
        feature("home", "category", "", unit="category", reason="r", categories=("OWN", "RENT")),
    )
    store = FeatureStore(repo_path=str(root), fs_yaml_file=write_feature_store_yaml(home))
    store.apply([applicant, source, first, second, FeatureService(name="both", features=[first, second])])
    table = pd.DataFrame(
        {
            "applicant_id": list(ROWS),
            "event_timestamp": pd.Series([EVENT] * len(ROWS), dtype="datetime64[us, UTC]"),
            "ratio": pd.array([row[0] for row in ROWS.values()], dtype="Float64"),
            "amount": [row[0] for row in ROWS.values()],
            "number": pd.array([row[1] for row in ROWS.values()], dtype="Int64"),
            "flag": pd.array([row[2] for row in ROWS.values()], dtype="boolean"),
            "home": [row[3] for row in ROWS.values()],
        }
    )
    store.write_to_online_store("first", table[["applicant_id", "event_timestamp", "ratio", "amount", "number"]])
    store.write_to_online_store("second", table[["applicant_id", "event_timestamp", "flag", "home"]])
    yield store
    embedded.stop(home)


@pytest.fixture(scope="module")
def reader_rows(store):
    plan = compile_plan(read_contract(store, "both"), project=store.project)

    async def run():
        reader = OnlineReader(plan, store.config.online_store.connection_string)
        try:
            rows = await reader.read_many([*ROWS, "nobody"], EVENT + timedelta(days=1))
            assert rows[0] == await reader.read("A1", EVENT + timedelta(days=1))
            return {row.applicant_id: row for row in rows}
        finally:
            await reader.close()

    return asyncio.run(run())


def test_values_are_those_written_and_those_that_feast_reads(store, reader_rows):
    asked = [{"applicant_id": name} for name in [*ROWS, "nobody"]]
    answer = store.get_online_features(store.get_feature_service("both"), asked).to_dict()
    for index, entity in enumerate(answer["applicant_id"]):
        by_feast = {name: answer[name][index] for name in NAMES}
        by_reader = dict.fromkeys(NAMES)
        for view in reader_rows[entity].views.values():
            by_reader |= view.values
        assert by_reader == by_feast, entity
        if entity in ROWS:
            ratio, number, flag, home = ROWS[entity]
            written = {"ratio": ratio, "amount": ratio, "number": number, "flag": flag, "home": home}
            assert by_reader == written
            assert {name: type(value) for name, value in by_reader.items()} == {
                name: type(value) for name, value in written.items()
            }


def test_times_are_those_written(reader_rows):
    assert {view.event_timestamp for view in reader_rows["A1"].views.values()} == {EVENT}
    assert {view.status for view in reader_rows["empty"].views.values()} == {"PRESENT"}
    assert {view.status for view in reader_rows["nobody"].views.values()} == {"MISSING"}
