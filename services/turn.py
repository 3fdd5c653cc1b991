"""One at a time: who has the turn to do something in a home, and what anybody else is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from feature_repo.errors import UnavailableError
from feature_repo.locking import lock as hold
from training.promotion_record import now


class _Holder(msgspec.Struct):
    by: str
    why: str
    since: datetime
    pid: int


@contextmanager
def only_one(lock: Path, doing: str, by: str, why: str = "", *, instead: str = "") -> Iterator[None]:
    """Hold a turn while the block runs; a killed process gives it back.

    Nobody waits for it: what is held takes minutes to hours, and who starts it a second time, by hand or by schedule,
    wants to know that, not a command that hangs and then does the same work again.

    Parameters
    ----------
    lock : Path
        File that stands for the turn.
    doing : str
        What its holder does, for messages.
    by, why : str
        In whose name, and for what reason.
    instead : str
        What else than waiting can be done.

    Raises
    ------
    UnavailableError
        If another process holds it, with its number, or the file cannot be written or locked.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UnavailableError(f"{lock} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        try:
            hold(stream, lock, wait=False)
        except BlockingIOError:
            told = _told(stream.read())
            raise UnavailableError(
                f"{doing} is under way in this home{told}: wait for it, or end it{instead}"
            ) from None
        try:
            stream.truncate()
            stream.write(msgspec.json.encode(_Holder(by, why, now(), os.getpid())))
        except OSError as error:
            raise UnavailableError(f"{lock} cannot be written: {error.strerror}") from None
        yield


def _told(holder: bytes) -> str:
    try:
        found = msgspec.json.decode(holder, type=_Holder)
    except msgspec.MsgspecError:  # it has not yet said who it is
        return ""
    return f", by {found.by} since {found.since:%Y-%m-%d %H:%M} UTC (process {found.pid})"
