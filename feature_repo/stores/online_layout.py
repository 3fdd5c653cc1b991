"""Answers of Redis that differ in nothing but the bytes of values, taken apart as one matrix.

Most hashes have the same fields in the same order, with values of the same lengths. One answer is walked through.
Another of its size that has the same bytes everywhere else is, read from its beginning, the same answer with other
values, whatever those look like; so that values become columns of bytes without an object for each.

References
----------
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Column = Sequence[bytes | None] | Bytes
"""Values of one field: bytes, or None where there is none; if all are of one length perhaps as rows of a matrix."""


def cells(column: Column) -> Sequence[bytes | None]:
    """Return the values of a column one by one."""
    if not isinstance(column, np.ndarray):
        return column
    width, raw = column.shape[1], column.tobytes()
    return [raw[row * width : (row + 1) * width] for row in range(len(column))]


class Layout:
    """How an answer about some fields is laid out.

    Parameters
    ----------
    piece : bytes
        An array, without its first byte and its last two.
    fields : sequence of bytes
        The fields that are wanted.
    whole : bool
        Whether it is a whole hash, names and values in turn, rather than the values of those fields.

    Raises
    ------
    ValueError
        If it is not one whole array of strings and nulls.
    """

    def __init__(self, piece: bytes, fields: Sequence[bytes], whole: bool) -> None:
        spans = _spans(piece)
        if whole:
            values = {piece[name or slice(0)]: value for name, value in zip(spans[::2], spans[1::2], strict=True)}
        else:
            values = dict(zip(fields, spans, strict=True))
        self.items = len(spans)
        self._values = [values.get(field) for field in fields]
        self._bytes = np.frombuffer(piece, np.uint8)
        self._fixed = np.full(len(piece), 0xFF, np.uint8)
        for value in values.values():
            self._fixed[value or slice(0)] = 0

    def fits(self, matrix: Bytes) -> npt.NDArray[np.bool_]:
        """Whether rows of bytes, as long as the piece, are answers of this layout."""
        odd = (matrix ^ self._bytes) & self._fixed
        return np.asarray(~odd.any(axis=1))

    def columns(self, matrix: Bytes) -> list[Column]:
        """Return what such answers hold of each field."""
        nothing = [None] * len(matrix)
        return [nothing if value is None else matrix[:, value] for value in self._values]


def walk(piece: bytes) -> list[bytes | None]:
    """Return the items of an array; what a piece is and errors as for `Layout`."""
    return [None if span is None else piece[span] for span in _spans(piece)]


def _spans(piece: bytes) -> list[slice | None]:
    """Return where the items of an array are, None for a null; ValueError if it is not one whole array of strings."""
    answer = piece + b"\r\n"
    end = answer.index(b"\r\n")
    count, at = int(answer[:end]), end + 2
    spans: list[slice | None] = []
    for _ in range(count):
        end = answer.index(b"\r\n", at)
        size = int(answer[at + 1 : end])
        if answer[at : at + 1] != b"$":
            raise ValueError("not a string")
        at = end + 2
        spans.append(slice(at, at + size) if size >= 0 else None)
        at += size + 2 if size >= 0 else 0
    if count < 0 or at != len(answer):
        raise ValueError("not one whole array")
    return spans
