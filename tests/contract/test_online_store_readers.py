"""Our readers say what stock Feast says of the same Redis, whoever wrote it, and more: missing and stale."""

import asyncio
import math
import socket
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import redis
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Bool, Float64, Int64, String

from feature_repo.contract import Contract, FeatureSpec, ViewSpec
from feature_repo.errors import UnavailableError
from feature_repo.stores.compile import compile_plan
from feature_repo.stores.online import OnlineReader
from feature_repo.stores.online_sync import SyncOnlineReader
from tests.contract.online_harness import END, START, a_config, a_redis, a_store, empty, write_rows

EVENT = datetime(2026, 5, 31, 12, 0, 0, 5, tzinfo=UTC)
KINDS = {"ratio": "number", "amount": "count", "flag": "flag", "home": "category"}
FIELDS = {"ratio": Float64, "amount": Int64, "flag": Bool, "home": String}
NAMES = [f"A{number}" for number in range(300)]
TTL = 86400
PLAN = compile_plan(
    Contract(
        service="s",
        views=(
            ViewSpec(
                name="rows",
                table="rows",
                ttl_seconds=TTL,
                missing_reason="",
                features=tuple(
                    FeatureSpec(name=name, view="rows", kind=kind, description="", unit="")
                    for name, kind in KINDS.items()
                ),
            ),
        ),
        request=(),
        on_demand=(),
    ),
    project="candor",
)


def a_table():
    def every(number, values, kind):
        return pa.array([None if place % number == 0 else values(place) for place in range(len(NAMES))], kind)

    times = pa.array([EVENT - timedelta(hours=place) for place in range(len(NAMES))], pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "applicant_id": pa.array(NAMES),
            "event_timestamp": times,
            "created_timestamp": times,
            "ratio": every(3, lambda place: math.sin(place) * 10.0 ** (place - 150), pa.float64()),
            "amount": every(5, lambda place: (-1) ** place * 2 ** (place % 50), pa.int64()),
            "flag": every(7, lambda place: place % 2 == 0, pa.bool_()),
            "home": every(11, lambda place: "ü" * place, pa.string()),
        }
    )


@pytest.fixture(scope="module", params=["stock", "ours"])
def written(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    with a_redis(root) as port:
        path = write_rows(root / "rows.parquet", a_table())
        a_store(a_config(root, port, ours=request.param == "ours"), path, FIELDS).materialize(START, END)
        yield a_store(a_config(root, port, ours=False), path, FIELDS), port


def by_sync(port, names, now):
    reader = SyncOnlineReader(PLAN, f"127.0.0.1:{port}")
    found = reader.read_many(names, now)
    assert found[0] == reader.read(names[0], now)
    reader.close()
    return found


def by_async(port, names, now):
    async def run():
        reader = OnlineReader(PLAN, f"127.0.0.1:{port}")
        try:
            return await reader.read_many(names, now)
        finally:
            await reader.close()

    return asyncio.run(run())


@pytest.mark.parametrize("read", [by_sync, by_async])
def test_values_are_those_that_stock_feast_reads(written, read):
    store, port = written
    asked = [*NAMES, "nobody"]
    answer = store.get_online_features(
        [f"rows:{name}" for name in FIELDS], [{"applicant_id": name} for name in asked]
    ).to_dict()
    found = read(port, asked, EVENT)
    for place, row in enumerate(found):
        values = row.views["rows"].values or dict.fromkeys(FIELDS)
        assert values == {name: answer[name][place] for name in FIELDS}
    assert found[-1].views["rows"].status == "MISSING"


@pytest.mark.parametrize("read", [by_sync, by_async])
def test_age_is_told_to_the_microsecond(written, read):
    _, port = written
    now = EVENT + timedelta(seconds=TTL)
    assert read(port, ["A0"], now)[0].views["rows"].status == "PRESENT"
    assert read(port, ["A0"], now + timedelta(microseconds=1))[0].views["rows"].status == "STALE"
    assert read(port, ["A0"], now)[0].views["rows"].event_timestamp == EVENT


def test_who_is_missing_or_past_the_time_to_live_is_told_so_and_comes_present_from_stock(tmp_path):
    old = EVENT.replace(year=2000)  # the view's time to live is 4,000 days
    table = a_table().slice(1, 1).set_column(1, "event_timestamp", pa.array([old], pa.timestamp("us", "UTC")))
    path = write_rows(tmp_path / "rows.parquet", table.set_column(2, "created_timestamp", table["event_timestamp"]))
    with a_redis(tmp_path) as port:
        stock = a_store(a_config(tmp_path, port, ours=False), path, FIELDS)
        stock.materialize(old - timedelta(days=1), END)
        answer = stock.get_online_features(["rows:flag"], [{"applicant_id": name} for name in ("A1", "nobody")])
        found = by_sync(port, ["A1", "nobody"], EVENT)
    assert answer.to_dict()["flag"] == [False, None]
    place = list(answer.proto.metadata.feature_names.val).index("flag")
    assert list(answer.proto.results[place].statuses) == [FieldStatus.PRESENT, FieldStatus.PRESENT]
    assert [row.views["rows"].status for row in found] == ["STALE", "MISSING"]


def test_columns_say_what_rows_say(written):
    _, port = written
    reader = SyncOnlineReader(PLAN, f"127.0.0.1:{port}")
    names = [*NAMES, "nobody"]
    for now in (EVENT, EVENT - timedelta(days=1), EVENT + timedelta(days=2)):  # some are of the future, some stale
        rows, view = reader.read_many(names, now), reader.read_columns(names, now)["rows"]
        assert {"PRESENT", "MISSING"} & set(view.status)
        for place, row in enumerate(rows):
            told = row.views["rows"]
            assert view.status[place] == told.status
            event = view.event_timestamp[place].item()
            assert event == (told.event_timestamp and told.event_timestamp.replace(tzinfo=None))
            for name in KINDS:
                value = view.values[name][place]
                assert (None if value is None or value != value else value) == told.values.get(name)
    reader.close()


def test_a_hash_with_much_else_is_asked_for_its_fields(written):
    _, port = written
    key, other = PLAN.key("A0"), {f"other{number}": b"x" for number in range(1000)}
    with redis.Redis(port=port) as client:
        client.hset(key, mapping=other)
        reader = SyncOnlineReader(PLAN, f"127.0.0.1:{port}")
        whole = reader.read_many(NAMES[:40], EVENT)
        client.config_resetstat()
        assert reader.read_many(NAMES[:40], EVENT) == whole
        assert client.info("commandstats")["cmdstat_hmget"]["calls"] == 40
        client.hdel(key, *other)
    reader.close()


def test_no_applicants_are_no_answers(written):
    _, port = written
    assert SyncOnlineReader(PLAN, f"127.0.0.1:{port}").read_many([], EVENT) == []


def test_a_dead_server_is_named_without_the_password():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = probe.getsockname()[1]
    reader = SyncOnlineReader(PLAN, f"127.0.0.1:{dead},password=hunter2")
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{dead} gives no answer") as caught:
        reader.read("A1", EVENT)
    assert "hunter2" not in str(caught.value)


def test_a_reader_goes_on_after_an_error(written, tmp_path):
    with a_redis(tmp_path) as port, redis.Redis(port=port) as client:
        reader = SyncOnlineReader(PLAN, f"127.0.0.1:{port}")
        client.set(PLAN.key("A1"), b"no hash")
        with pytest.raises(UnavailableError, match="ResponseError"):
            reader.read_many(["A0", "A1", "A2"], EVENT)
        empty(port)
        assert not reader.read("A1", EVENT).is_known
