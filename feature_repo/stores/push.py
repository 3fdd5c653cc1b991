"""Push events: rows that become part of a source and are served at once.

The source's new file comes first, then Redis. Between the two a crash leaves an event that history
knows and Redis does not serve yet: pushing it again mends that, and so does the next materialize. The other
way round, decisions would be made on a value that no training set could ever see.

Pushing the same events again is harmless. Redis keeps what it has, and a row that is in the source twice
answers no question differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from feature_repo.errors import InputError
from feature_repo.stores.bulk import ViewEncoder, newest_of_each, record_batches
from feature_repo.stores.encode import ARROW_TYPES, INSTANT
from feature_repo.stores.online_store import CandorOnlineStore


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Parameters
    ----------
    events : int
        Rows appended to the source.
    served : int
        Rows written to Redis, in all views of the source; the others are older than what is there.
    """

    events: int
    served: int


def push(store: FeatureStore, view: str, rows: Any, known_at: datetime) -> Pushed:
    """Append events to a view's source and update Redis, newest event time first.

    Parameters
    ----------
    store : feast.FeatureStore
        An applied store with Candor's online store.
    view : str
        Name of a feature view. Other views of the same source are updated too.
    rows : pyarrow.Table
        As `event_schema` says; without a created timestamp they become known at `known_at`.
    known_at : datetime
        Now, with a zone; no event may be later, since it would hide all that comes before it.

    Raises
    ------
    InputError
        If the view is not there, or the rows are not as they should be; the message names the
        column. Nothing is written then.
    UnavailableError
        If Redis does not take the rows, which are in the source by then: push them again.
    """
    provider = store._get_provider()
    online = provider.online_store
    if not isinstance(online, CandorOnlineStore):
        raise InputError("push needs online_store: type: feature_repo.stores.online_store.CandorOnlineStore")
    chosen = _view(store, view)
    source = chosen.batch_source
    siblings = [other for other in store.list_feature_views() if other.online and other.batch_source == source]
    encoders = [ViewEncoder(store.config, other) for other in siblings]
    events = _checked(rows, event_schema(store, view), source, known_at)
    keys = [column.name for column in chosen.entity_columns]
    times = [name for name in (source.timestamp_field, source.created_timestamp_column) if name]
    if nulls := [name for name in (*keys, *times) if events[name].null_count]:
        raise InputError(f"column {nulls[0]}: {events[nulls[0]].null_count} events have none")
    latest = newest_of_each(events, keys, times)
    encoded = [[encoder.encode(batch) for batch in record_batches(latest.combine_chunks())] for encoder in encoders]
    provider.offline_write_batch(store.config, chosen, events, None)
    return Pushed(len(events), sum(online.write_rows(store.config, batches) for batches in encoded))


def event_schema(store: FeatureStore, view: str) -> Any:
    """Return the columns of an event for a view's source, those of its other views included.

    Returns
    -------
    pyarrow.Schema
        Keys and features in Arrow's types, instants as microseconds in UTC.

    Raises
    ------
    InputError
        If there is no such view, or a column of it is no scalar.
    """
    source = _view(store, view).batch_source
    columns: dict[str, Any] = {}
    for other in store.list_feature_views():
        if other.batch_source == source:
            for field in (*other.entity_columns, *other.features):
                kind = field.dtype.to_value_type().name
                if kind not in ARROW_TYPES:
                    raise InputError(f"view {other.name}: {field.name} is {kind}, which cannot be pushed")
                columns[field.name] = ARROW_TYPES[kind]
    columns[source.timestamp_field] = INSTANT
    if source.created_timestamp_column:
        columns[source.created_timestamp_column] = INSTANT
    return pa.schema(list(columns.items()))


def _view(store: FeatureStore, name: str) -> Any:
    views = {view.name: view for view in store.list_feature_views()}
    if name not in views:
        raise InputError(f"there is no feature view {name!r} (there are: {', '.join(sorted(views))})")
    return views[name]


def _checked(rows: Any, schema: Any, source: Any, known_at: datetime) -> Any:
    """Return the rows in the schema's order and types."""
    created = source.created_timestamp_column
    if created and created not in rows.column_names:
        rows = rows.append_column(created, pa.array([known_at] * len(rows), INSTANT))
    given = rows.column_names
    for name in given:
        if name not in schema.names or given.count(name) > 1:
            what = "twice" if given.count(name) > 1 else f"unknown (known: {', '.join(schema.names)})"
            raise InputError(f"column {name}: {what}")
    for name in schema.names:
        if name not in given:
            raise InputError(f"column {name}: missing; every column of source {source.name} belongs to an event")
    if not len(rows):
        raise InputError("there are no events")
    table = pa.table([_column(rows[field.name], field) for field in schema], schema=schema)
    for name in (source.timestamp_field, created):
        if name and (pc.max(table[name]).as_py() or known_at) > known_at:
            raise InputError(
                f"column {name}: {pc.max(table[name]).as_py()} is later than now, {known_at.astimezone(UTC)}"
            )
    return table


def _column(values: Any, field: Any) -> Any:
    kind = values.type
    if field.type == INSTANT and not (pa.types.is_timestamp(kind) and kind.tz):
        raise InputError(
            f"column {field.name}: instants need a time zone, such as 2026-05-31T12:00:00Z; this is {kind}"
        )
    text = pa.types.is_string(field.type)
    if not pa.types.is_null(kind) and text != (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"column {field.name}: {kind} where {field.type} belongs")
    try:
        # Only of instants may digits be lost: microseconds are all that is kept.
        return values.cast(field.type, safe=field.type != INSTANT)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"column {field.name}: {kind} values are not {field.type} ({error})") from None
