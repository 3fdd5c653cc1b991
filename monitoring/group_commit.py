"""Group commit: what many requests hand over is written together, one transaction at a time.

What comes in one turn of the event loop is handed to a writer at once, whether it is one decision or a
thousand, and so is the next turn's while the first is being committed. So an idle log adds no wait, and a busy
one shares each flush to disk among all that wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from feature_repo.errors import UnavailableError
from monitoring.decision_log import Entry

_DEADLINE = 5.0
_REMEMBERED = 5.0
Faults = list[Exception | None]
Append = Callable[[Sequence[Entry]], Faults]


class Writer(Protocol):
    """Who commits what `GroupCommit` hands over, in the order in which it is handed over."""

    def write(self, entries: Sequence[Entry], due: float) -> asyncio.Future[Faults]:
        """Begin to write, and return what becomes of each entry, as `DecisionLog.append_all` has it.

        Parameters
        ----------
        due : float
            Seconds on the clock of `time.monotonic`; what was not begun by then is not written, for nobody waits for
            it and it would only delay the others.
        """
        ...

    async def close(self) -> None:
        """Write what was handed over, and end."""
        ...


class ThreadWriter:
    """Write in a thread of this process, for programs that decide now and then: in a busy one it holds up requests.

    Parameters
    ----------
    append : callable
        Commits entries in one transaction: `DecisionLog.append_all`.
    """

    def __init__(self, append: Append) -> None:
        self._append = append
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decision-log")

    def write(self, entries: Sequence[Entry], due: float) -> asyncio.Future[Faults]:
        """Write in the thread, after what was handed over before."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._in_time, entries, due)

    async def close(self) -> None:
        """Write what was handed over, and end the thread."""
        await asyncio.to_thread(self._thread.shutdown)

    def _in_time(self, entries: Sequence[Entry], due: float) -> Faults:
        return self._append(entries) if time.monotonic() < due else too_late(entries)


class _Waiting(NamedTuple):
    entries: Sequence[Entry]
    done: asyncio.Future[Faults]


class GroupCommit:
    """Commit the decisions of one event loop off it.

    Parameters
    ----------
    writer : Writer
        It is closed with this.
    most_waiting : int
        Requests that may wait; whoever comes after them is refused.
    deadline : float
        Seconds until a request gives up.
    """

    def __init__(self, writer: Writer, most_waiting: int = 4096, deadline: float = _DEADLINE) -> None:
        self._writer = writer
        self._most_waiting = most_waiting
        self._deadline = deadline
        self._arrived: list[_Waiting] = []
        self._closed = False
        self._fault: tuple[float, Exception] | None = None
        self._overdue: set[asyncio.Future[Faults]] = set()
        self.waiting = 0
        """How many requests wait for their decisions to be durable."""

    @property
    def fault(self) -> Exception | None:
        """Why the last group could not be committed; forgotten after a while, so that someone tries again."""
        if self._overdue:
            return self._no_answer()
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
            If too many wait, there was no answer in time, or there is none yet to what was given up before.
        """
        if self._closed:
            raise UnavailableError("the decision log is closed: the service is stopping")
        if self._overdue:  # a writer that hangs keeps all that it is handed, and each would wait for nothing
            raise self._no_answer()
        if self.waiting >= self._most_waiting:
            raise UnavailableError(f"the decision log is behind: {self._most_waiting:,} requests wait for it")
        loop = asyncio.get_running_loop()
        if not self._arrived:
            # At the end of this turn: the writer is woken once for all that the turn brought.
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
        self._hand_over(asyncio.get_running_loop())
        await self._writer.close()

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        entries = [entry for one in arrived for entry in one.entries]

        def settle(written: asyncio.Future[Faults]) -> None:
            timer.cancel()
            self._overdue.discard(written)
            error = written.exception()
            self._settle(arrived, [error] * len(entries) if isinstance(error, Exception) else written.result())

        writing = self._writer.write(entries, time.monotonic() + self._deadline)
        timer = loop.call_later(self._deadline, self._give_up, arrived, writing)
        writing.add_done_callback(settle)

    def _settle(self, arrived: Sequence[_Waiting], faults: Faults) -> None:
        whole = [fault for fault in faults if isinstance(fault, UnavailableError)]
        self._fault = (time.monotonic(), whole[0]) if len(whole) == len(faults) else None
        start = 0
        for one in arrived:
            end = start + len(one.entries)
            if not one.done.done():
                one.done.set_result(faults[start:end])
            start = end

    def _give_up(self, arrived: Sequence[_Waiting], writing: asyncio.Future[Faults]) -> None:
        self._overdue.add(writing)
        for one in arrived:
            if not one.done.done():
                one.done.set_exception(self._no_answer())

    def _no_answer(self) -> UnavailableError:
        return UnavailableError(f"the decision log gave no answer in {self._deadline:.0f} s; try again")


def too_late(entries: Sequence[Entry]) -> Faults:
    """Return what becomes of entries that nobody waits for any more."""
    return [UnavailableError("the decision log came to it too late")] * len(entries)
