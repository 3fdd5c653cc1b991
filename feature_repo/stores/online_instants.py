"""Feast's stored event times, decoded for many applicants at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain

import numpy as np
import numpy.typing as npt

from feature_repo.stores.online_layout import Bytes, Column, cells
from feature_repo.stores.wire import decode_timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_MICROS = 1_000_000
_NAT = np.iinfo(np.int64).min

Micros = npt.NDArray[np.int64]


def instants(columns: Sequence[Column]) -> Micros:
    """Return microseconds since 1970, UTC, one row for each of m columns; NaT's where there is no event time.

    Raises
    ------
    ValueError
        If some bytes are no timestamp that a datetime can hold.
    """
    matrices = [column for column in columns if isinstance(column, np.ndarray)]
    if len(matrices) == len(columns) and len({matrix.shape[1] for matrix in matrices}) == 1:
        return _micros(np.concatenate(matrices)).reshape(len(columns), -1)
    lengths = defaultdict(list)
    stamps = list(chain.from_iterable(map(cells, columns)))
    for place, stamp in enumerate(stamps):
        lengths[-1 if stamp is None else len(stamp)].append(place)
    micros = np.full(len(stamps), _NAT)
    for length, places in lengths.items():
        if length >= 0:
            joined = b"".join([stamps[place] or b"" for place in places])
            micros[places] = _micros(np.frombuffer(joined, np.uint8).reshape(len(places), length))
    return micros.reshape(len(columns), -1)


def _micros(stamps: Bytes) -> Micros:
    """Return microseconds since 1970 of protobuf timestamps of one length."""
    width = stamps.shape[1]
    if width == 6 or 8 <= width <= 12:
        tags, mask, weights = _form(width)
        if not ((stamps & mask) ^ tags).any():
            seconds, nanos = ((stamps & 0x7F) @ weights).T
            return np.asarray(seconds * _MICROS + nanos // 1000)
    return np.array([(decode_timestamp(stamp or b"") - _EPOCH) // _MICRO for stamp in cells(stamps)], np.int64)


@cache
def _form(width: int) -> tuple[Bytes, Bytes, Micros]:
    """Return the form of a timestamp of today: seconds in five bytes after a tag, nanoseconds in the rest, if any.

    Returns
    -------
    tags, mask : ndarray of uint8, shape (width,)
        What bytes are under the mask: tags, and whether a number goes on.
    weights : ndarray of int64, shape (width, 2)
        By which bytes, without their top bit, add up to both numbers.
    """
    tags, mask = np.full(width, 0x80, np.uint8), np.full(width, 0x80, np.uint8)
    weights = np.zeros((width, 2), np.int64)
    for field, (start, stop, tag) in enumerate([(0, 6, 0x08), (6, width, 0x10)]):
        if start < stop:
            tags[start], mask[start], tags[stop - 1] = tag, 0xFF, 0
            weights[start + 1 : stop, field] = 1 << 7 * np.arange(stop - start - 1)
    return tags, mask, weights
