"""Features gathered by row id: by pyarrow what it reads as DuckDB does, by DuckDB the rest."""

from datetime import UTC, date, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FileSource

from feature_repo.errors import UnavailableError
from feature_repo.stores import gather, in_order
from feature_repo.stores.offline_source import FILE_BITS, open_source
from feature_repo.stores.offline_stop import Stop

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT = 1000


def columns(seed):
    """Return `COUNT` values of every kind that is read by pyarrow, a tenth of them null."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-100, 100, COUNT)
    null = rng.random(COUNT) < 0.1
    made = {
        "int32": pa.array(whole, pa.int32(), mask=null),
        "int64": pa.array(whole * 2**50, pa.int64(), mask=null),
        "float": pa.array(rng.random(COUNT), pa.float32(), mask=null),
        "double": pa.array(np.where(whole == 7, np.nan, rng.random(COUNT)), pa.float64(), mask=null, from_pandas=False),
        "bool": pa.array(whole > 0, mask=null),
        "few": pa.array([f"Ü{number % 3}" for number in whole], mask=null),
        "many": pa.array([f"{'x' * (number % 50)}{number}" for number in rng.integers(0, 10**9, COUNT)], mask=null),
        "date": pa.array([date(2026, 1, 1 + number % 28) for number in whole], mask=null),
    }
    for zone in (None, "UTC"):
        made[f"instant {zone}"] = pa.array(whole * 10**15, pa.timestamp("us", tz=zone), mask=null)
    return made | {"without null": pa.array(whole), "only null": pa.nulls(COUNT, pa.int64())}


def opened(folder, connection):
    connection.execute("set timezone = 'UTC'")
    return open_source(connection, FileSource(name="s", path=str(folder), timestamp_field="date"), folder)


def asked():
    """Return rows of a frame of 5000 in no order, and ids of both files, some of them twice."""
    rng = np.random.default_rng(1)
    rids = np.sort(rng.integers(0, 2, 3000) << FILE_BITS | rng.integers(0, COUNT, 3000))
    return rng.permutation(5000)[:3000], rids


def test_pyarrow_and_duckdb_gather_the_same(tmp_path, monkeypatch):
    for seed, name in enumerate("ab"):
        pq.write_table(pa.table(columns(seed)), tmp_path / f"{name}.parquet", row_group_size=300)
    with duckdb.connect() as connection:
        source = opened(tmp_path, connection)
        names = [*source.types, "int32"]  # two features may be of one column
        assert gather._exact_types(source, names) is not None
        read, (rows, rids) = pytest.fail, asked()
        direct = gather.gather(connection, source, names, rows, rids, lambda: read("DuckDB reads"), 5000, Stop())
        assert [values.null_count >= 2000 for values in direct] == [True] * len(names)
        monkeypatch.setattr(gather, "_exact_types", lambda *_: None)
        joined = gather.gather(connection, source, names, rows, rids, lambda: "true", 5000, Stop())
        for name, one, other in zip(names, direct, joined, strict=True):
            one.validate(full=True)
            other.validate(full=True)
            assert one.type == other.type, name
            assert one.is_null().equals(other.is_null()), name
            if name == "double":  # NaN is equal to nothing
                one, other = (pa.array(values.fill_null(0).to_numpy().view(np.int64)) for values in (one, other))
            assert one.equals(other), name
        none = np.empty(0, np.int64)
        nothing = gather.gather(connection, source, names, none, none, lambda: "true", 2, Stop())
        assert nothing[0].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("value", pa.array([1], pa.int32())),  # DuckDB makes one type of two
        ("Value", pa.array([1])),  # and one column of two
        ("other", pa.array([1])),  # and null of none
        ("value", pa.array([1], pa.decimal128(18, 2))),
        ("value", pa.array([1], pa.timestamp("ns"))),
    ],
)
def test_what_pyarrow_reads_otherwise_is_left_to_duckdb(tmp_path, name, values):
    days = {"date": pa.array([date(2026, 1, 1)])}
    pq.write_table(pa.table(days | {"value": pa.array([1])}), tmp_path / "a.parquet")
    with duckdb.connect() as connection:
        assert gather._exact_types(opened(tmp_path, connection), ["value"]) == [pa.int64()]
        pq.write_table(pa.table(days | {name: values}), tmp_path / "b.parquet")
        assert gather._exact_types(opened(tmp_path, connection), ["value"]) is None


def test_text_that_is_no_utf_8_and_a_file_that_is_cut_are_refused(tmp_path):
    days = {"date": pa.array([date(2026, 1, 1)])}
    text = pa.array([b"\xff\xfe"]).view(pa.string())
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(days | {"value": text}), path)
    place = np.zeros(1, np.int64)
    with duckdb.connect() as connection:
        source = opened(tmp_path, connection)
        for _ in range(2):
            with pytest.raises(UnavailableError, match="source s cannot be read: "):
                gather.gather(connection, source, ["value"], place, place, lambda: "true", 1, Stop())
            path.write_bytes(path.read_bytes()[:-9])


def test_row_groups_that_are_large_beside_the_memory_limit_are_left_to_duckdb(tmp_path):
    values = pa.array(range(200_000), pa.int64())
    days = pa.array([date(2026, 1, 1)] * len(values))
    pq.write_table(pa.table({"date": days} | dict.fromkeys("abcdefgh", values)), tmp_path / "a.parquet")
    rows, read = np.arange(100_000), []
    with duckdb.connect(config={"threads": 1}) as connection:
        source = opened(tmp_path, connection)

        def by_duckdb(count, limit):
            connection.execute(f"set memory_limit = '{limit}'")
            read.clear()
            found = gather.gather(
                connection,
                source,
                list("abcdefgh"),
                rows[:count],
                rows[:count],
                lambda: read.append(1) or "true",
                count,
                Stop(),
            )
            assert all(column.to_pylist() == list(range(count)) for column in found)
            return bool(read)

        assert gather._means(connection)[1] == 1
        for count, limit, whether in [
            (100_000, "64GB", False),
            (100_000, "200MB", False),
            (100, "200MB", True),
            (100, "600MB", False),
            (100_000, "90MB", True),
        ]:
            assert by_duckdb(count, limit) == whether, (count, limit)
        assert gather._means(connection)[0] == pytest.approx(90e6, rel=0.02)


def test_an_interval_is_joined_by_duckdb(tmp_path):
    with duckdb.connect() as connection:
        connection.execute(f"""copy (select date '2026-01-01' as date, interval 36 hour as span from range(3))
            to '{tmp_path}/a.parquet' (format parquet)""")
        rows = np.arange(2)
        (found,) = gather.gather(
            connection, opened(tmp_path, connection), ["span"], rows, rows, lambda: "true", 3, Stop()
        )
        assert [bool(value) for value in found.to_pylist()] == [True, True, False]


@pytest.mark.parametrize("many", [3, 1000])  # texts; few are taken as places in a dictionary
def test_more_text_than_an_array_can_hold_comes_in_chunks(tmp_path, monkeypatch, many):
    texts = [None if i % 50 == 7 else f"{i % many:04}" * (1 + i % many) for i in range(COUNT)]
    days = [date(2026, 1, 1)] * COUNT
    pq.write_table(pa.table({"date": days, "text": texts}), tmp_path / "a.parquet", row_group_size=300)
    rows, rids = np.random.default_rng(1).permutation(5000)[:3000], np.sort(np.arange(3000) % COUNT)
    with duckdb.connect() as connection:
        source = opened(tmp_path, connection)
        asked = (connection, source, ["text"], rows, rids, lambda: pytest.fail("DuckDB reads"), 5000, Stop())
        (whole,) = gather.gather(*asked)
        monkeypatch.setattr(in_order, "_MOST_TEXT", most := 4 * COUNT)
        (chunked,) = gather.gather(*asked)
    assert chunked.type == whole.type == pa.string()
    assert chunked.num_chunks > 1
    assert all(chunk.buffers()[2] is None or chunk.buffers()[2].size <= most + 64 for chunk in chunked.chunks)
    chunked.validate(full=True)
    assert chunked.equals(pa.chunked_array([whole]))
