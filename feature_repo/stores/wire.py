"""Feast's stored values, decoded by hand: protobuf wire bytes of `Value` and `Timestamp`.

References
----------
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from feature_repo.contract import Kind
from feature_repo.stores.stored import Scalar

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STRING, _INT32, _INT64, DOUBLE, _FLOAT, _BOOL = 0x12, 0x18, 0x20, 0x29, 0x35, 0x38
unpack_double = struct.Struct("<xd").unpack
_SECONDS, _NANOS = 0x08, 0x10
_NULL = b"\x98\x01\x00"
_KINDS: dict[Kind, tuple[type, ...]] = {"number": (float, int), "count": (int,), "flag": (bool,), "category": (str,)}


def decode_value(raw: bytes, kind: Kind) -> Scalar | None:
    """Decode one `Value`; no bytes, the explicit null and a number that is not finite are null.

    Parameters
    ----------
    raw : bytes
        Wire bytes of a double, float, int32, int64, bool or string.
    kind : {"number", "count", "flag", "category"}
        What the contract says the value is.

    Raises
    ------
    ValueError
        If the bytes are no such value, or not of that kind.

    Examples
    --------
    >>> decode_value(bytes.fromhex("29000000000000f83f"), "number"), decode_value(b"", "count")
    (1.5, None)
    """
    if not raw or raw == _NULL:
        return None
    value = _scalar(raw)
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "flag"):
        raise ValueError(f"{type(value).__name__} where a {kind} belongs")
    if kind != "number":
        return value
    number = float(value)
    return number if math.isfinite(number) else None


decode_repeated = lru_cache(1 << 14)(decode_value)
"""`decode_value` of what many applicants share: counts, flags, categories."""


@lru_cache(1 << 14)  # applicants and views often share them
def decode_timestamp(raw: bytes) -> datetime:
    """Decode a `Timestamp` to microseconds, UTC; no bytes are the epoch.

    Raises
    ------
    ValueError
        If the bytes are no timestamp that a datetime can hold.
    """
    numbers = {_SECONDS: 0, _NANOS: 0}
    tag = number = shift = 0
    for byte in raw:  # one walk over the bytes: a batch decodes many of them
        if not tag:
            if byte not in numbers:
                raise ValueError(f"unknown timestamp field {byte:#x}")
            tag, number, shift = byte, 0, 0
            continue
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers[tag], tag = _signed(number), 0
        elif shift > 63:
            break
    if tag:
        raise ValueError("truncated number")
    seconds, nanos = numbers.values()
    try:
        return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise ValueError("timestamp out of range") from None


def _scalar(raw: bytes) -> Scalar:
    tag = raw[0]
    try:
        if tag == DOUBLE and len(raw) == 9:
            return float(unpack_double(raw)[0])
        if tag == _FLOAT and len(raw) == 5:
            return float(struct.unpack_from("<f", raw, 1)[0])
        if tag in (_INT64, _INT32, _BOOL):
            number, end = _varint(raw, 1)
            if end == len(raw):
                return bool(number) if tag == _BOOL else number
        if tag == _STRING:
            length, start = _varint(raw, 1)
            if start + length == len(raw):
                return raw[start:].decode()
    except IndexError:
        pass
    raise ValueError(f"malformed value with tag {tag:#x}")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    """Return a signed 64-bit varint and the position behind it."""
    number = shift = 0
    while True:
        if position >= len(raw) or shift > 63:
            raise ValueError("truncated number")
        byte = raw[position]
        number |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            break
    return _signed(number), position


def _signed(number: int) -> int:
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >= 1 << 63 else number
