"""The process that writes the decision log for one that decides: what `monitoring.log_writer` starts.

It goes on until its end of the socket is closed, commits what it still holds, and ends. So it outlives no service,
however that ends.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
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
_PIECE = 1 << 18
_CHECKPOINT_AFTER = 100  # decisions, which take 2 ms to copy into the database, in a lull
_CHECKPOINT_AT_LAST = 250
_LULL_MS = 3  # longer than from one group of those who came at once to the next

Kind = Literal["taken", "unavailable", "failed"]
Answers = list[list[tuple[Kind, str] | None] | None]
"""For each batch of a group what became of each entry; None for a batch that is durable as a whole."""


class Batch(msgspec.Struct, array_like=True, gc=False):
    """What one turn of an event loop brought; `due` as in `Writer.write`."""

    due: float
    entries: list[Entry]


def write_all(wire: socket.socket) -> None:
    """Commit what comes through a socket, a group at a time, until it is closed; the URL of the log comes first."""
    inbox = _Inbox(wire)
    url = inbox.take()
    if url is None:
        return
    log = DecisionLog(url.decode(), is_busy=True)
    enough, since = threading.Event(), 0
    threading.Thread(target=_checkpoint, args=(log, enough), daemon=True).start()
    while True:
        if since >= _CHECKPOINT_AT_LAST or (since >= _CHECKPOINT_AFTER and not inbox.comes_within(_LULL_MS)):
            since = 0
            enough.set()
        batches = _gather(inbox)
        if not batches:
            break
        answers = _committed(log, batches)
        with contextlib.suppress(OSError):  # who asked has ended: what it sent is written all the same
            wire.sendall(frame(msgspec.msgpack.encode(answers)))
        since += sum(len(batch.entries) for batch in batches)
    log.close()


def _checkpoint(log: DecisionLog, enough: threading.Event) -> None:
    """Checkpoint each time there is enough to copy: in a lull, or beside the commits that would wait for it."""
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
        self._poll = select.poll()
        self._poll.register(wire, select.POLLIN)

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

    def comes_within(self, milliseconds: int) -> bool:
        """Return whether anything has come, or comes in so long, the end included."""
        return bool(self._came or self._poll.poll(milliseconds))


def _gather(inbox: _Inbox) -> list[Batch]:
    """Wait for a batch, and return it with all that are there; none if there are going to be no more."""
    batches: list[Batch] = []
    size = 0
    one = inbox.take()
    while one is not None:
        batches.append(msgspec.msgpack.decode(one, type=Batch))
        size += len(batches[-1].entries)
        one = inbox.take(waits=False) if size < _LARGEST_GROUP else None
    return batches


def _committed(log: DecisionLog, batches: Sequence[Batch]) -> Answers:
    """Commit batches in one transaction, but those that come too late."""
    now = time.monotonic()
    entries = [entry for batch in batches if now < batch.due for entry in batch.entries]
    try:
        faults: Faults = log.append_all(entries) if entries else []
    except Exception as error:  # whatever it is, nobody may wait for an answer that does not come
        faults = [error] * len(entries)
    rest = iter(faults)
    answers: Answers = []
    for batch in batches:
        own = [next(rest) for _ in batch.entries] if now < batch.due else too_late(batch.entries)
        answers.append(list(map(_told, own)) if any(own) else None)
    return answers


def _told(fault: Exception | None) -> tuple[Kind, str] | None:
    if fault is None:
        return None
    if isinstance(fault, KeyTakenError):
        return "taken", str(fault)
    if isinstance(fault, UnavailableError):
        return "unavailable", str(fault)
    return "failed", f"the writer of the decision log failed with {type(fault).__name__}"


def _main() -> None:
    # Whoever ends the service ends this by the socket: until then there may be something to write.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as wire:
        write_all(wire)


if __name__ == "__main__":
    _main()
