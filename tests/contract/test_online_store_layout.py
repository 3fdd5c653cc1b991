"""Ours and stock Feast write the same bytes, and each reads what the other wrote."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import redis
from feast import ValueType
from feast.types import Bool, Bytes, Float32, Float64, Int32, Int64, Map, String, UnixTimestamp

from feature_repo.errors import InputError
from tests.contract.online_harness import END, START, a_config, a_redis, a_store, contents, empty, write_rows

EVENT = datetime(2026, 5, 31, 23, 59, 59, 123456, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
FIELDS = {
    "double": Float64,
    "float": Float32,
    "int64": Int64,
    "int32": Int32,
    "bool": Bool,
    "string": String,
    "bytes": Bytes,
    "time": UnixTimestamp,
}
LONG = "x" * 5000
VALUES = {
    "double": pa.array(
        [0.1, -1e-300, 0.0, -0.0, 1.7976931348623157e308, float("inf"), float("nan"), None], pa.float64()
    ),
    "float": pa.array([1.1, -3e38, 0.0, 1e-45, float("-inf"), float("nan"), 2.5, None], pa.float32()),
    # Stock Feast passes a column with a null through float64, so that only these come out whole.
    "int64": pa.array([0, -1, 127, 128, 2**53, -(2**53), -(2**31), None], pa.int64()),
    "int32": pa.array([0, -1, 2**31 - 1, -(2**31), 300, 16384, 7, None], pa.int32()),
    "bool": pa.array([True, False, True, True, False, False, True, None], pa.bool_()),
    "string": pa.array(["", "a", "Ünï-ço∂é 😀", "a:b,c", LONG, "\x00", "日本", None], pa.string()),
    "bytes": pa.array([b"", b"\x00\xff", b"\r\n$4\r\n", b"z" * 200, b"a", b"b", b"c", None], pa.binary()),
    "time": pa.array(
        [EVENT, datetime(1969, 12, 31, 23, 59, 58, 500000, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]
        + [EVENT + timedelta(seconds=n) for n in range(4)]
        + [None],
        INSTANT,
    ),
}
EVENTS = [
    EVENT,
    EVENT.replace(microsecond=0),
    EVENT + timedelta(microseconds=1),
    *[EVENT - timedelta(days=n) for n in range(5)],
]


def a_table(keys, values=VALUES):
    count = len(EVENTS)
    times = {"event_timestamp": pa.array(EVENTS, INSTANT), "created_timestamp": pa.array([EVENT] * count, INSTANT)}
    return pa.table(keys | values | times)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with a_redis(tmp_path_factory.mktemp("redis")) as port:
        yield port


def both(root, port, table, fields=FIELDS, keys=None, **online):
    """Materialize the table with stock Feast and with ours, each into an empty server."""
    path = write_rows(root / "rows.parquet", table)
    found = []
    for ours in (False, True):
        empty(port)
        store = a_store(a_config(root, port, ours, **online), path, fields, keys=keys)
        store.materialize(START, END)
        found.append(contents(port))
    return store, *found


def test_every_scalar_type_is_written_as_stock_writes_it_and_read_back_alike(tmp_path, port):
    names = ["A1", "A2", "Ünï 😀", "", "日本", "a b", "*", "A8"]
    table = a_table({"applicant_id": pa.array(names)})
    ours, by_stock, by_ours = both(tmp_path, port, table)
    assert len(by_stock) == len(names)
    assert by_ours == by_stock
    stock = a_store(a_config(tmp_path, port, ours=False), tmp_path / "rows.parquet", FIELDS)
    asked = [{"applicant_id": name} for name in [*names, "nobody"]]
    features = [f"rows:{name}" for name in FIELDS]
    answers = [repr(store.get_online_features(features, asked).to_dict()) for store in (stock, ours)]
    assert answers[0] == answers[1]
    assert stock.get_online_features(features, asked[:1]).to_dict()["double"] == [0.1]


@pytest.mark.parametrize("kind", ["all null", "no null"])
def test_a_column_with_only_nulls_or_none_is_written_as_stock_writes_it(tmp_path, port, kind):
    values = {
        name: pa.nulls(len(EVENTS), column.type)
        if kind == "all null"
        else column.drop_null().take([0, 1, 2, 3, 4, 5, 6, 0])
        for name, column in VALUES.items()
    }
    _, by_stock, by_ours = both(tmp_path, port, a_table({"applicant_id": pa.array([str(n) for n in range(8)])}, values))
    assert by_ours == by_stock


def test_keys_of_several_entities_and_types_are_stocks(tmp_path, port):
    keys = {
        "zone": pa.array(["a", "b", "", "ü", "e", "f", "g", "h"]),
        "number": pa.array([0, -1, 2**62, 3, 4, 5, 6, 7], pa.int64()),
        "small": pa.array([0, -1, 2**31 - 1, 3, 4, 5, 6, 7], pa.int32()),
        "raw": pa.array([b"", b"\xff", b"c", b"d", b"e", b"f", b"g", b"h"], pa.binary()),
    }
    kinds = dict(zip(keys, [ValueType.STRING, ValueType.INT64, ValueType.INT32, ValueType.BYTES], strict=True))
    values = {"double": VALUES["double"]}
    _, by_stock, by_ours = both(tmp_path, port, a_table(keys, values), {"double": Float64}, kinds)
    assert len(by_stock) == len(EVENTS)
    assert by_ours == by_stock


def test_the_key_ttl_is_set_as_stock_sets_it(tmp_path, port):
    table = a_table({"applicant_id": pa.array([str(n) for n in range(8)])}, {"double": VALUES["double"]})
    both(tmp_path, port, table, {"double": Float64}, key_ttl_seconds=1000)
    with redis.Redis(port=port) as client:
        assert {client.ttl(key) for key in client.scan_iter()} <= {999, 1000}


def test_other_types_are_refused_by_name_before_anything_is_written(tmp_path, port):
    empty(port)
    table = a_table({"applicant_id": pa.array([str(n) for n in range(8)])}, {"double": VALUES["double"]})
    path = write_rows(tmp_path / "rows.parquet", table.append_column("facts", pa.array(["{}"] * 8)))
    store = a_store(a_config(tmp_path, port, ours=True), path, {"double": Float64, "facts": Map})
    with pytest.raises(InputError, match="view rows: feature facts is MAP"):
        store.materialize(START, END)
    assert contents(port) == {}
    assert store.get_feature_view("rows").materialization_intervals == []


def test_whole_numbers_beside_a_null_keep_their_digits_where_stock_rounds_them(tmp_path, port):
    exact = 2**53 + 1
    values = {"int64": pa.array([exact] * 7 + [None], pa.int64())}
    table = a_table({"applicant_id": pa.array([str(n) for n in range(8)])}, values)
    ours, by_stock, by_ours = both(tmp_path, port, table, {"int64": Int64})
    read = ours.get_online_features(["rows:int64"], [{"applicant_id": "0"}]).to_dict()["int64"]
    assert by_stock != by_ours
    assert read == [exact]


def test_values_that_feast_has_encoded_are_written_as_stock_writes_them(tmp_path, port):
    path = write_rows(tmp_path / "rows.parquet", a_table({"applicant_id": pa.array([str(n) for n in range(8)])}))
    frame = a_table({"applicant_id": pa.array([str(n) for n in range(8)])}).to_pandas()
    found = []
    for ours in (False, True):
        empty(port)
        a_store(a_config(tmp_path, port, ours), path, FIELDS).write_to_online_store("rows", frame)
        found.append(contents(port))
    assert len(found[0]) == 8
    assert found[0] == found[1]
