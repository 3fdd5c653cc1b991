"""Group commit: one thread writes what many requests hand over, one transaction at a time.

What is waiting is written at once, whether it is one decision or a thousand; what comes while a
transaction is being committed makes the next group. So an idle log adds no wait, and a busy one
shares each flush to disk among all that wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from feature_repo.errors import UnavailableError
from monitoring.decision_log import Entry

_LARGEST_GROUP = 1000
_DEADLINE = 5.0
_REMEMBERED = 5.0
Faults = list[Exception | None]
Write = Callable[[Sequence[Entry]], Faults]


class _Waiting(NamedTuple):
    entries: Sequence[Entry]
    done: asyncio.Future[Faults]


class _Batch(NamedTuple):
    """What came in one turn of the event loop, with the timer that gives it up."""

    waiting: Sequence[_Waiting]
    timer: asyncio.TimerHandle


class GroupCommit:
    """Commit the decisions of one event loop off it. Its thread starts with the first of them.

    Parameters
    ----------
    write : callable
        Commits entries in one transaction and tells what became of each: `DecisionLog.append_all`.
    most_waiting : int
        Requests that may wait; whoever comes after them is refused.
    deadline : float
        Seconds until a request gives up.
    """

    def __init__(self, write: Write, most_waiting: int = 4096, deadline: float = _DEADLINE) -> None:
        self._write = write
        self._most_waiting = most_waiting
        self._deadline = deadline
        self._arrived: list[_Waiting] = []
        self._queue: SimpleQueue[_Batch | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._fault: tuple[float, Exception] | None = None
        self.waiting = 0
        """How many requests wait for their decisions to be durable."""

    @property
    def fault(self) -> Exception | None:
        """Why the last group could not be committed; forgotten after a while, so that someone tries again."""
        if self._fault and time.monotonic() < self._fault[0] + _REMEMBERED:
            return self._fault[1]
        return None

    async def commit(self, entry: Entry) -> None:
        """Return when a decision is durable.

        Raises
        ------
        KeyTakenError
            If its idempotency key is taken.
        UnavailableError
            If it was refused or failed; or if there was no answer in time, and then the decision
            may be in the log or not.
        """
        (fault,) = await self.commit_all([entry])
        if fault:
            raise fault

    async def commit_all(self, entries: Sequence[Entry]) -> Faults:
        """Return when all decisions of one request are durable or refused, in one transaction if none is at fault.

        Returns
        -------
        list of Exception or None
            As `DecisionLog.append_all` has it.

        Raises
        ------
        UnavailableError
            If too many wait, or there was no answer in time.
        """
        if self._closed:
            raise UnavailableError("the decision log is closed: the service is stopping")
        if self.waiting >= self._most_waiting:
            raise UnavailableError(f"the decision log is behind: {self._most_waiting:,} requests wait for it")
        loop = asyncio.get_running_loop()
        if not self._arrived:
            # At the end of this turn: the thread is woken once for all that the turn brought.
            loop.call_soon(self._hand_over, loop)
        own = _Waiting(entries, loop.create_future())
        self._arrived.append(own)
        self.waiting += 1
        try:
            return await own.done
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        """Write what is waiting, and end."""
        self._closed = True
        if self._arrived:
            self._hand_over(asyncio.get_running_loop())
        if self._thread:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
            self._thread.start()
        self._queue.put(_Batch(arrived, loop.call_later(self._deadline, self._give_up, arrived)))

    def _give_up(self, arrived: Sequence[_Waiting]) -> None:
        for one in arrived:
            if not one.done.done():
                one.done.set_exception(
                    UnavailableError(f"the decision log gave no answer in {self._deadline:.0f} s; try again")
                )

    def _run(self) -> None:
        going_on = True
        while going_on:
            batches, going_on = self._gather()
            # Who has given up is left out: what nobody waits for would only delay the others.
            group = [one for batch in batches for one in batch.waiting if not one.done.done()]
            try:
                faults = self._write([entry for one in group for entry in one.entries]) if group else []
            except Exception as error:  # whatever it is, nobody may wait for an answer that does not come
                faults = [error] * sum(len(one.entries) for one in group)
            if group:
                self._remember(faults)
                # One wake-up for the whole group; a loop that is closed has nobody who waits.
                with contextlib.suppress(RuntimeError):
                    group[0].done.get_loop().call_soon_threadsafe(_settle, batches, group, faults)

    def _remember(self, faults: Faults) -> None:
        whole = [fault for fault in faults if isinstance(fault, UnavailableError)]
        self._fault = (time.monotonic(), whole[0]) if len(whole) == len(faults) else None

    def _gather(self) -> tuple[list[_Batch], bool]:
        """Wait for a batch, and return it with all that are there, and whether there are going to be more."""
        batches: list[_Batch] = []
        size = 0
        batch = self._queue.get()
        while batch is not None:
            batches.append(batch)
            size += sum(len(one.entries) for one in batch.waiting)
            if size >= _LARGEST_GROUP:
                return batches, True
            try:
                batch = self._queue.get_nowait()
            except Empty:
                return batches, True
        return batches, False


def _settle(batches: Sequence[_Batch], group: Sequence[_Waiting], faults: Faults) -> None:
    for batch in batches:
        batch.timer.cancel()
    start = 0
    for one in group:
        end = start + len(one.entries)
        if not one.done.done():
            one.done.set_result(faults[start:end])
        start = end
