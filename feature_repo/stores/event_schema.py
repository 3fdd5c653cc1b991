"""What an event of a view is: every column of the view's source, in Arrow's types, nothing of it in the future."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from feature_repo.applicant_id import id_fault
from feature_repo.errors import InputError
from feature_repo.stores.encode import ARROW_TYPES, INSTANT


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
    source = view_of(store, view).batch_source
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


def checked_events(store: FeatureStore, view: str, rows: Any, known_at: datetime) -> Any:
    """Return events as `event_schema` says: columns in its order and of its types, NaN being null.

    Parameters
    ----------
    rows : pyarrow.Table
        Without a created timestamp events become known at `known_at`.
    known_at : datetime
        With a zone.

    Raises
    ------
    InputError
        If a column is missing, unknown or of another type, a key or an instant is null, a key of text
        is none that a request may give, or an instant is later than `known_at`; the message names the column.
    """
    chosen = view_of(store, view)
    source = chosen.batch_source
    events = _conformed(rows, event_schema(store, view), source, known_at)
    if nulls := [name for name in (*keys_of(chosen), *times_of(source)) if events[name].null_count]:
        raise InputError(f"column {nulls[0]}: {events[nulls[0]].null_count} events have none")
    for name in keys_of(chosen):
        if pa.types.is_string(events.schema.field(name).type):
            for value in pc.unique(events[name]).to_pylist():
                if fault := id_fault(value):
                    raise InputError(f"column {name}: {value!r} {fault}")
    return events


def view_of(store: FeatureStore, name: str) -> Any:
    """Return a feature view by its name.

    Raises
    ------
    InputError
        If there is none.
    """
    views = {view.name: view for view in store.list_feature_views()}
    if name not in views:
        raise InputError(f"there is no feature view {name!r} (there are: {', '.join(sorted(views))})")
    return views[name]


def keys_of(view: Any) -> list[str]:
    """Return a view's join keys."""
    return [column.name for column in view.entity_columns]


def times_of(source: Any) -> list[str]:
    """Return a source's event and created timestamp, if it has one."""
    return [name for name in (source.timestamp_field, source.created_timestamp_column) if name]


def _conformed(rows: Any, schema: Any, source: Any, known_at: datetime) -> Any:
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
    for name in times_of(source):
        if (pc.max(table[name]).as_py() or known_at) > known_at:
            raise InputError(
                f"column {name}: {pc.max(table[name]).as_py()} is later than now, {known_at.astimezone(UTC)}"
            )
    return table


def _column(values: Any, field: Any) -> Any:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
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
        converted = values.cast(field.type, safe=field.type != INSTANT)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"column {field.name}: {kind} values are not {field.type} ({error})") from None
    return pc.if_else(pc.is_nan(converted), None, converted) if pa.types.is_floating(field.type) else converted
