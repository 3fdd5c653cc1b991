"""How the threads of one join learn that nobody waits for them any more."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, wait
from threading import Event
from typing import Any

import duckdb

_AGAIN = 0.02  # seconds


class Stopped(Exception):
    """Work was given up because nobody waits for it."""


class Stop:
    """Tells work to end; an interrupt alone ends only the query that runs at that instant."""

    def __init__(self) -> None:
        self._told = Event()

    def check(self) -> None:
        """Return if work is to go on.

        Raises
        ------
        Stopped
            If not.
        """
        if self._told.is_set():
            raise Stopped

    def end(self, work: Iterable[Future[Any]], connections: Iterable[duckdb.DuckDBPyConnection]) -> None:
        """Tell work to end, and return when it has: work may have been just about to begin a query."""
        self._told.set()
        pending = {one for one in work if not one.cancel()}
        while pending := wait(pending, _AGAIN).not_done if pending else set():
            for connection in connections:
                connection.interrupt()
