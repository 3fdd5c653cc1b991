"""Joined rows of the offline store as what a reader of the online store returns; knows nothing of Feast."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
    ids, instants = table[JOIN_KEY].to_pylist(), table[TIME].to_pylist()
    views = {view.name: _view(view, table, instants) for view in plan.views}
    rows = zip(*views.values(), strict=True) if views else [()] * len(ids)
    return [StoredFeatures(name, dict(zip(views, row, strict=True))) for name, row in zip(ids, rows, strict=True)]


def _view(view: ViewPlan, table: Any, instants: Sequence[datetime]) -> list[StoredView]:
    names = [slot.name for slot in view.slots]
    columns = [_values(table[f"{view.name}:{slot.name}"], slot.kind) for slot in view.slots]
    events = table[f"{view.name}:"].cast(_INSTANT).to_pylist()
    rows = zip(*columns, strict=True) if columns else [()] * len(events)
    return [
        _MISSING if event is None else aged(view, event, dict(zip(names, row, strict=True)), now)
        for event, row, now in zip(events, rows, instants, strict=True)
    ]


def _values(column: Any, kind: Kind) -> list[Any]:
    """Return the values of a column as the online store gives them back: a number that is not finite is null."""
    values = column.cast(_ARROW[kind])
    if kind == "number":
        values = pc.if_else(pc.is_finite(values), values, None)
    return list(values.to_pylist())
