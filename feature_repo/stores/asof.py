"""The two-time as-of join: for each entity row, the newest feature row of all that were known by then.

A row is true from ``event`` and known from ``known = max(event, created)``. At an instant t, the row to
see is, of all known by t, the one with the latest (event, created, place in the source). Walking a key's
rows in order of (known, event, created, place), a row that is older than one already met is never
seen again, and of rows known at one instant only the last is. What is left, the *index*, rises in both
times, so that the row to see at t is the last of its key with ``known <= t``: an as-of join. The index holds
row ids, not features: it is small to sort, and serves every view of a source.

All instants are microseconds since 1970, UTC.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from feature_repo.stores.offline_source import ParquetSource, literal, quoted

_FOREVER = 1 << 61
_MICRO = timedelta(microseconds=1)


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
    """Return SQL for the index of a view's source: id, known, event and rid, in order of id and known.

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
        where event = newest and next_known is distinct from known
        order by id, known"""


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
    # The index cuts nanoseconds off: what it takes for one microsecond lies less than one on either side.
    conditions = []
    with suppress(OverflowError):  # no bound where time ends
        conditions.append(f"{event} < {_instant(view.source, view.event, last + _MICRO)}")
    with suppress(OverflowError):
        oldest = first - timedelta(microseconds=view.ttl_us) - _MICRO
        conditions += [f"{event} > {_instant(view.source, view.event, oldest)}"] if view.ttl_us else []
    return " and ".join(conditions) or "true"


def _instant(source: ParquetSource, name: str, instant: datetime) -> str:
    kind = source.types[source.time_column(name)]
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"timestamptz {literal(instant.isoformat())}"
    if kind == "TIMESTAMP_NS" and not 1678 <= instant.year <= 2261:
        raise OverflowError("nanoseconds since 1970 do not fit into 64 bits")
    return f"timestamp {literal(instant.replace(tzinfo=None).isoformat())}"
