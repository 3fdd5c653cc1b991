"""The decision log's writer as a process of its own, one for each process that decides.

In one process, a commit takes Python's lock from the requests after every statement. Here entries go through a
socket, and what became of them comes back. Nobody is told that a decision is durable before that, so that
whichever of the two is killed, nothing acknowledged is lost; of what had no answer, the log may hold some or not.

The writer goes on until its end of the socket is closed, commits what it still holds, and ends. So it outlives no
service, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec

from feature_repo.errors import UnavailableError
from monitoring.decision_log import DecisionLog, Entry, KeyTakenError
from monitoring.frames import Frames, frame
from monitoring.group_commit import Faults, too_late

_LARGEST_GROUP = 1000
_START_EVERY = 1.0
_END_SECONDS = 10.0
_HUNG_SECONDS = 20.0  # past due: longer than a start takes, or a large group of which each row is committed alone
_PIECE = 1 << 18
_CHECKPOINT_EVERY = 250  # decisions, about 4 MB of SQLite's write-ahead log
_logger = logging.getLogger(__name__)

_Kind = Literal["taken", "unavailable", "failed"]
_Answers = list[list[tuple[_Kind, str] | None] | None]
"""For each batch of a group what became of each entry; None for a batch that is durable as a whole."""


class _Batch(msgspec.Struct, array_like=True, gc=False):
    """What one turn of an event loop brought; `due` as in `Writer.write`."""

    due: float
    entries: list[Entry]


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
            sent = frame(msgspec.msgpack.encode(_Batch(due, list(entries))))
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
            for answer in msgspec.msgpack.decode(answers, type=_Answers):
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
        [sys.executable, "-P", "-m", __name__, str(wire.fileno())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        pass_fds=[wire.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _heard(told: tuple[_Kind, str] | None) -> Exception | None:
    if told is None:
        return None
    kind, text = told
    return {"taken": KeyTakenError, "unavailable": UnavailableError, "failed": RuntimeError}[kind](text)


def _told(fault: Exception | None) -> tuple[_Kind, str] | None:
    if fault is None:
        return None
    if isinstance(fault, KeyTakenError):
        return "taken", str(fault)
    if isinstance(fault, UnavailableError):
        return "unavailable", str(fault)
    return "failed", f"the writer of the decision log failed with {type(fault).__name__}"


def write_all(wire: socket.socket) -> None:
    """Commit what comes through a socket, a group at a time, until it is closed; the URL of the log comes first."""
    inbox = _Inbox(wire)
    url = inbox.take()
    if url is None:
        return
    log = DecisionLog(url.decode(), checkpoints=True)
    enough, since = threading.Event(), 0
    threading.Thread(target=_checkpoint, args=(log, enough), daemon=True).start()
    while batches := _gather(inbox):
        answers = _committed(log, batches)
        with contextlib.suppress(OSError):  # who asked has ended: what it sent is written all the same
            wire.sendall(frame(msgspec.msgpack.encode(answers)))
        since += sum(len(batch.entries) for batch in batches)
        if since >= _CHECKPOINT_EVERY:
            since = 0
            enough.set()
    log.close()


def _checkpoint(log: DecisionLog, enough: threading.Event) -> None:
    """Checkpoint each time there is enough to copy, beside the commits: they would wait for it."""
    while enough.wait():
        enough.clear()
        with contextlib.suppress(UnavailableError):  # the next commit tells whoever waits for it
            log.database.checkpoint()


class _Inbox:
    """Frames that come through a socket. While a group is committed nobody reads: the sender keeps what has no room."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._frames = Frames()
        self._came: deque[bytes] = deque()

    def take(self, waits: bool = True) -> bytes | None:
        """Return the next frame; None if there never is one, or, without waiting for it, if it is not there yet."""
        while not self._came:
            try:
                data = self._wire.recv(_PIECE, 0 if waits else socket.MSG_DONTWAIT)
            except OSError:  # it is not there yet, or the sender was killed
                return None
            if not data:
                return None
            self._came.extend(self._frames.of(data))
        return self._came.popleft()


def _gather(inbox: _Inbox) -> list[_Batch]:
    """Wait for a batch, and return it with all that are there; none if there are going to be no more."""
    batches: list[_Batch] = []
    size = 0
    one = inbox.take()
    while one is not None:
        batches.append(msgspec.msgpack.decode(one, type=_Batch))
        size += len(batches[-1].entries)
        one = inbox.take(waits=False) if size < _LARGEST_GROUP else None
    return batches


def _committed(log: DecisionLog, batches: Sequence[_Batch]) -> _Answers:
    """Commit batches in one transaction, but those that come too late."""
    now = time.monotonic()
    entries = [entry for batch in batches if now < batch.due for entry in batch.entries]
    try:
        faults: Faults = log.append_all(entries) if entries else []
    except Exception as error:  # whatever it is, nobody may wait for an answer that does not come
        faults = [error] * len(entries)
    rest = iter(faults)
    answers: _Answers = []
    for batch in batches:
        own = [next(rest) for _ in batch.entries] if now < batch.due else too_late(batch.entries)
        answers.append(list(map(_told, own)) if any(own) else None)
    return answers


def _main() -> None:
    # Whoever ends the service ends this by the socket: until then there may be something to write.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as wire:
        write_all(wire)


if __name__ == "__main__":
    _main()
