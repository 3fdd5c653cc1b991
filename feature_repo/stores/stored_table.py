"""Joined rows of the offline store as what a reader of the online store returns; knows nothing of Feast."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from feature_repo.contract import Kind
from feature_repo.stores.online import aged
from feature_repo.stores.plan import OnlinePlan, ViewPlan
from feature_repo.stores.stored import StoredFeatures, StoredView

JOIN_KEY, TIME = "applicant_id", "event_timestamp"
_ARROW: dict[Kind, Any] = {"number": pa.float64(), "count": pa.int64(), "flag": pa.bool_(), "category": pa.string()}
_INSTANT = pa.timestamp("us", tz="UTC")
_MISSING = StoredView("MISSING", None, None, {})


def stored_of(plan: OnlinePlan, table: Any) -> list[StoredFeatures]:
    """Return what a reader of the online store by `plan` would have read at each row's instant.

    Parameters
    ----------
    table : pyarrow.Table
        From `stored_as_of.join_stored`.
    """
    ids, instants = _objects(table[JOIN_KEY].cast(pa.string())), datetimes_of(table[TIME])
    views = {view.name: _view(view, table, instants) for view in plan.views}
    rows = zip(*views.values(), strict=True) if views else [()] * len(ids)
    return [StoredFeatures(name, dict(zip(views, row, strict=True))) for name, row in zip(ids, rows, strict=True)]


def datetimes_of(column: Any) -> list[Any]:
    """Return a column of instants as datetimes in UTC, null as None; each that is there often is made once."""
    encoded = column.cast(_INSTANT).combine_chunks().dictionary_encode()
    instants = [instant.astimezone(UTC) for instant in encoded.dictionary.to_pylist()]
    places = encoded.indices.fill_null(len(instants)).to_numpy().tolist()
    return list(map([*instants, None].__getitem__, places))


def _view(view: ViewPlan, table: Any, instants: Sequence[datetime]) -> list[StoredView]:
    names = [slot.name for slot in view.slots]
    columns = [_values(table[f"{view.name}:{slot.name}"], slot.kind) for slot in view.slots]
    events = datetimes_of(table[f"{view.name}:"])
    rows = zip(*columns, strict=True) if columns else [()] * len(events)
    return [
        _MISSING if event is None else aged(view, event, dict(zip(names, row, strict=True)), now)
        for event, row, now in zip(events, rows, instants, strict=True)
    ]


def _values(column: Any, kind: Kind) -> list[Any]:
    """Return the values of a column as the online store gives them back: a number that is not finite is null."""
    values = column.cast(_ARROW[kind])
    if kind == "number":
        return [number if number - number == 0 else None for number in _objects(values)]  # a null is NaN here
    if kind == "count" and values.null_count:
        counts = zip(_objects(values.fill_null(0)), _objects(values.is_null()), strict=True)
        return [None if is_null else count for count, is_null in counts]
    return _objects(values)


def _objects(column: Any) -> list[Any]:
    """Return a column, of no dictionary, as Python has its values: by way of NumPy, in a tenth of Arrow's time."""
    return list(column.to_numpy().tolist())
