"""Encoded rows as Redis commands: the protocol's bytes for a whole batch at once.

References
----------
https://redis.io/docs/latest/develop/reference/protocol-spec/
https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_KNOWN_SIZES = 1024


class Packed:
    """A binary column of which any run of rows is one slice of memory."""

    def __init__(self, column: Any) -> None:
        self.column = column
        _, offsets, data = column.buffers()
        self._offsets: npt.NDArray[np.int32] = np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4)
        self._data = memoryview(data) if data else memoryview(b"")

    def __len__(self) -> int:
        return len(self.column)

    def run(self, start: int, stop: int) -> memoryview:
        """Return the bytes of rows `start` to `stop`, one after the other."""
        return self._data[self._offsets[start] : self._offsets[stop]]


@dataclass(frozen=True)
class Columns:
    """Encoded rows of one view, as columns.

    Parameters
    ----------
    keys, stamps : pyarrow.BinaryArray
        Redis key and event time, without nulls.
    stamp_field : bytes
        Hash field of the event time.
    values : mapping of bytes to pyarrow.BinaryArray
        Hash field to its values, in the order in which they are written.
    key_ttl : int
        Seconds after which a written key expires; 0 for never.
    """

    keys: Any
    stamps: Any
    stamp_field: bytes
    values: Mapping[bytes, Any]
    key_ttl: int = 0

    def __len__(self) -> int:
        return len(self.keys)


class Rows:
    """Rows of one view as arguments of the script that writes them. A key occurs once.

    Parameters
    ----------
    columns : Columns
        What they are made of.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def keys(self) -> Packed:
        """The key of each row as one argument."""
        return Packed(joined(*arguments(self.columns.keys)))

    @cached_property
    def pairs(self) -> Packed:
        """The event time of each row as one argument, its fields and values as MessagePack strings as another."""
        parts: list[Any] = []
        for field, values in self.columns.values.items():
            parts += [_message_size(len(field)) + field, *sized(values, _message_size), values]
        pairs = joined(*parts) if parts else pa.array([b""] * len(self), pa.binary())
        return Packed(joined(*arguments(self.columns.stamps), *arguments(pairs)))

    def take(self, rows: list[int]) -> Rows:
        """Return some rows."""
        chosen, columns = pa.array(rows, pa.int64()), self.columns
        values = {field: column.take(chosen) for field, column in columns.values.items()}
        return Rows(replace(columns, keys=columns.keys.take(chosen), stamps=columns.stamps.take(chosen), values=values))


def arguments(column: Any) -> list[Any]:
    """Return the parts of a column as one argument of a command for each row."""
    return [*sized(column, _argument_size), column, b"\r\n"]


def sized(column: Any, size: Any) -> list[Any]:
    """Return, for each row, what `size` says of its length: one constant if all are of one length."""
    lengths = pc.binary_length(column)
    extremes = pc.min_max(lengths)
    low, high = extremes["min"].as_py() or 0, extremes["max"].as_py() or 0
    if low == high:
        return [size(low)]
    if high < _KNOWN_SIZES:
        return [pa.array([size(length) for length in range(high + 1)], pa.binary()).take(lengths)]
    return [pa.array([size(length) for length in lengths.to_pylist()], pa.binary())]


def joined(*parts: Any) -> Any:
    """Join columns and constants row by row, at least one being a column."""
    merged: list[Any] = []
    for part in parts:
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    return pc.binary_join_element_wise(*merged, b"")


def _argument_size(length: int) -> bytes:
    return b"$%d\r\n" % length


def _message_size(length: int) -> bytes:
    if length < 32:
        return bytes([0xA0 | length])
    if length < 1 << 8:
        return b"\xd9" + length.to_bytes(1, "big")
    if length < 1 << 16:
        return b"\xda" + length.to_bytes(2, "big")
    return b"\xdb" + length.to_bytes(4, "big")
