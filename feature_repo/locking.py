"""Locks on files, between the processes of a home."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Any

from feature_repo.errors import UnavailableError


def lock(stream: IO[Any], path: Path, *, wait: bool = True) -> None:
    """Hold an open file for this process alone, until it is closed.

    Parameters
    ----------
    stream : file object
    path : Path
        Its name, for messages.
    wait : bool
        Whether to wait for whoever holds it.

    Raises
    ------
    BlockingIOError
        If another process holds it and nobody is to wait.
    UnavailableError
        If its file system does not lock, as NFS without its lock service.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        raise UnavailableError(
            f"{path} cannot be locked: {error.strerror}; put CANDOR_HOME on a file system with locks (a local disk, or "
            "NFS with its lock service)"
        ) from None
