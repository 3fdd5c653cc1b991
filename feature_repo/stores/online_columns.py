"""What Redis holds of many applicants, as columns: for batch jobs, which look at features rather than at applicants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

import numpy as np
import numpy.typing as npt

from feature_repo.stores.columns import decode_column
from feature_repo.stores.online_answers import Part
from feature_repo.stores.online_instants import Micros, instants
from feature_repo.stores.online_layout import Column, cells
from feature_repo.stores.plan import OnlinePlan, ViewPlan
from feature_repo.stores.stored import CLOCK_SKEW, Scalar, StoredFeatures, StoredView

_DOUBLE = np.dtype([("tag", "u1"), ("value", "<f8")])
_MICROS = 1_000_000
_FOREVER = np.iinfo(np.int64).max // _MICROS

Instants = npt.NDArray[np.datetime64]
Known = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
Values = Numbers | Sequence[Scalar | None]


@dataclass(frozen=True)
class ViewColumns:
    """One view of n applicants.

    Parameters
    ----------
    status : ndarray of str, shape (n,)
        PRESENT, STALE or MISSING, as in `StoredView`.
    event_timestamp : ndarray of datetime64[us], shape (n,)
        When the values were true, UTC; NaT when MISSING.
    values : dict
        Feature name to n values, those of STALE rows included: numbers as float64 with NaN for null, others
        as Python values with None.
    """

    status: npt.NDArray[np.str_]
    event_timestamp: Instants
    values: dict[str, Values]


@dataclass(frozen=True)
class _Decoded:
    """The event times of v views, their f numbers and their other features, of n applicants."""

    stamps: Micros  # (v, n)
    numbers: Numbers  # (f, n)
    others: list[Sequence[Scalar | None]]


def decode_columns(plan: OnlinePlan, parts: Sequence[Part], now: datetime) -> dict[str, ViewColumns]:
    """Return what the fields of n hashes say, view by view.

    Parameters
    ----------
    parts : sequence of Part
        Of a view its event time, then its features; each of the n hashes is in one part.
    now : datetime
        Instant from which age is measured, with a zone.

    Raises
    ------
    ValueError
        If they hold bytes that are not Feast's.
    """
    found = _together(parts, [_decoded(plan, part.columns) for part in parts])
    owners = np.repeat(np.arange(len(plan.views)), [_numbers_in(view) for view in plan.views])
    ttl = np.array([view.ttl_seconds or _FOREVER for view in plan.views]).reshape(-1, 1)
    event = found.stamps.view("datetime64[us]")
    age = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us") - event
    known = np.asarray(age >= np.timedelta64(-CLOCK_SKEW, "s"))  # NaT is neither late nor early
    status = np.where(known, np.where(age > ttl.astype("timedelta64[s]"), "STALE", "PRESENT"), "MISSING")
    numbers = found.numbers
    if not known.all():
        event = np.where(known, event, np.datetime64("NaT"))
        numbers = np.where(known[owners], numbers, np.nan)
    number, other = iter(numbers), iter(found.others)
    views = {}
    for place, view in enumerate(plan.views):
        values: dict[str, Values] = {
            slot.name: next(number) if slot.kind == "number" else _only(next(other), known[place])
            for slot in view.slots
        }
        views[view.name] = ViewColumns(status[place], event[place], values)
    return views


def stored_features(applicant_ids: Sequence[str], views: dict[str, ViewColumns], now: datetime) -> list[StoredFeatures]:
    """Return columns as what is known of each applicant."""
    until = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us")
    missing = StoredView("MISSING", None, None, {})
    zoned: dict[datetime, datetime] = {}  # views of one source have the same event times
    told: list[list[StoredView]] = []
    for view in views.values():
        names = list(view.values)
        rows: Iterable[tuple[Scalar | None, ...]] = zip(*map(_plain, view.values.values()), strict=True)
        if not names:
            rows = [()] * len(applicant_ids)
        ages = (until - view.event_timestamp).view(np.int64) // _MICROS
        instants = view.event_timestamp.tolist()
        zoned |= {event: event.replace(tzinfo=UTC) for event in set(instants) - zoned.keys() if event}
        told.append(
            [
                StoredView(status, zoned[event], age, dict(zip(names, row, strict=True))) if event else missing
                for status, event, age, row in zip(view.status.tolist(), instants, ages.tolist(), rows, strict=True)
            ]
        )
    return [
        StoredFeatures(name, dict(zip(views, row, strict=True)))
        for name, row in zip(applicant_ids, zip(*told, strict=True), strict=True)
    ]


def _numbers_in(view: ViewPlan) -> int:
    return sum(slot.kind == "number" for slot in view.slots)


def _together(parts: Sequence[Part], decoded: Sequence[_Decoded]) -> _Decoded:
    """Return what the parts say in the order of the whole."""
    if len(decoded) == 1:
        return decoded[0]  # whose places are in order
    order = np.argsort(np.concatenate([part.places for part in parts]))
    stamps = np.concatenate([part.stamps for part in decoded], axis=1)[:, order]
    numbers = np.concatenate([part.numbers for part in decoded], axis=1)[:, order]
    others: list[Sequence[Scalar | None]] = []
    for columns in zip(*(part.others for part in decoded), strict=True):
        column = list(chain.from_iterable(columns))
        others.append([column[place] for place in order.tolist()])
    return _Decoded(stamps, numbers, others)


def _decoded(plan: OnlinePlan, columns: Sequence[Column]) -> _Decoded:
    raw = iter(columns)
    stamps, numbers, others = [], [], []
    for view in plan.views:
        stamps.append(next(raw))
        for slot in view.slots:
            if slot.kind == "number":
                numbers.append(next(raw))
            else:
                others.append(decode_column(cells(next(raw)), slot.kind))
    return _Decoded(instants(stamps), _numbers(numbers, len(columns[0])), others)


def _numbers(columns: Sequence[Column], count: int) -> Numbers:
    """Decode numbers, those that are doubles throughout at once."""
    found = np.empty((len(columns), count))
    doubles = {place: raw for place, raw in enumerate(columns) if isinstance(raw, np.ndarray) and raw.shape[1] == 9}
    if doubles:
        cell = np.stack(list(doubles.values())).view(_DOUBLE)[..., 0]
        if (cell["tag"] == 0x29).all():
            found[list(doubles)] = np.where(np.isfinite(cell["value"]), cell["value"], np.nan)
        else:
            doubles = {}
    for place, raw in enumerate(columns):
        if place not in doubles:
            found[place] = np.array(decode_column(cells(raw), "number"), dtype=np.float64)
    return found


def _only(column: Sequence[Scalar | None], known: Known) -> Sequence[Scalar | None]:
    if known.all():
        return column
    return [value if seen else None for value, seen in zip(column, known.tolist(), strict=True)]


def _plain(column: Values) -> Sequence[Scalar | None]:
    if not isinstance(column, np.ndarray):
        return column
    numbers: list[float] = column.tolist()
    return [None if number != number else number for number in numbers] if np.isnan(column).any() else numbers
