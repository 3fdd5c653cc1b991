"""Gather features of rows by their ids, each where the entity frame has the row that asked for it.

pyarrow reads only the row groups that hold such a row, and takes rows out of them by place. It does so where
every file holds a column in the very type that DuckDB gives it. Anything else DuckDB reads, and joins by id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.stores.offline_entity import plain
from feature_repo.stores.offline_source import FILE_BITS, ParquetSource, quoted, reading

Integers = npt.NDArray[np.int64]
Batches = Iterable[tuple[Integers, Sequence[Any]]]

BLOCK = 1 << 16  # rows at a time, so that what is computed of them stays in the cache
_SAME = {
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
}


def gather(
    connection: duckdb.DuckDBPyConnection,
    source: ParquetSource,
    columns: Sequence[str],
    rows: Integers,
    rids: Integers,
    where: Callable[[], str],
    count: int,
) -> list[Any]:
    """Return columns of `count` values: at each of `rows` that of the source's row `rids`, elsewhere null.

    Parameters
    ----------
    columns : sequence of str
        Columns of the source's files.
    rows, rids : arrays of int64, shape (n,)
        Rows of the entity frame and the id that each asks for; the ids rise.
    where : callable
        Returns a condition that keeps all rows of the source that are asked for; called if DuckDB reads.

    Raises
    ------
    UnavailableError
        If the source cannot be read.
    """
    with reading(source.name):
        kinds = _exact_types(source, columns)
        if kinds is not None:
            return _in_order(_from_row_groups(source, columns, rows, rids), kinds, count)
        aliases = {f"f{i}": quoted(column) for i, column in enumerate(columns)}
        connection.register("found", pa.table({"row": rows, "rid": rids}))
        reader = connection.sql(f"""
            select found.row, {", ".join(aliases)}
            from ({source.scan(aliases)} where {where()}) s join found on s.rid = found.rid""").to_arrow_reader(BLOCK)
        batches = ((batch.column(0).to_numpy(), batch.columns[1:]) for batch in reader)
        values = _in_order(batches, [field.type for field in reader.schema][1:], count)
        connection.unregister("found")
        return values


def _exact_types(source: ParquetSource, columns: Sequence[str]) -> list[Any] | None:
    """Return the Arrow types of columns if pyarrow reads them from every file as DuckDB does, else None."""
    kinds = [_SAME.get(source.types[column]) for column in columns]
    if source.partitions or None in kinds:
        return None
    for path, *_ in source.files:
        schema = pq.read_schema(path)
        # A column that is missing, twice there or in other letters has no place of its own here.
        places = [schema.get_field_index(column) for column in columns]
        if any(place < 0 or schema.field(place).type != kind for place, kind in zip(places, kinds, strict=True)):
            return None
    return kinds


def _from_row_groups(source: ParquetSource, columns: Sequence[str], rows: Integers, rids: Integers) -> Batches:
    """Yield, one row group after another, rows of the entity frame and the values of their columns.

    Parameters
    ----------
    rows, rids : arrays of int64, shape (n,)
        Rows of the entity frame and the id that each asks for; the ids rise.
    """
    for number, (path, *_) in enumerate(source.files):
        begin = number << FILE_BITS
        first, last = np.searchsorted(rids, [begin, (number + 1) << FILE_BITS])
        if first == last:
            continue
        metadata = pq.read_metadata(path)
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=_categories(metadata)) as file:
            for group in range(file.num_row_groups):
                end = begin + metadata.row_group(group).num_rows
                stop = np.searchsorted(rids, end)
                if stop > first:
                    table = file.read_row_group(group, columns=list(columns)).select(list(columns))
                    taken = table.take(pa.array(rids[first:stop] - begin))
                    yield rows[first:stop], [plain(column).combine_chunks() for column in taken.columns]
                begin, first = end, stop


def _categories(metadata: Any) -> list[str]:
    """Return the columns that are better taken as places in a dictionary than as text of each row."""
    first = metadata.row_group(0)
    columns = [first.column(i) for i in range(first.num_columns)]
    # Outside a dictionary each text takes at least the four bytes of its length.
    return [
        column.path_in_schema
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and column.total_uncompressed_size < 4 * column.num_values
    ]


def _in_order(batches: Batches, kinds: Sequence[Any], count: int) -> list[Any]:
    """Return columns of `count` values, put in place batch by batch; null where no batch has a row."""
    columns = [_Numbers(kind, count) if _width(kind) else _Others(kind, count) for kind in kinds]
    for rows, parts in batches:
        for column, part in zip(columns, parts, strict=True):
            column.put(rows, part)
    return [column.array() for column in columns]


class _Numbers:
    """A column of values of a fixed width, written where they belong at once."""

    def __init__(self, kind: Any, count: int) -> None:
        self._kind = kind
        self._values = np.zeros(count, f"i{_width(kind)}")
        self._known = np.zeros(count, np.bool_)

    def put(self, rows: Integers, part: Any) -> None:
        values = np.frombuffer(part.buffers()[1], self._values.dtype)[part.offset : part.offset + len(part)]
        if part.null_count:
            present = part.is_valid().to_numpy(zero_copy_only=False)
            rows, values = rows[present], values[present]
        self._values[rows] = values
        self._known[rows] = True

    def array(self) -> Any:
        known = np.packbits(self._known, bitorder="little")
        return pa.Array.from_buffers(self._kind, len(self._values), [pa.py_buffer(known), pa.py_buffer(self._values)])


class _Others:
    """A column of anything else, put in order at the end."""

    def __init__(self, kind: Any, count: int) -> None:
        self._parts = [pa.nulls(0, kind)]
        self._place: Integers = np.full(count, -1)
        self._length = 0

    def put(self, rows: Integers, part: Any) -> None:
        self._place[rows] = np.arange(self._length, self._length + len(part))
        self._length += len(part)
        self._parts.append(part)

    def array(self) -> Any:
        values = pa.concat_arrays(self._parts)
        values.validate(full=True)  # pyarrow reads text that is no UTF-8, and DuckDB refuses it
        return values.take(pa.array(self._place, mask=self._place < 0))


def _width(kind: Any) -> int:
    """Return the bytes of a value if an integer has as many, else 0."""
    plain = pa.types.is_primitive(kind) and not pa.types.is_boolean(kind)
    return kind.bit_width // 8 if plain else 0
