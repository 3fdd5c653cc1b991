"""Encoded rows as Redis commands: the protocol's bytes for a whole batch at once.

References
----------
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_SHORT = [b"$%d\r\n" % length for length in range(1024)]


def bulk(raw: bytes) -> bytes:
    """Return one argument of a command.

    Examples
    --------
    >>> bulk(b"HSET")
    b'$4\\r\\nHSET\\r\\n'
    """
    return b"$%d\r\n%s\r\n" % (len(raw), raw)


def command(*arguments: bytes) -> bytes:
    """Return one whole command.

    Examples
    --------
    >>> command(b"PING")
    b'*1\\r\\n$4\\r\\nPING\\r\\n'
    """
    return b"*%d\r\n" % len(arguments) + b"".join(map(bulk, arguments))


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

    def chosen(self, start: int, keep: list[bool]) -> memoryview:
        """Return the bytes of those rows from `start` on that are to be kept."""
        chosen = Packed(self.column.slice(start, len(keep)).filter(pa.array(keep, pa.bool_())))
        return chosen.run(0, len(chosen))


@dataclass(frozen=True)
class Rows:
    """Rows of one view, ready to be sent. A key occurs once.

    Parameters
    ----------
    stamp_field : bytes
        Hash field of the view's event time.
    width : int
        Arguments in `pairs`.
    key_ttl : int or None
        Seconds after which a written key expires.
    keys, stamps, pairs : Packed
        Arguments of each row: its key, its event time, its fields and values (the event time first).
    writes : Packed
        Whole commands of each row, which write it without looking.
    """

    stamp_field: bytes
    width: int
    key_ttl: int | None
    keys: Packed
    stamps: Packed
    pairs: Packed
    writes: Packed

    def __len__(self) -> int:
        return len(self.keys)


def pack(
    keys: Any, stamps: Any, values: Mapping[bytes, Any], *, stamp_field: bytes, key_ttl: int | None = None
) -> Rows:
    """Arrange encoded columns as rows of commands.

    Parameters
    ----------
    keys, stamps : pyarrow.BinaryArray
        Redis key and event time of each row, without nulls.
    values : mapping of bytes to pyarrow.BinaryArray
        Hash field to its values, in the order in which they are written.
    key_ttl : int or None
        Seconds after which a written key expires; None or 0 for never.
    """
    key_arguments, stamp_arguments = _arguments(keys), _arguments(stamps)
    parts: list[Any] = [bulk(stamp_field), stamp_arguments]
    for field, column in values.items():
        parts += _sized(bulk(field), column)
    width = 2 + 2 * len(values)
    pairs = _joined(*parts)
    write = [b"*%d\r\n" % (2 + width) + bulk(b"HSET"), key_arguments, pairs]
    if key_ttl:
        write += [b"*3\r\n" + bulk(b"EXPIRE"), key_arguments, bulk(b"%d" % key_ttl)]
    return Rows(
        stamp_field,
        width,
        key_ttl or None,
        Packed(key_arguments),
        Packed(stamp_arguments),
        Packed(pairs),
        Packed(_joined(*write)),
    )


def _arguments(column: Any) -> Any:
    return _joined(*_sized(b"", column))


def _sized(before: bytes, column: Any) -> list[Any]:
    """Return the parts of an argument for each row, behind the same bytes."""
    lengths = pc.binary_length(column)
    extremes = pc.min_max(lengths)
    low, high = extremes["min"].as_py(), extremes["max"].as_py()
    if low == high:
        return [before + b"$%d\r\n" % (low or 0), column, b"\r\n"]
    if high < len(_SHORT):
        sizes = pa.array(_SHORT[: high + 1], pa.binary()).take(lengths)
    else:
        sizes = _joined(b"$", lengths.cast(pa.string()).cast(pa.binary()), b"\r\n")
    return [before, sizes, column, b"\r\n"]


def _joined(*parts: Any) -> Any:
    """Join columns and constants, neighbouring constants first."""
    merged: list[Any] = []
    for part in parts:
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    return pc.binary_join_element_wise(*merged, b"")
