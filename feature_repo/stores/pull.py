"""Reading one source by time: the newest row of each key for materialization, or all rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb

from feature_repo.stores.offline_job import one_chunk
from feature_repo.stores.offline_source import ParquetSource, literal, quoted


def pull_latest(
    connection: duckdb.DuckDBPyConnection,
    source: ParquetSource,
    keys: Sequence[str],
    features: Sequence[str],
    event: str,
    created: str,
    start: datetime,
    end: datetime,
    among: Any = None,
) -> Any:
    """Return, for each key of which something became known in [start, end], the row to serve at `end`.

    That is the row with the latest event, then created timestamp, then place in the source, of all
    that were true and known by `end`. It may be older than `start` if it came late: a row is asked
    for by when it became known, so that no run misses what the run before could not yet know.
    Without a created timestamp a row is known from its event on. Rows with a null in a key or in
    a timestamp are left out.

    Parameters
    ----------
    keys, features : sequence of str
        Columns of the files; no features means all columns.
    event, created : str
        Columns of the files; `created` may be empty.
    start, end : datetime
        Inclusive; UTC if without a zone.
    among : pyarrow.Table or None
        The keys to look at, its columns as `keys`; None means all.
    """
    times = [name for name in (event, created) if name]
    key_aliases = {f"k{i}": quoted(source.column(name)) for i, name in enumerate(keys)}
    time_aliases = {f"t{i}": _instant(source, name) for i, name in enumerate(times)}
    seen = [f"{alias} is not null" for alias in key_aliases] + [f"{alias} <= {_literal(end)}" for alias in time_aliases]
    newest = ", ".join(f"{alias} desc" for alias in [*time_aliases, "rid"])
    scan = f"({source.scan(key_aliases | time_aliases)})"
    if among is not None:
        connection.register("among", among.rename_columns(list(key_aliases)))
        scan += f" semi join among using ({', '.join(key_aliases)})"
    latest = f"""
        select rid from (
            select *, row_number() over (partition by {", ".join(key_aliases) or "1"} order by {newest}) as place
            from {scan} where {" and ".join(seen)}
        )
        where place = 1 and greatest({", ".join(time_aliases)}) >= {_literal(start)}"""
    columns = _columns(source, keys, features, times)
    rows = connection.sql(f"""
        select {", ".join(f"rows.{alias}" for alias in columns)}
        from ({source.scan(_expressions(source, columns, times))}) rows join ({latest}) latest on rows.rid = latest.rid
    """)
    return one_chunk(rows.to_arrow_table().rename_columns(list(columns.values())))


def pull_all(
    connection: duckdb.DuckDBPyConnection,
    source: ParquetSource,
    keys: Sequence[str],
    features: Sequence[str],
    event: str,
    created: str,
    start: datetime | None,
    end: datetime | None,
) -> Any:
    """Return all rows with an event timestamp in [start, end] that were known by `end`.

    Parameters are those of `pull_latest`; None leaves that side open, and without a created
    timestamp every row is known.
    """
    times = [name for name in (event, created) if name]
    conditions = [f"{_instant(source, event)} >= {_literal(start)}"] if start else []
    conditions += [f"{_instant(source, name)} <= {_literal(end)}" for name in times] if end else []
    columns = _columns(source, keys, features, times)
    scan = f"{source.scan(_expressions(source, columns, times))} where {' and '.join(conditions) or 'true'}"
    rows = connection.sql(f"select {', '.join(columns)} from ({scan})")
    return one_chunk(rows.to_arrow_table().rename_columns(list(columns.values())))


def _columns(
    source: ParquetSource, keys: Sequence[str], features: Sequence[str], times: Sequence[str]
) -> dict[str, str]:
    """Return the wanted columns by alias, each once."""
    return {f"c{i}": name for i, name in enumerate(dict.fromkeys((*keys, *(features or source.types), *times)))}


def _expressions(source: ParquetSource, columns: dict[str, str], times: Sequence[str]) -> dict[str, str]:
    return {
        alias: _instant(source, name) if name in times else quoted(source.column(name))
        for alias, name in columns.items()
    }


def _instant(source: ParquetSource, name: str) -> str:
    column = source.time_column(name)
    return quoted(column) if source.types[column] == "TIMESTAMP WITH TIME ZONE" else f"{quoted(column)}::timestamptz"


def _literal(instant: datetime) -> str:
    utc = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    return f"timestamptz {literal(utc.isoformat())}"
