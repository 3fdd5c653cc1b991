"""Deadlines of all requests under way, kept by one alarm: a timer for each costs more than the rest of the door."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

_EVERY = 0.1


class Due(Protocol):
    """Something that must be done by a time of `time.perf_counter`."""

    due: float
    task: asyncio.Task[object] | None
    is_overdue: bool


class Deadlines:
    """Cancel what is overdue, at most a tenth of a second late.

    What was cancelled finds `is_overdue` set.
    """

    def __init__(self) -> None:
        self._under_way: set[Due] = set()
        self._is_armed = False

    def __len__(self) -> int:
        return len(self._under_way)

    def add(self, one: Due) -> None:
        """Watch over this one."""
        one.task = asyncio.current_task()
        self._under_way.add(one)
        if not self._is_armed:
            self._is_armed = True
            asyncio.get_running_loop().call_later(_EVERY, self._look)

    def remove(self, one: Due) -> None:
        """Stop watching over it."""
        self._under_way.discard(one)

    def _look(self) -> None:
        now = time.perf_counter()
        for one in self._under_way:
            if one.due < now and not one.is_overdue and one.task is not None:
                one.is_overdue = True
                one.task.cancel()
        self._is_armed = bool(self._under_way)
        if self._is_armed:
            asyncio.get_running_loop().call_later(_EVERY, self._look)
