"""The rows of a Parquet file as requests: what `candor batch` is given, read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.contract import Contract
from feature_repo.errors import InputError
from feature_repo.stores.stored_table import JOIN_KEY, TIME

INSTANT = pa.timestamp("us", tz="UTC")
FIRST, END = datetime(2, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)  # a year from what a datetime can hold
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # of a second


def open_source(source: Path) -> Any:
    """Open a Parquet file.

    Raises
    ------
    InputError
        If it is not there, or is none.
    """
    try:
        return pq.ParquetFile(source, page_checksum_verification=True)
    except FileNotFoundError:
        raise InputError(f"{source} is not there") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source} is no Parquet file ({_first_line(error)})") from None


def check_columns(file: Any, fields: dict[str, Any], source: Path) -> None:
    """Check that columns are fields of a request, each once, and the instant is one.

    Raises
    ------
    InputError
        If not.
    """
    with _reading(source):
        schema = file.schema_arrow
    for name in (JOIN_KEY, "purchase_amount"):
        if name not in schema.names:
            raise InputError(f"{source} has no column {name!r}")
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise InputError(f"{source} has more than one column {', '.join(map(repr, twice))}")
    unknown = [name for name in schema.names if name not in fields and name != TIME]
    if unknown:
        raise InputError(f"{source}: {', '.join(unknown)}: no field of a request (known: {', '.join(fields)}, {TIME})")
    if TIME in schema.names and not pa.types.is_timestamp(schema.field(TIME).type):
        raise InputError(f"{source}: {TIME} is {schema.field(TIME).type}, not a timestamp")


def read_tables(file: Any, source: Path, rows: int) -> Iterator[Any]:
    """Yield the file in tables of so many rows; errors as for `open_source`."""
    batches = file.iter_batches(rows)
    while True:
        with _reading(source):
            batch = next(batches, None)
        if batch is None:
            return
        if len(batch):
            yield pa.Table.from_batches([batch])


def instants_of(given: Any, clock: datetime) -> tuple[Any, list[str]]:
    """Return each row's instant, the clock's where it has none that will do, and what is wrong with it."""
    if TIME not in given.column_names:
        return pa.array([clock] * len(given), INSTANT), [""] * len(given)
    values = given[TIME]
    low, high = (int(edge.timestamp()) * _TICKS[values.type.unit] for edge in (FIRST, END))
    ticks = values.cast(pa.int64())
    sound = pc.and_(
        pc.greater_equal(ticks, pa.scalar(max(low, -(2**63)), pa.int64())),
        pc.less_equal(ticks, pa.scalar(min(high, 2**63) - 1, pa.int64())),
    )
    instants = pc.if_else(sound, values, None).cast(INSTANT, safe=False).fill_null(pa.scalar(clock, INSTANT))
    words = {True: "", None: f"{TIME}: is null", False: f"{TIME}: is not in the years {FIRST.year} to {END.year - 1}"}
    return instants, [words[one] for one in sound.to_pylist()]


def bodies_of(given: Any, contract: Contract, source: Path) -> list[bytes]:
    """Return each row as the JSON that would be posted: nulls left out, whole counts as whole numbers."""
    counts = {spec.name for spec in contract.features if spec.kind == "count"} | {"age"}
    columns: dict[str, list[Any]] = {}
    for name in given.column_names:
        if name == TIME:
            continue
        with _reading(source, name):
            column = _plain(given[name])
            values = column.to_pylist()
        if name in counts and pa.types.is_floating(column.type):
            values = [int(one) if one is not None and one == one // 1 else one for one in values]
        columns[name] = values
    rows = zip(*columns.values(), strict=True)
    encode = msgspec.json.Encoder(enc_hook=str).encode  # what JSON has no word for is refused row by row
    return [encode({n: v for n, v in zip(columns, row, strict=True) if v is not None and v == v}) for row in rows]


def applicant_ids(given: Any, source: Path) -> Any:
    """Return the applicants of rows as text."""
    with _reading(source, JOIN_KEY):
        return _plain(given[JOIN_KEY]).cast(pa.string())


def _plain(column: Any) -> Any:
    """Return a column as JSON has it: categories as what they stand for, bytes as text, decimals as floats."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return column.cast(pa.string()) if is_bytes or pa.types.is_fixed_size_binary(kind) else column


@contextmanager
def _reading(source: Path, column: str = "") -> Iterator[None]:
    """Say of what cannot be read where it is."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        where = f"{source}: column {column!r}" if column else f"{source}"
        wrong = "holds text that is not UTF-8" if _is_no_text(error) else f"cannot be read ({_first_line(error)})"
        raise InputError(f"{where} {wrong}") from None


def _is_no_text(error: Exception) -> bool:
    return isinstance(error, UnicodeDecodeError) or (isinstance(error, pa.ArrowInvalid) and "UTF8" in str(error))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
