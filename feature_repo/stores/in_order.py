"""Columns whose values come batch by batch, each put where its row belongs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.stores.offline_stop import Stop

Integers = npt.NDArray[np.int64]
Batches = Iterable[tuple[Integers, Sequence[Any]]]
"""Rows and, of each column, their values."""

_MOST_TEXT = 2**31 - 1  # bytes in one array
_ROOMY = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}


def in_order(batches: Batches, kinds: Sequence[Any], count: int, stop: Stop) -> list[Any]:
    """Return columns of `count` values, put in place batch by batch; null where no batch has a row."""
    columns = [_Numbers(kind, count) if _width(kind) else _Others(kind, count) for kind in kinds]
    for rows, parts in batches:
        for column, part in zip(columns, parts, strict=True):
            column.put(rows, part)
        stop.check()
    return [column.array() for column in columns]


class _Numbers:
    """A column of values of a fixed width, written where they belong at once."""

    def __init__(self, kind: Any, count: int) -> None:
        self._kind = kind
        self._values = np.zeros(count, f"i{_width(kind)}")
        self._known = np.zeros(count, np.bool_)

    def put(self, rows: Integers, part: Any) -> None:
        values = np.frombuffer(part.buffers()[1], self._values.dtype)[part.offset : part.offset + len(part)]
        if part.null_count:
            present = part.is_valid().to_numpy(zero_copy_only=False)
            rows, values = rows[present], values[present]
        self._values[rows] = values
        self._known[rows] = True

    def array(self) -> Any:
        known = np.packbits(self._known, bitorder="little")
        return pa.Array.from_buffers(self._kind, len(self._values), [pa.py_buffer(known), pa.py_buffer(self._values)])


class _Others:
    """A column of anything else, put in order at the end."""

    def __init__(self, kind: Any, count: int) -> None:
        self._kind = kind
        self._parts = [pa.nulls(0, kind)]
        self._place: Integers = np.full(count, -1)
        self._length = 0

    def put(self, rows: Integers, part: Any) -> None:
        self._place[rows] = np.arange(self._length, self._length + len(part))
        self._length += len(part)
        self._parts.append(part)

    def array(self) -> Any:
        much = sum(part.nbytes for part in self._parts) > _MOST_TEXT
        values = pa.concat_arrays([roomy(part) for part in self._parts] if much else self._parts)
        values.validate(full=True)  # pyarrow reads text that is no UTF-8, and DuckDB refuses it
        parts = [self._taken(values, place) for place in _cut(values, self._place)]
        return parts[0] if len(parts) == 1 else pa.chunked_array(parts)

    def _taken(self, values: Any, place: Integers) -> Any:
        taken = values.take(pa.array(place, mask=place < 0))
        if taken.type != self._kind:
            return taken.cast(self._kind)
        taken.validate()
        return taken


def _cut(values: Any, place: Integers) -> list[Integers]:
    """Return places in values, in parts: none holds more text than offsets of 32 bits can tell."""
    if values.type not in _ROOMY.values():
        return [place]
    offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
    ends = np.cumsum(np.where(place < 0, 0, np.diff(offsets)[place]))
    cuts, begun = [0], 0
    while begun + _MOST_TEXT < ends[-1]:
        cuts.append(max(int(np.searchsorted(ends, begun + _MOST_TEXT, "right")), cuts[-1] + 1))
        begun = ends[cuts[-1] - 1]
    return [place[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(place)], strict=True)]


def _width(kind: Any) -> int:
    """Return the bytes of a value if an integer has as many, else 0."""
    bits = kind.bit_width if pa.types.is_primitive(kind) else 0
    return bits // 8 if bits in (8, 16, 32, 64) else 0


def roomy(values: Any) -> Any:
    """Return text with offsets of 64 bits: with 32, pyarrow makes invalid arrays of more than 2 GiB."""
    return values.cast(_ROOMY[values.type]) if values.type in _ROOMY else values


def narrow(values: Any, kind: Any) -> Any:
    """Return what `roomy` made wider as it was, unless it holds too much for that."""
    return values if values.type == kind or values.nbytes > _MOST_TEXT else values.cast(kind)
