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
    """
    times = [name for name in (event, created) if name]
    present = [f"{quoted(name)} is not null" for name in (*keys, *times)]
    known = [f"{_instant(source, name)} <= {_literal(end)}" for name in times]
    newest = ", ".join(f"{name} desc" for name in [*(quoted(name) for name in times), "rid"])
    columns = {quoted(name): quoted(name) for name in dict.fromkeys((*keys, *times))}
    latest = f"""
        select rid from (
            select *, row_number() over (partition by {", ".join(map(quoted, keys)) or "1"} order by {newest}) as place
            from ({source.scan(columns)} where {" and ".join([*present, *known])})
        )
        where place = 1 and greatest({", ".join(_instant(source, name) for name in times)}) >= {_literal(start)}"""
    rows = source.scan(_selected(source, keys, features, times))
    result = connection.sql(f"select s.* exclude (rid) from ({rows}) s join ({latest}) l on s.rid = l.rid")
    return one_chunk(result.to_arrow_table())


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
    """Return all rows with an event timestamp in [start, end], whenever they became known.

    Parameters are those of `pull_latest`; None leaves that side open.
    """
    times = [name for name in (event, created) if name]
    conditions = [f"{_instant(source, event)} >= {_literal(start)}"] if start else []
    conditions += [f"{_instant(source, event)} <= {_literal(end)}"] if end else []
    rows = source.scan(_selected(source, keys, features, times))
    where = " and ".join(conditions) or "true"
    return one_chunk(connection.sql(f"select * exclude (rid) from ({rows} where {where})").to_arrow_table())


def _selected(
    source: ParquetSource, keys: Sequence[str], features: Sequence[str], times: Sequence[str]
) -> dict[str, str]:
    names = dict.fromkeys((*keys, *(features or source.types), *times))
    return {quoted(name): _instant(source, name) if name in times else quoted(source.column(name)) for name in names}


def _instant(source: ParquetSource, name: str) -> str:
    column = source.time_column(name)
    return quoted(column) if source.types[column] == "TIMESTAMP WITH TIME ZONE" else f"{quoted(column)}::timestamptz"


def _literal(instant: datetime) -> str:
    utc = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    return f"timestamptz {literal(utc.isoformat())}"
