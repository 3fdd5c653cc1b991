"""A stream of bytes as one message after the other, each with its size before it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SIZE = struct.Struct("<I")


class Frames:
    """Take a stream of bytes apart into what `frame` made."""

    def __init__(self) -> None:
        self._held = bytearray()

    def of(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that these bytes complete."""
        self._held += data
        begin = 0
        while len(self._held) >= begin + _SIZE.size:
            (size,) = _SIZE.unpack_from(self._held, begin)
            end = begin + _SIZE.size + size
            if len(self._held) < end:
                break
            yield bytes(self._held[begin + _SIZE.size : end])
            begin = end
        del self._held[:begin]


def frame(content: bytes) -> bytes:
    """Return bytes with their number before them."""
    return _SIZE.pack(len(content)) + content
