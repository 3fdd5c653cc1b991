"""What Redis holds of many applicants, as columns: for batch jobs, which look at features rather than at applicants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from feature_repo.contract import Kind
from feature_repo.stores.columns import decode_column
from feature_repo.stores.plan import OnlinePlan, ViewPlan
from feature_repo.stores.stored import CLOCK_SKEW, Scalar
from feature_repo.stores.wire import decode_timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DOUBLE = np.dtype([("tag", "u1"), ("value", "<f8")])
_MICROS = 1_000_000

Instants = npt.NDArray[np.datetime64]
Name = tuple[str, str]  # view and feature
Values = npt.NDArray[np.float64] | Sequence[Scalar | None]


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


def decode_columns(
    plan: OnlinePlan, columns: Sequence[Sequence[bytes | None]], now: datetime
) -> dict[str, ViewColumns]:
    """Return what the fields of n hashes say, view by view.

    Parameters
    ----------
    columns : sequence of sequence of bytes or None
        For each field of the plan (of a view its event time, then its features) n values.
    now : datetime
        Instant from which age is measured, with a zone.

    Raises
    ------
    ValueError
        If they hold bytes that are not Feast's.
    """
    raw = iter(columns)
    stamps = {}
    features: dict[Name, tuple[Kind, Sequence[bytes | None]]] = {}
    for view in plan.views:
        stamps[view.name] = tuple(next(raw))
        features |= {(view.name, slot.name): (slot.kind, next(raw)) for slot in view.slots}
    decoded = _decoded(features)
    views = {}
    told: dict[tuple[bytes | None, ...], Instants] = {}  # views of one source have the same event times
    for view in plan.views:
        if stamps[view.name] not in told:
            told[stamps[view.name]] = _instants(stamps[view.name])
        values = {slot.name: decoded[view.name, slot.name] for slot in view.slots}
        views[view.name] = _view(view, told[stamps[view.name]], values, now)
    return views


def _view(view: ViewPlan, event: Instants, values: dict[str, Values], now: datetime) -> ViewColumns:
    age = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us") - event
    known = age >= np.timedelta64(-CLOCK_SKEW, "s")  # NaT is neither late nor early
    stale = age > np.timedelta64(view.ttl_seconds, "s") if view.ttl_seconds else np.zeros(len(event), np.bool_)
    status = np.where(known, np.where(stale, "STALE", "PRESENT"), "MISSING")
    if known.all():
        return ViewColumns(status, event, values)
    hidden = {name: _only(column, known) for name, column in values.items()}
    return ViewColumns(status, np.where(known, event, np.datetime64("NaT")), hidden)


def _only(column: Values, known: npt.NDArray[np.bool_]) -> Values:
    if isinstance(column, np.ndarray):
        return np.where(known, column, np.nan)
    return [value if seen else None for value, seen in zip(column, known.tolist(), strict=True)]


def _decoded(features: dict[Name, tuple[Kind, Sequence[bytes | None]]]) -> dict[Name, Values]:
    """Decode all features, those that are doubles throughout at once."""
    numbers = {name: raw for name, (kind, raw) in features.items() if kind == "number"}
    cells = [raw or b"" for column in numbers.values() for raw in column]
    decoded: dict[Name, Values] = {}
    if cells and set(map(len, cells)) == {_DOUBLE.itemsize}:
        matrix = np.frombuffer(b"".join(cells), _DOUBLE).reshape(len(numbers), -1)
        if (matrix["tag"] == 0x29).all():
            finite = np.where(np.isfinite(matrix["value"]), matrix["value"], np.nan)
            decoded = dict(zip(numbers, finite, strict=True))
    for name, (kind, raw) in features.items():
        if name not in decoded:
            plain = decode_column(raw, kind)
            decoded[name] = np.array(plain, dtype=np.float64) if kind == "number" else plain
    return decoded


def _instants(stamps: Sequence[bytes | None]) -> Instants:
    micros = np.full(len(stamps), np.iinfo(np.int64).min)  # which is NaT
    lengths = np.array([-1 if stamp is None else len(stamp) for stamp in stamps])
    for length in np.unique(lengths[lengths >= 0]).tolist():
        places = np.flatnonzero(lengths == length)
        micros[places] = _micros([stamps[place] or b"" for place in places.tolist()], length)
    return micros.view("datetime64[us]")


def _micros(stamps: Sequence[bytes], length: int) -> npt.NDArray[np.int64]:
    """Return microseconds since 1970 of protobuf timestamps of one length."""
    cells = np.frombuffer(b"".join(stamps), np.uint8).reshape(len(stamps), length).astype(np.int64)
    if length >= 6 and (cells[:, 0] == 0x08).all() and (cells[:, 1:5] > 0x7F).all() and (cells[:, 5] < 0x80).all():
        seconds = _varint(cells[:, 1:6])
        if length == 6:
            return seconds * _MICROS
        rest = cells[:, 6:]
        if (rest[:, 0] == 0x10).all() and (rest[:, 1:-1] > 0x7F).all() and (rest[:, -1] < 0x80).all():
            return seconds * _MICROS + _varint(rest[:, 1:]) // 1000
    return np.array([(decode_timestamp(stamp) - _EPOCH) // np.timedelta64(1, "us").item() for stamp in stamps])


def _varint(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return (groups & 0x7F) @ (1 << 7 * np.arange(groups.shape[1]))
