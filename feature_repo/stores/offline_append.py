"""Appending rows to a source as a new file beside the others, so that no file is ever rewritten."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID
from feast.types import from_feast_to_pyarrow_type

from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores.offline_entity import INSTANT
from feature_repo.stores.offline_job import write_parquet
from feature_repo.stores.offline_source import APPENDED, has_wildcard, open_source, pattern_of, reading

_OPEN_ENDS = ("*.parquet", os.path.join("**", "*.parquet"))


def append(connection: duckdb.DuckDBPyConnection, view: Any, table: Any, repo_path: Path) -> Path:
    """Write rows as a new, uniquely named file in the folder of a view's source.

    A reader sees all of the rows or none. Columns may come in any order, and under the names of
    the files or of the features. Instants are written as UTC with microseconds; without a zone they are UTC.

    Parameters
    ----------
    view : FeatureView
        Its batch source says where and which columns.
    table : pyarrow.Table
        The rows; not empty columns for keys and both timestamps.

    Raises
    ------
    InputError
        If columns are missing or unknown, do not convert without loss, or hold nulls in keys or
        timestamps; or if the source is a single file or partitioned by folder names.
    UnavailableError
        If the folder cannot be written or its files cannot be read; nothing is appended.
    """
    source = view.batch_source
    folder = _folder(source, repo_path)
    schema = _schema(connection, view, repo_path)
    to_file = {feature: column for column, feature in (source.field_mapping or {}).items()}
    # Feast makes a column of a frame's nameless index.
    table = table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])
    table = table.rename_columns([to_file.get(name, name) for name in table.column_names])
    given, expected = set(table.column_names), set(schema.names)
    if given != expected or len(table.column_names) != len(given):
        raise InputError(
            f"source {source.name}: rows do not have its columns: missing {sorted(expected - given) or 'none'}, "
            f"unknown {sorted(given - expected) or 'none'}"
        )
    columns = [_converted(table[field.name], field, source.name) for field in schema]
    times = [to_file.get(name, name) for name in (source.timestamp_field, source.created_timestamp_column) if name]
    for name in [*(to_file.get(key, key) for key in _keys(view)), *times]:
        if columns[schema.get_field_index(name)].null_count:
            raise InputError(f"source {source.name}: {name!r} has nulls; such a row would never be seen")
    now = datetime.now(UTC)
    path = folder / f"{APPENDED}{now:%Y%m%dT%H%M%S%f}Z-{uuid.uuid4().hex[:12]}.parquet"
    try:
        write_parquet(pa.table(columns, schema=schema), path)
    except OSError as error:
        raise UnavailableError(
            f"source {source.name}: cannot write to {folder} ({error.strerror or error}); nothing was appended: "
            "make room or give access, then append again"
        ) from None
    return path


def _folder(source: Any, repo_path: Path) -> Path:
    pattern = pattern_of(source, repo_path)
    for end in _OPEN_ENDS[::-1]:
        folder = pattern.removesuffix(end)
        if folder != pattern and not has_wildcard(folder) and folder.endswith(os.sep):
            return Path(folder)
    if pattern.endswith(_OPEN_ENDS) or has_wildcard(pattern) or pattern.endswith(".parquet"):
        raise InputError(
            f"source {source.name}: nothing can be appended to {pattern}; give the source a folder, "
            f"or a path that ends in {' or '.join(_OPEN_ENDS)} and has no other wildcard"
        )
    return Path(pattern)


def _schema(connection: duckdb.DuckDBPyConnection, view: Any, repo_path: Path) -> Any:
    try:
        opened = open_source(connection, view.batch_source, repo_path)
    except UnavailableError:
        return _declared(view)  # the first rows of a source
    if opened.partitions:
        named = ", ".join(opened.partitions)
        raise InputError(f"source {opened.name} is partitioned by folders ({named}): cannot append")
    with reading(opened.name):
        schema = connection.sql(f"select * from {opened.read()} limit 0").to_arrow_table().schema
    return pa.schema([_in_utc(field) for field in schema])


def _declared(view: Any) -> Any:
    source = view.batch_source
    to_file = {feature: column for column, feature in (source.field_mapping or {}).items()}
    types = {column.name: column.dtype for column in [*view.entity_columns, *view.features]}
    names = [*_keys(view), *(field.name for field in view.features)]
    fields = [(to_file.get(name, name), from_feast_to_pyarrow_type(types[name])) for name in names]
    times = [name for name in (source.timestamp_field, source.created_timestamp_column) if name]
    return pa.schema([*fields, *((to_file.get(name, name), INSTANT) for name in times)])


def _keys(view: Any) -> list[str]:
    return [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]


def _in_utc(field: Any) -> Any:
    return field.with_type(INSTANT) if pa.types.is_timestamp(field.type) and field.type.tz else field


def _converted(values: Any, field: Any, source: str) -> Any:
    instants = pa.types.is_timestamp(field.type)
    if instants and not (pa.types.is_temporal(values.type) or pa.types.is_null(values.type)):
        raise InputError(f"source {source}: {field.name!r} is {field.type}, not {values.type}")
    try:
        # Only of instants may digits be lost: pandas gives nanoseconds.
        return values.cast(field.type, safe=not instants)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"source {source}: {field.name!r} is {field.type}, not {values.type}: {error}") from None
