"""Arrow columns to the bytes that Feast keeps in Redis, a column at a time.

A value is the protobuf wire form of Feast's `Value`; an absent one is no bytes, except for a
timestamp, whose null Feast writes as the smallest 64-bit integer.

References
----------
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import InputError

_NULL_TIMESTAMP = np.iinfo(np.int64).min
_VARINT_TAGS = {"INT32": 0x18, "INT64": 0x20, "BOOL": 0x38, "UNIX_TIMESTAMP": 0x40}
_LENGTH_TAGS = {"BYTES": 0x0A, "STRING": 0x12}
_FLOAT_TAGS = {"DOUBLE": (0x29, "<f8"), "FLOAT": (0x35, "<f4")}
VALUE_TYPES = (*_FLOAT_TAGS, *_VARINT_TAGS, *_LENGTH_TAGS)
_KEY_TYPES = {"BYTES": 1, "STRING": 2, "INT32": 3, "INT64": 4, "UNIX_TIMESTAMP": 8}  # numbers of feast ValueType
_INTEGERS = {"INT32": pa.int32(), "INT64": pa.int64(), "BOOL": pa.bool_()}
INSTANT = pa.timestamp("us", "UTC")
ARROW_TYPES = _INTEGERS | {
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "UNIX_TIMESTAMP": INSTANT,
}

Integers = npt.NDArray[np.int64]


def encode_values(column: Any, value_type: str, name: str) -> Any:
    """Encode one feature.

    Parameters
    ----------
    column : pyarrow.Array
        The values.
    value_type : str
        Name of the Feast value type, one of `VALUE_TYPES`.
    name : str
        What to call the column in an error.

    Returns
    -------
    pyarrow.BinaryArray
        As many values, none of them null.

    Raises
    ------
    InputError
        If the type is no scalar that Feast stores, or the column does not convert to it unchanged.

    Examples
    --------
    >>> [raw.hex() for raw in encode_values(pa.array([1.5, None]), "DOUBLE", "x").to_pylist()]
    ['29000000000000f83f', '']
    """
    plain = _converted(column, value_type, name)
    if value_type in _FLOAT_TAGS:
        tag, dtype = _FLOAT_TAGS[value_type]
        return _floats(plain, tag, np.dtype(dtype))
    if value_type in _LENGTH_TAGS:
        values = plain.cast(pa.binary())
        sizes = _varints(_LENGTH_TAGS[value_type], pc.fill_null(pc.binary_length(values), 0))
        return _empty_where(pc.is_null(plain), _joined(sizes, pc.fill_null(values, b"")))
    if value_type == "UNIX_TIMESTAMP":
        return _varints(_VARINT_TAGS[value_type], pc.fill_null(plain, int(_NULL_TIMESTAMP)))
    numbers = pc.fill_null(plain, False if value_type == "BOOL" else 0)
    return _empty_where(pc.is_null(plain), _varints(_VARINT_TAGS[value_type], numbers))


def encode_timestamps(column: Any, name: str) -> Any:
    """Encode event times as protobuf `Timestamp`; without a zone they are UTC.

    Returns
    -------
    pyarrow.BinaryArray
        Zero seconds and zero nanoseconds take no bytes, as in any proto3 message.

    Raises
    ------
    InputError
        If the column holds no timestamps, or a null.
    """
    if not pa.types.is_timestamp(column.type):
        raise InputError(f"{name}: event times are timestamps, not {column.type}")
    if column.null_count:
        raise InputError(f"{name}: {column.null_count} rows have no event time")
    # Microseconds are all that Feast keeps; a division that rounds down does so before 1970 too.
    units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    ticks = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    seconds, rest = np.divmod(ticks, units)
    nanos = rest * (10**9 // units) // 1000 * 1000
    return _joined(
        _empty_where(pa.array(seconds == 0), _varints(0x08, pa.array(seconds))),
        _empty_where(pa.array(nanos == 0), _varints(0x10, pa.array(nanos))),
    )


def encode_keys(columns: dict[str, tuple[Any, str]], project: str) -> Any:
    """Encode Redis keys: the entity key of serialization version 3, then the project.

    Parameters
    ----------
    columns : dict
        Join key to its column and the name of its Feast value type.

    Returns
    -------
    pyarrow.BinaryArray

    Raises
    ------
    InputError
        If a key is null or of a type that Feast has no key for.
    """
    names = sorted(columns)
    head = struct.pack("<I", len(names))
    for name in names:
        raw = name.encode()
        head += struct.pack("<II", _KEY_TYPES["STRING"], len(raw)) + raw
    parts: list[Any] = [head]
    for name in names:
        column, value_type = columns[name]
        if value_type not in _KEY_TYPES:
            raise InputError(f"join key {name}: {value_type} cannot be a key (can: {', '.join(_KEY_TYPES)})")
        if column.null_count:
            raise InputError(f"join key {name}: {column.null_count} rows have none")
        plain = _converted(column, value_type, name)
        if value_type in _LENGTH_TAGS:
            values = plain.cast(pa.binary())
            sizes = pc.binary_length(values).to_numpy(zero_copy_only=False).astype("<u4")
            parts += [struct.pack("<I", _KEY_TYPES[value_type]), _fixed(sizes.view(np.uint8).reshape(-1, 4)), values]
        else:
            numbers = plain.to_numpy(zero_copy_only=False).astype("<i4" if value_type == "INT32" else "<i8")
            width = numbers.dtype.itemsize
            raw = numbers.view(np.uint8).reshape(-1, width)
            parts += [struct.pack("<II", _KEY_TYPES[value_type], width), _fixed(raw)]
    return _joined(*parts, project.encode())


def _converted(column: Any, value_type: str, name: str) -> Any:
    """Return the column in the Arrow type of a value type; timestamps as whole seconds."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    number = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if value_type not in VALUE_TYPES:
        raise InputError(f"{name}: {value_type} is not stored online here (can: {', '.join(VALUE_TYPES)})")
    try:
        if pa.types.is_null(kind):
            return column.cast(pa.int64() if value_type == "UNIX_TIMESTAMP" else ARROW_TYPES[value_type])
        if value_type in _FLOAT_TAGS and (number or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            return column.cast(ARROW_TYPES[value_type], safe=False)
        if value_type in _INTEGERS and (number or (pa.types.is_floating(kind) and value_type != "BOOL")):
            return column.cast(_INTEGERS[value_type])
        if value_type == "STRING" and (_is_text(kind) or pa.types.is_integer(kind)):
            return column.cast(pa.string())
        if value_type == "BYTES" and (_is_bytes(kind) or pa.types.is_fixed_size_binary(kind)):
            return column.cast(pa.binary())
        if value_type == "UNIX_TIMESTAMP":
            if pa.types.is_integer(kind):
                return column.cast(pa.int64())
            if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
                return _whole_seconds(column)
    except pa.ArrowInvalid as error:
        raise InputError(f"{name}: {kind} values are not {value_type} ({error})") from None
    raise InputError(f"{name}: {kind} where {value_type} belongs")


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _whole_seconds(column: Any) -> Any:
    if pa.types.is_date(column.type):
        return column.cast(pa.timestamp("s")).cast(pa.int64())
    # floor_temporal of a zoned column would go by the local clock; seconds are the same everywhere
    return (
        pc.floor_temporal(column.cast(pa.timestamp(column.type.unit)), unit="second")
        .cast(pa.timestamp("s"))
        .cast(pa.int64())
    )


def _floats(column: Any, tag: int, dtype: np.dtype[Any]) -> Any:
    values = column.to_numpy(zero_copy_only=False).astype(dtype, copy=False)  # a null comes as NaN
    cells = np.empty((len(values), 1 + dtype.itemsize), np.uint8)
    cells[:, 0] = tag
    cells[:, 1:] = np.ascontiguousarray(values).view(np.uint8).reshape(-1, dtype.itemsize)
    return _empty_where(pa.array(np.isnan(values)), _fixed(cells))


def _varints(tag: int, numbers: Any) -> Any:
    """Return tag and varint of each number, a negative one as its 64-bit two's complement."""
    signed: Integers = numbers.cast(pa.int64()).to_numpy(zero_copy_only=False)
    left = signed.view(np.uint64)
    sizes = np.ones(len(left), np.int64)
    for step in range(1, 10):
        longer = left >> np.uint64(7 * step) != 0
        if not longer.any():
            break
        sizes += longer
    offsets = np.zeros(len(left) + 1, np.int32)
    np.cumsum(sizes + 1, out=offsets[1:])
    data = np.empty(offsets[-1], np.uint8)
    data[offsets[:-1]] = tag
    for step in range(int(sizes.max(initial=0))):
        rows = np.flatnonzero(sizes > step)
        more = np.where(sizes[rows] > step + 1, 0x80, 0)
        data[offsets[rows] + 1 + step] = (left[rows] >> np.uint64(7 * step)) & np.uint64(0x7F) | more.astype(np.uint64)
    return _binary(offsets, data)


def _fixed(cells: npt.NDArray[np.uint8]) -> Any:
    """Return rows of bytes, all of one width, as a binary column."""
    count, width = cells.shape
    return _binary(np.arange(0, (count + 1) * width, width, dtype=np.int32)[: count + 1], cells)


def _binary(offsets: npt.NDArray[np.int32], data: npt.NDArray[np.uint8]) -> Any:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _joined(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, b"")


def _empty_where(mask: Any, values: Any) -> Any:
    if not pc.any(mask).as_py():
        return values
    return pc.if_else(mask, pa.scalar(b"", pa.binary()), values)
