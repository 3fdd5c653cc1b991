"""The decision log's writer as a process of its own, one for each process that decides: the side that decides.

In one process, a commit takes Python's lock from the requests after every statement. Here entries go through a
socket, and what became of them comes back. Nobody is told that a decision is durable before that, so that
whichever of the two is killed, nothing acknowledged is lost; of what had no answer, the log may hold some or not.
The other side is `monitoring.log_process`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from feature_repo.errors import UnavailableError
from monitoring import log_process
from monitoring.decision_log import Entry, KeyTakenError
from monitoring.frames import Frames, frame
from monitoring.group_commit import Faults
from monitoring.log_process import Answers, Batch, Kind

_START_EVERY = 1.0
_END_SECONDS = 10.0
_HUNG_SECONDS = 20.0  # past due: longer than a start takes, or a large group of which each row is committed alone
_logger = logging.getLogger(__name__)


class ProcessWriter(asyncio.Protocol):
    """Write in a process of its own, which starts with the first decision, or with `start`.

    One that ends is noticed at once, and who waited is told; one that hangs is ended. The next decision starts another,
    at most once a second.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of the decision log.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: asyncio.WriteTransport | None = None
        self._starting: asyncio.Task[None] | None = None
        self._started_at = -_START_EVERY
        self._frames = Frames()
        self._waiting: deque[tuple[asyncio.Future[Faults], int, float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._unsent: list[bytes] = []
        self._is_closing = False
        self._has_ended = asyncio.Event()

    def start(self) -> None:
        """Start the process, without waiting for it: what it is sent meanwhile it finds when it is there."""
        self._started_at = time.monotonic()
        self._starting = asyncio.get_running_loop().create_task(self._start())

    def write(self, entries: Sequence[Entry], due: float) -> asyncio.Future[Faults]:
        """Send a batch; the answers come in the order in which batches are sent."""
        done: asyncio.Future[Faults] = asyncio.get_running_loop().create_future()
        try:
            sent = frame(msgspec.msgpack.encode(Batch(due, list(entries))))
        except Exception as error:  # nothing is sent, so that nothing may wait either: answers come in order
            done.set_exception(error)
            return done
        self._waiting.append((done, len(entries), due))
        if self._watch is None:
            self._look()
        if self._wire is not None:
            self._wire.write(sent)
        elif self._starting is not None or time.monotonic() >= self._started_at + _START_EVERY:
            self._unsent.append(sent)
            if self._starting is None:
                self.start()
        else:
            self._fail("has ended, and is about to be started again", logging.DEBUG)
        return done

    async def close(self) -> None:
        """Let the process write what was sent, and end."""
        self._is_closing = True
        if self._starting is not None:
            await self._starting
        if self._wire is not None and self._process is not None:
            self._wire.write_eof()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_ended.wait(), _END_SECONDS)
        await self._reap()

    def _look(self) -> None:
        """End a process that has long owed an answer, and look again when the next one is that late."""
        self._watch = None
        if not self._waiting:
            return
        left = self._waiting[0][2] + _HUNG_SECONDS - time.monotonic()
        if left <= 0 and self._process is not None:
            _logger.error("the writer of the decision log hangs, and is ended")
            self._process.kill()
        self._watch = asyncio.get_running_loop().call_later(max(left, 1.0), self._look)

    async def _start(self) -> None:
        ours = None
        try:
            await self._reap()
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = _spawn(theirs)
            self._frames = Frames()
            self._has_ended.clear()
            loop = asyncio.get_running_loop()
            self._wire, _ = await loop.create_unix_connection(lambda: self, sock=ours)
        except OSError as error:
            if ours is not None:
                ours.close()
            self._fail(f"cannot be started ({error.strerror})")
        else:
            self._wire.writelines([frame(self._url.encode()), *self._unsent])
            self._unsent.clear()
        finally:
            self._starting = None

    async def _reap(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it has ended, or had its time to
            await asyncio.to_thread(process.wait)

    def data_received(self, data: bytes) -> None:
        """Take what became of batches."""
        for answers in self._frames.of(data):
            for answer in msgspec.msgpack.decode(answers, type=Answers):
                done, count, _ = self._waiting.popleft()
                if not done.done():
                    done.set_result([None] * count if answer is None else list(map(_heard, answer)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits that the process has ended."""
        self._wire = None
        self._has_ended.set()
        if self._waiting or not self._is_closing:
            self._fail("has ended, and is started again")

    def _fail(self, what: str, level: int = logging.ERROR) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._unsent.clear()
        _logger.log(level, "the writer of the decision log %s", what)
        for done, *_ in waiting:
            if not done.done():
                done.set_exception(UnavailableError(f"the writer of the decision log {what}; try again"))


def _spawn(wire: socket.socket) -> subprocess.Popen[bytes]:
    """Start a writer that has one end of a socket; a Ctrl-C at the terminal is not for it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", log_process.__name__, str(wire.fileno())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        pass_fds=[wire.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _heard(told: tuple[Kind, str] | None) -> Exception | None:
    if told is None:
        return None
    kind, text = told
    return {"taken": KeyTakenError, "unavailable": UnavailableError, "failed": RuntimeError}[kind](text)
