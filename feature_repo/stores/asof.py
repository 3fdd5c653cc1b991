"""The two-time as-of join: for each entity row, the newest feature row of all that were known by then.

A row is true from ``event`` and known from ``known = max(event, created)``. At an instant t, the row to
see is, of all known by t, the one with the latest (event, created, place in the source). Walking a key's
rows in order of (known, event, created, place), a row that is older than one already met is never
seen again, and of rows known at one instant only the last is. What is left, the *index*, rises in both
times, so that one ASOF JOIN on ``known`` finds the row. The index holds row ids, not features: it is
small to sort, and serves every view of a source.

All instants are microseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.errors import InputError
from feature_repo.stores.offline_source import ParquetSource, literal, quoted

_FOREVER = 1 << 61
_FEW = 4  # a frame with fewer rows than a source has keys, by this much, leaves most of the index unread


@dataclass(frozen=True)
class ViewJoin:
    """One feature view to be joined.

    Parameters
    ----------
    keys : dict of str to str
        Column of the entity frame by join key of the source.
    features : dict of str to str
        Column of the result by feature of the source.
    event, created : str
        Columns of the source; `created` is empty if the source does not tell it.
    ttl : timedelta or None
        How old a row may be, inclusive; None or 0 means any age.
    """

    source: ParquetSource
    keys: dict[str, str]
    features: dict[str, str]
    event: str
    created: str
    ttl: timedelta | None

    @property
    def ttl_us(self) -> int:
        """The time to live in microseconds, 0 for none."""
        micros = self.ttl // timedelta(microseconds=1) if self.ttl else 0
        return micros if micros < _FOREVER else 0


@dataclass(frozen=True)
class Index:
    """SQL relations: ``keys`` (k0.., id) and ``rows`` (id, known, event, rid)."""

    keys: str
    rows: str


def distinct_keys(relation: str, count: int) -> str:
    """Return SQL that numbers the distinct keys k0.. of a relation; a key with a null is none."""
    names = [f"k{i}" for i in range(count)]
    if not names:
        return "select 1::bigint as id"
    present = " and ".join(f"{name} is not null" for name in names)
    chosen = ", ".join(names)
    return (
        f"select {chosen}, row_number() over () as id from (select distinct {chosen} from ({relation}) where {present})"
    )


def index_rows(view: ViewJoin, keys: str, where: str = "true") -> str:
    """Return SQL for the index of a view's source.

    Parameters
    ----------
    keys : str
        Relation of the keys to index (k0.., id).
    where : str
        Condition on the source's columns that keeps all rows that can be seen.
    """
    event = f"epoch_us({quoted(view.source.time_column(view.event))})"
    # A row of which it is not known since when it is known is not known.
    created = f"epoch_us({quoted(view.source.time_column(view.created))})" if view.created else event
    columns = key_columns(view) | {"event": event, "created": created, "kept": where}
    match = " and ".join(f"s.{alias} = k.{alias}" for alias in key_columns(view)) or "true"
    return f"""
        select id, known, event, rid from (
            select *, max(event) over by_known as newest, lead(known) over by_known as next_known
            from (
                select k.id, event, created, greatest(event, created) as known, rid
                from ({view.source.scan(columns)}) s join {keys} k on {match}
                where kept and event is not null and created is not null
            )
            window by_known as (partition by id order by known, event, created, rid rows unbounded preceding)
        )
        where event = newest and next_known is distinct from known"""


def key_columns(view: ViewJoin) -> dict[str, str]:
    """Return the source's key columns by the alias that they have in every relation here."""
    return {f"k{i}": quoted(view.source.column(key)) for i, key in enumerate(view.keys)}


def bounds(view: ViewJoin, first: datetime, last: datetime) -> str:
    """Return a condition on plain columns, which Parquet statistics can answer, that keeps all that can be seen.

    Parameters
    ----------
    first, last : datetime
        Range of the entity frame's instants.
    """
    event = quoted(view.source.time_column(view.event))
    condition = f"{event} <= {_instant(view.source, view.event, last)}"
    try:
        oldest = first - timedelta(microseconds=view.ttl_us)
    except OverflowError:
        return condition
    return f"{condition} and {event} >= {_instant(view.source, view.event, oldest)}" if view.ttl_us else condition


def worth_testing(
    connection: duckdb.DuckDBPyConnection, view: ViewJoin, index: Index, first: datetime, last: datetime
) -> bool:
    """Return whether `bounds` would leave out a good part of the source: else testing costs more than it saves."""
    micro = timedelta(microseconds=1)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    oldest = (first - epoch) // micro - (view.ttl_us or _FOREVER)
    inside, rows = connection.execute(
        f"select count(*) filter (event between {oldest} and {(last - epoch) // micro}), count(*) from {index.rows}"
    ).fetchone() or (0, 0)
    return bool(inside < 0.8 * rows)


def _instant(source: ParquetSource, name: str, instant: datetime) -> str:
    kind = source.types[source.time_column(name)]
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"timestamptz {literal(instant.isoformat())}"
    return f"timestamp {literal(instant.replace(tzinfo=None).isoformat())}"


def join_view(
    connection: duckdb.DuckDBPyConnection,
    view: ViewJoin,
    index: Index,
    entity_keys: Sequence[str],
    where: str,
    count: int,
) -> dict[str, Any]:
    """Join one view to the temporary table ``entity`` (row, t, keys).

    Parameters
    ----------
    entity_keys : sequence of str
        Columns of ``entity``, in the order of the view's keys.
    where : str
        Condition from `bounds`.
    count : int
        Number of rows of ``entity``.

    Returns
    -------
    dict of str to pyarrow.Array
        By column of the result, `count` values in the order of ``row``, null where nothing was known.

    Raises
    ------
    InputError
        If a join key has another type in the entity frame than in the source.
    """
    match = " and ".join(f"entity.{column} = keys.k{i}" for i, column in enumerate(entity_keys)) or "true"
    # DuckDB's ASOF JOIN takes a null instant for a very late one, so that none may come in.
    # The age is tested on what was found: an ASOF JOIN that skipped old rows would find older ones.
    fresh = f"found.event >= asked.t - {view.ttl_us}" if view.ttl_us else "true"
    try:
        connection.execute(f"""
            create or replace temp table asked as
            select row, t, id from entity join {index.keys} keys on {match} where t is not null""")
    except duckdb.ConversionException as error:
        raise InputError(f"source {view.source.name}: join keys cannot be compared: {error}") from None
    (keys,) = connection.execute(f"select count(*) from {index.keys}").fetchone() or (0,)
    few = "where id in (select id from asked)" if count * _FEW < keys else ""
    connection.execute(f"""
        create or replace temp table found as
        select asked.row, found.rid
        from asked asof join (select * from {index.rows} {few}) found
        on asked.id = found.id and asked.t >= found.known
        where {fresh}""")
    connection.execute("drop table asked")
    aliases = {f"f{i}": quoted(view.source.column(feature)) for i, feature in enumerate(view.features)}
    chosen = ", ".join(aliases)
    gathered = connection.sql(f"""
        select found.row, {chosen}
        from ({view.source.scan(aliases)} where {where}) s join found on s.rid = found.rid""").to_arrow_table()
    place = np.full(count, -1, dtype=np.int64)
    place[gathered["row"].to_numpy()] = np.arange(len(gathered))
    order = pa.array(place, mask=place < 0)
    names = zip(aliases, view.features.values(), strict=True)
    return {name: gathered[alias].combine_chunks().take(order) for alias, name in names}
