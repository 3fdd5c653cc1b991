"""Bring your own data: source tables that a lender already has as Parquet, checked before they are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from feature_repo.errors import InputError
from feature_repo.portfolios.raw import literal, parquet_schema
from feature_repo.portfolios.source_tables import KEYS, Schema

_NUMBERS: tuple[Callable[[pa.DataType], bool], ...] = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal)
_ACCEPTED: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
    "DOUBLE": _NUMBERS,
    "BIGINT": (pa.types.is_integer,),
    "BOOLEAN": (pa.types.is_boolean,),
    "VARCHAR": (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary),
}


def own_tables(folder: Path, schema: Schema) -> dict[str, tuple[str, str]]:
    """Return a query for each source table found in a folder.

    Each table is ``<table>.parquet`` or a folder ``<table>/`` of Parquet files. Tables and feature
    columns may be left out; `KEYS` may not.

    Returns
    -------
    dict of str to tuple of str
        Table to its query and to what to call it in messages.

    Raises
    ------
    InputError
        If there is no table, a file of an unknown table, a column that the contract does not know or
        of a wrong type, or a timestamp that is not in microseconds with a time zone.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of source tables")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        table = path.relative_to(folder).parts[0].removesuffix(".parquet")
        if table not in schema:
            raise InputError(f"{path}: there is no source table {table!r} (known: {', '.join(schema)})")
        files.setdefault(table, []).append(path)
    if not files:
        expected = ", ".join(f"{table}.parquet" for table in schema)
        raise InputError(f"{folder} holds no source table: expected {expected}")
    queries = {}
    for table, paths in files.items():
        for path in paths:
            _check_schema(path, table, schema)
        names = ", ".join(literal(str(path)) for path in paths)
        label = str(paths[0] if len(paths) == 1 else folder / table)
        scan = f"read_parquet([{names}], union_by_name = true, hive_partitioning = false)"
        queries[table] = (f"SELECT * FROM {scan}", label)
    return queries


def _check_schema(path: Path, table: str, schema: Schema) -> None:
    columns = schema[table]
    found = parquet_schema(path)
    for name in KEYS:
        if name not in found.names:
            raise InputError(f"{path} lacks the column {name}")
    for field in found:
        if field.name not in columns:
            raise InputError(f"{path}: the contract does not know the column {field.name} of {table}")
        kind = columns[field.name]
        if kind == "TIMESTAMPTZ":
            _check_timestamp(path, field)
        elif not pa.types.is_null(field.type) and not any(accepts(field.type) for accepts in _ACCEPTED[kind]):
            raise InputError(f"{path}, column {field.name}: {field.type} where the contract says {kind}")


def _check_timestamp(path: Path, field: pa.Field) -> None:
    kind = field.type
    if not pa.types.is_timestamp(kind):
        raise InputError(f"{path}, column {field.name}: {kind} is not a timestamp")
    if kind.tz is None:
        raise InputError(f"{path}, column {field.name}: timestamps have no time zone; write them as UTC instants")
    if kind.unit != "us":
        raise InputError(f"{path}, column {field.name}: timestamps are in {kind.unit}; write microseconds (us)")
