"""Rows as payloads of RESTORE: each hash as Redis itself would serialise it.

The form is that of RDB version 9 with a ziplist, which Redis 5 and every later version read.

References
----------
https://rdb.fnordig.de/file_format.html
https://redis.io/docs/latest/commands/restore/
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.stores.resp import Columns, Packed, arguments, joined, sized

_HASH_AS_ZIPLIST = b"\x0d"
_VERSION = struct.pack("<H", 9)
_POLYNOMIAL = 0x95AC9329AC4BC9B5  # Jones, bits reversed
_LONGEST_PIECE = 63  # a longer one has a longer header, and from 65 bytes on Redis keeps no ziplist
_LONGEST_HASH = (1 << 14) - 1  # as far as two bytes can say
_MOST_PAIRS = 128  # Redis 7 keeps no larger hash so

Bytes = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.uint64]


def payloads(columns: Columns) -> Packed | None:
    """Return one argument for each row: its hash, for a key that is not there yet.

    Returns
    -------
    Packed or None
        None if Redis would not keep such rows as a ziplist.
    """
    pieces: list[Any] = [columns.stamp_field, columns.stamps]
    for field, values in columns.values.items():
        pieces += [field, values]
    longest = max(len(p) if isinstance(p, bytes) else pc.max(pc.binary_length(p)).as_py() or 0 for p in pieces)
    if longest > _LONGEST_PIECE or len(pieces) > 2 * _MOST_PAIRS:
        return None
    entries, last = _entries(pieces)
    sizes = pc.binary_length(entries).to_numpy(zero_copy_only=False).astype(np.int64)
    if sizes.max() + 11 > _LONGEST_HASH:
        return None
    head = np.zeros((len(columns), 12), np.uint8)
    # length of the whole as RDB writes it: two bytes, big-endian, marked by 0b01
    head[:, 0:2] = (0x4000 | (sizes + 11)).astype(">u2").view(np.uint8).reshape(-1, 2)
    head[:, 2:6] = (sizes + 11).astype("<u4").view(np.uint8).reshape(-1, 4)
    head[:, 6:10] = (sizes + 10 - last).astype("<u4").view(np.uint8).reshape(-1, 4)
    head[:, 10:12] = np.frombuffer(struct.pack("<H", len(pieces)), np.uint8)
    body = joined(_HASH_AS_ZIPLIST, _rows_of(head), entries, b"\xff" + _VERSION)
    sums = _rows_of(_checksums(Packed(body)).astype("<u8").view(np.uint8).reshape(-1, 8))
    return Packed(joined(*arguments(joined(body, sums))))


def _entries(pieces: list[Any]) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return the ziplist's entries, each behind the size of the one before, and the size of the last."""
    parts: list[Any] = []
    before: list[Any] = [b"\x00"]
    for piece in pieces:
        if isinstance(piece, bytes):
            parts += [*before, bytes([len(piece)]) + piece]
            before = [bytes([2 + len(piece)])]
        else:
            parts += [*before, *sized(piece, lambda length: bytes([length])), piece]
            before = sized(piece, lambda length: bytes([2 + length]))
    return joined(*parts), pc.binary_length(pieces[-1]).to_numpy(zero_copy_only=False).astype(np.int64) + 2


def _rows_of(cells: Bytes) -> Any:
    raw = pa.py_buffer(np.ascontiguousarray(cells))
    return pa.Array.from_buffers(pa.binary(cells.shape[1]), len(cells), [None, raw]).cast(pa.binary())


def _checksums(rows: Packed) -> Sums:
    """Return the CRC-64 of each row.

    It starts from zero, so that it is linear: the sum of a row is the exclusive or of what each byte adds at its
    distance from the end. Rows of one length are summed together, and bytes that are the same in all of them once.
    """
    lengths = pc.binary_length(rows.column).to_numpy(zero_copy_only=False)
    sums = np.empty(len(rows), np.uint64)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        same = rows if len(chosen) == len(rows) else Packed(rows.column.take(pa.array(chosen)))
        cells = np.frombuffer(same.run(0, len(same)), np.uint8).reshape(len(chosen), int(length))
        cells = np.ascontiguousarray(cells.T)
        tables = _tables(int(length))
        found = np.zeros(len(chosen), np.uint64)
        for place in range(int(length)):
            table, column = tables[-1 - place], cells[place]
            found ^= table[column[0]] if (column == column[0]).all() else table[column]
        sums[chosen] = found
    return sums


@cache
def _tables(length: int) -> Sums:
    """Return what a byte adds to the CRC-64 for each number of bytes that follow it, less than `length`."""
    tables = np.empty((length, 256), np.uint64)
    table = np.arange(256, dtype=np.uint64)
    for _ in range(8):
        table = np.where(table & np.uint64(1), table >> np.uint64(1) ^ np.uint64(_POLYNOMIAL), table >> np.uint64(1))
    tables[0] = table
    for distance in range(1, length):
        before = tables[distance - 1]
        tables[distance] = table[(before & np.uint64(0xFF)).astype(np.intp)] ^ (before >> np.uint64(8))
    return tables
