"""Answers of a pipeline: those that are laid out alike are taken apart at once, the others by hiredis."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import hiredis
import numpy as np
import numpy.typing as npt
from redis import exceptions

from feature_repo.stores.online_layout import Column, Layout, walk

_BETWEEN = re.compile(rb"\r\n\*")  # a value may hold it too, but then what is before it is no whole answer
_NOT_YET = object()
_REMEMBERED = 64  # layouts
_WORTH = 8  # answers; fewer are read faster one by one
_MISSES = 3  # layouts of fewer, before what is left is read one by one without looking for more

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """Some of the answers.

    Parameters
    ----------
    places : ndarray of int, shape (m,)
        Which of them, in ascending order.
    columns : list
        For each field that was wanted its m values.
    items : int
        Names and values in them, those of other fields included.
    """

    places: Places
    columns: Sequence[Column]
    items: int


class Answers:
    """How answers about some fields are read.

    Parameters
    ----------
    fields : sequence of bytes
        The fields that are wanted.
    whole : bool
        Whether an answer is a whole hash, names and values in turn, rather than the values of those fields.
    """

    def __init__(self, fields: Sequence[bytes], whole: bool) -> None:
        self._fields = fields
        self._whole = whole
        self._known: dict[int, Layout] = {}  # by size

    def parts(self, data: bytes, count: int) -> list[Part] | None:
        """Return `count` answers, None if they are not all there yet.

        Raises
        ------
        RedisError
            If one is an error.
        """
        pieces = _BETWEEN.split(data[1:-2])
        if len(pieces) == count and data[:1] == b"*":
            try:
                return self._by_layout(pieces, data)
            except ValueError:
                pass  # a value looked like the beginning of an answer, one is an error, or the last is not all there
        elif len(pieces) < count and data[:1] != b"-" and b"\r\n-" not in data:
            return None
        answers = one_by_one(data, count)
        return None if answers is None else [self._plain(np.arange(count), answers)]

    def _by_layout(self, pieces: list[bytes], data: bytes) -> list[Part] | None:
        sizes = defaultdict(list)
        for place, piece in enumerate(pieces):
            sizes[len(piece)].append(place)
        parts: list[Part] = []
        rest: list[int] = []
        misses = 0
        for size, alike in sizes.items():
            places, layout = np.array(alike), self._known.get(size)
            while len(places) >= _WORTH and misses < _MISSES:
                layout = layout or Layout(pieces[places[0]], self._fields, self._whole)
                matrix = np.frombuffer(b"".join([pieces[at] for at in places.tolist()]), np.uint8).reshape(-1, size)
                fits = layout.fits(matrix)
                found = places[fits]
                if len(found) < _WORTH:
                    rest += found.tolist()
                    misses += 1
                else:
                    parts.append(Part(found, layout.columns(matrix[fits]), len(found) * layout.items))
                    self._remember(size, layout)
                places, layout = places[~fits], None
            rest += places.tolist()
        if rest:
            rest.sort()
            if len(rest) < _WORTH:
                answers = [walk(pieces[place]) for place in rest]
            else:
                # from the beginning: what follows something that only looks like one may be anything
                every = one_by_one(data, len(pieces))
                if every is None:
                    return None
                answers = [every[place] for place in rest]
            parts.append(self._plain(np.array(rest), answers))
        return parts

    def _remember(self, size: int, layout: Layout) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[size] = layout

    def _plain(self, places: Places, answers: Sequence[Sequence[bytes | None]]) -> Part:
        rows = _rows(answers, self._fields) if self._whole else answers
        return Part(places, list(zip(*rows, strict=True))[: len(self._fields)], sum(map(len, answers)))


def one_by_one(data: bytes, count: int) -> list[list[bytes | None]] | None:
    """Return `count` answers as hiredis reads them, None if they are not all there yet.

    Raises
    ------
    RedisError
        If one is an error or no array, or there are more than `count`.
    """
    reader = hiredis.Reader(exceptions.InvalidResponse, exceptions.ResponseError, notEnoughData=_NOT_YET)
    reader.feed(data)
    answers = [reader.gets(False) for _ in range(count)]
    if answers[-1] is _NOT_YET:
        return None
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    if reader.has_data() or not all(isinstance(answer, list) for answer in answers):
        raise exceptions.InvalidResponse("not what was asked for")
    return answers


def _rows(hashes: Sequence[Sequence[bytes | None]], fields: Sequence[bytes]) -> list[Sequence[bytes | None]]:
    """Return some fields, and a None, of whole hashes, each a field, its value, the next field and so on."""
    rows: list[Sequence[bytes | None]] = []
    names: Sequence[bytes | None] = ()
    for pairs in hashes:
        if pairs[::2] != names:  # most hashes are laid out like the one before
            names = pairs[::2]
            places = {field: 2 * index + 1 for index, field in enumerate(names)}
            pick = itemgetter(*[places.get(field, -1) for field in fields], -1)  # of one place it makes no tuple
        rows.append(pick([*pairs, None]))
    return rows
