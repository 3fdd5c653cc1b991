"""Gather features of rows by their ids, each where the entity frame has the row that asked for it.

pyarrow reads only the row groups that hold such a row, and takes rows out of them by place. It does so where
every file holds a column in the very type that DuckDB gives it, and a row group is no great part of the memory that
a query may take. Anything else DuckDB reads, and joins by id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.stores.in_order import Batches, Integers, in_order, narrow, roomy
from feature_repo.stores.offline_entity import plain
from feature_repo.stores.offline_source import FILE_BITS, ParquetSource, quoted, reading
from feature_repo.stores.offline_stop import Stop

BLOCK = 1 << 16  # rows at a time, so that what is computed of them stays in the cache
_PLENTY = 4e9  # bytes of memory, of which shares are taken if the limit is higher
_SHARE, _SHARE_FOR_FEW = 1 / 8, 1 / 32  # that a row group may take: two views are read at once, and decoding takes more
_FEW = 0.01  # rows asked for, of those in a row group
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
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


@dataclass(frozen=True)
class _Group:
    """A row group: row `begin` is its first by id, and the rows `asked` of all that are asked for are in it."""

    path: str
    footer: Any
    number: int
    begin: int
    asked: slice

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.footer.row_group(self.number).num_rows)

    def bytes(self, columns: Sequence[str]) -> int:
        """Return about what columns take in memory: in a file, a place in a dictionary may be a few bits."""
        group = self.footer.row_group(self.number)
        chunks = [group.column(i) for i in range(group.num_columns)]
        return sum(max(c.total_uncompressed_size, 4 * self.rows) for c in chunks if c.path_in_schema in columns)


def gather(
    connection: duckdb.DuckDBPyConnection,
    source: ParquetSource,
    columns: Sequence[str],
    rows: Integers,
    rids: Integers,
    where: Callable[[], str],
    count: int,
    stop: Stop,
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

    Returns
    -------
    list of pyarrow.Array or ChunkedArray
        Chunked if it is text that one array cannot hold.

    Raises
    ------
    Stopped
        If nobody waits any more.
    UnavailableError
        If the source cannot be read.
    """
    with reading(source.name):
        kinds = _exact_types(source, columns)
        if kinds is not None:
            memory, threads = _means(connection)
            groups = _wanted(source, rids)
            if _fit(groups, columns, len(rids), memory):
                return in_order(_from_row_groups(groups, columns, rows, rids, threads > 1), kinds, count, stop)
        aliases = {f"f{i}": quoted(column) for i, column in enumerate(columns)}
        connection.register("found", pa.table({"row": rows, "rid": rids}))
        reader = connection.sql(f"""
            select found.row, {", ".join(aliases)}
            from ({source.scan(aliases)} where {where()}) s join found on s.rid = found.rid""").to_arrow_reader(BLOCK)
        batches = ((batch.column(0).to_numpy(), batch.columns[1:]) for batch in reader)
        values = in_order(batches, [field.type for field in reader.schema][1:], count, stop)
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


def _means(connection: duckdb.DuckDBPyConnection) -> tuple[float, int]:
    """Return the bytes of memory and the threads that a query may use."""
    asked = "select current_setting('memory_limit'), current_setting('threads')"
    limit, threads = connection.execute(asked).fetchone() or ("", 1)
    number, _, unit = limit.partition(" ")
    return float(number) * 1024.0 ** _UNITS.index(unit), threads


def _wanted(source: ParquetSource, rids: Integers) -> list[_Group]:
    """Return the row groups that hold rows that are asked for."""
    groups = []
    for number, (path, *_) in enumerate(source.files):
        begin = number << FILE_BITS
        first, last = np.searchsorted(rids, [begin, (number + 1) << FILE_BITS])
        if first == last:
            continue
        footer = pq.read_metadata(path)
        for group in range(footer.num_row_groups):
            end = begin + footer.row_group(group).num_rows
            stop = np.searchsorted(rids, end)
            if stop > first:
                groups.append(_Group(path, footer, group, begin, slice(first, stop)))
            begin, first = end, stop
    return groups


def _fit(groups: Sequence[_Group], columns: Sequence[str], asked: int, memory: float) -> bool:
    """Return whether the largest of row groups may be held in memory: DuckDB takes a little of it at a time.

    For few rows that costs more than it is worth sooner: both take about as long.
    """
    largest = max(groups, key=lambda group: group.bytes(columns), default=None)
    if largest is None:
        return True
    share = min(memory, _PLENTY) * (_SHARE_FOR_FEW if asked < _FEW * largest.rows else _SHARE)
    return largest.bytes(columns) <= share


def _from_row_groups(
    groups: Sequence[_Group], columns: Sequence[str], rows: Integers, rids: Integers, use_threads: bool
) -> Batches:
    """Yield, one row group after another, rows of the entity frame and the values of their columns.

    Parameters
    ----------
    rows, rids : arrays of int64, shape (n,)
        Rows of the entity frame and the id that each asks for; the ids rise.
    """
    for path, of_file in groupby(groups, key=lambda group: group.path):
        held = list(of_file)
        footer = held[0].footer
        with pq.ParquetFile(path, metadata=footer, read_dictionary=_categories(footer)) as file:
            for group in held:
                table = file.read_row_group(group.number, columns=list(columns), use_threads=use_threads)
                places = pa.array(rids[group.asked] - group.begin)
                taken = [_take(table.column(column), places) for column in columns]
                del table  # before the next is read
                yield rows[group.asked], taken


def _take(values: Any, places: Any) -> Any:
    """Return an array of some values of a column; many may be of one that is long."""
    if not pa.types.is_dictionary(values.type):
        return narrow(_one(roomy(values).take(places)), values.type)
    parts = [pa.DictionaryArray.from_arrays(c.indices, roomy(c.dictionary)) for c in values.chunks]
    return narrow(plain(_one(pa.chunked_array(parts).take(places))), values.type.value_type)


def _one(values: Any) -> Any:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


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
