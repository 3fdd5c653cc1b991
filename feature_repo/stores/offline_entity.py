"""The entity frame of a historical retrieval as one Arrow table with its event timestamp in UTC."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import EntityTimestampInferenceException

from feature_repo.errors import InputError
from feature_repo.stores.offline_source import first_line

_TIME = "event_timestamp"
INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class EntityFrame:
    """Rows to be joined, n of them, in the order given.

    Parameters
    ----------
    table : pyarrow.Table
        The columns as given; `time` and all other timestamps in microseconds.
    time : str
        Column of the instant at which features are asked for, UTC.
    first, last : datetime or None
        Range of `time`, None if it has no value.
    """

    table: Any
    time: str
    first: datetime | None
    last: datetime | None

    def register(self, connection: duckdb.DuckDBPyConnection, keys: list[str]) -> dict[str, str]:
        """Make the table ``entity``, which cursors see too: ``row`` from 0, ``t`` in microseconds, and the keys.

        Returns
        -------
        dict of str to str
            Column of ``entity`` by key.

        Raises
        ------
        InputError
            If a key is no column of the frame.
        """
        aliases = {key: f"k{i}" for i, key in enumerate(keys)}
        columns = {"row": pa.array(np.arange(len(self.table))), "t": self.table[self.time].cast(pa.int64())}
        for key, alias in aliases.items():
            if key not in self.table.column_names:
                raise InputError(f"the entity frame lacks join key {key!r} (it has: {', '.join(self.names)})")
            columns[alias] = _comparable(self.table[key])
        connection.register("entity_frame", pa.table(columns))
        connection.execute("create table entity as from entity_frame")
        connection.unregister("entity_frame")
        return aliases

    @property
    def names(self) -> list[str]:
        """Columns of the frame."""
        return list(self.table.column_names)


def read_entity_frame(entity: Any, connection: duckdb.DuckDBPyConnection) -> EntityFrame:
    """Read an entity frame from a DataFrame, an Arrow table or a SQL query.

    Parameters
    ----------
    entity : DataFrame, pyarrow.Table or str
        Join keys, an event timestamp (``event_timestamp``, or the only timestamp column) and any
        other columns, which are passed through. Instants without a zone, and text, are UTC.
    connection : DuckDBPyConnection
        Runs a SQL query.

    Raises
    ------
    InputError
        If the query fails, two columns have one name, a column mixes types or times cannot be read.
    EntityTimestampInferenceException
        If there is no event timestamp, or more than one candidate.
    """
    if isinstance(entity, str):
        try:
            rows = connection.sql(entity)
            if rows is None:
                raise InputError("entity_df, read as a DuckDB query, has no rows to join: give a SELECT")
            table = rows.to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"entity_df, read as a DuckDB query, failed: {first_line(error)}") from None
    elif isinstance(entity, pd.DataFrame):
        _check_names([str(name) for name in entity.columns])
        try:
            table = pa.Table.from_pandas(entity, preserve_index=False).replace_schema_metadata(None)
        except (pa.ArrowException, OverflowError) as error:
            wide = "an integer needs more than 64 bits: " if isinstance(error, OverflowError) else ""
            raise InputError(f"entity_df: {wide}{' '.join(str(part) for part in error.args)}") from None
    elif isinstance(entity, pa.Table):
        table = entity
    else:
        raise InputError(f"entity_df is a {type(entity).__name__}; give a DataFrame or a DuckDB query")
    _check_names(table.column_names)
    time = _time_column(table)
    for position, column in enumerate(table.schema):
        if column.name == time:
            table = table.set_column(position, time, _instants(table[time], time))
        elif pa.types.is_timestamp(column.type):
            table = table.set_column(
                position, column.name, table[column.name].cast(pa.timestamp("us", column.type.tz), safe=False)
            )
    bounds = pc.min_max(table[time]).as_py()
    return EntityFrame(table, time, bounds["min"], bounds["max"])


def plain(values: Any) -> Any:
    """Return a column of categories as the values that they stand for."""
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def is_text(kind: Any) -> bool:
    """Return whether an Arrow type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _comparable(values: Any) -> Any:
    """Return a key column in a type that DuckDB compares with the source's exactly."""
    values = plain(values)
    if pa.types.is_null(values.type) or not len(values):
        return pa.chunked_array([pa.nulls(len(values), pa.string())])  # compares with any type
    if pa.types.is_floating(values.type):
        # pandas makes integers beside a null floats; compared as floats, integers beyond 2^53 are equal to others.
        with suppress(pa.ArrowInvalid):
            return values.cast(pa.int64())
    return values


def _check_names(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise InputError(f"entity_df has two columns named {name!r} (letter case does not count)")
        seen.add(name.lower())


def _time_column(table: Any) -> str:
    if _TIME in table.column_names:
        return _TIME
    candidates = [column.name for column in table.schema if pa.types.is_timestamp(column.type)]
    if len(candidates) != 1:
        raise EntityTimestampInferenceException(_TIME)
    return str(candidates[0])


def _instants(values: Any, name: str) -> Any:
    values = plain(values)
    if not len(values):
        return pa.chunked_array([], INSTANT)
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type) or pa.types.is_null(values.type):
        return values.cast(INSTANT, safe=False)
    if not is_text(values.type):
        raise InputError(f"entity_df: {name!r} is {values.type}, not instants: give timestamps or ISO 8601 text")
    try:
        instants = pd.to_datetime(values.to_pandas(), utc=True, format="ISO8601")
        return pa.chunked_array([pa.array(instants, INSTANT, safe=False)])
    except (ValueError, TypeError) as error:
        raise InputError(f"entity_df: {name!r} cannot be read as instants: {first_line(error)}") from None
