"""Fill a folder aside, then put it in place at once: what stood before stays until all of it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.locking import lock


@contextmanager
def undisturbed(target: Path) -> Iterator[None]:
    """Keep `target` from being replaced, or being `undisturbed` for another process, while the block runs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    place = target.with_name(f".{target.name}.lock")
    with place.open("w") as stream:
        lock(stream, place)
        yield


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` if the block ends without an error.

    A process that dies inside leaves `target` as it was; one that dies between the two renames
    leaves it as ``.<name>.before``, from which the next call restores it.
    """
    before = target.with_name(f".{target.name}.before")
    staging = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with undisturbed(target):
        _restore(before, target)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
    try:
        yield staging
        with undisturbed(target):
            shutil.rmtree(before, ignore_errors=True)
            if target.exists():
                target.rename(before)
            staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        _restore(before, target)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _restore(before: Path, target: Path) -> None:
    if before.exists() and not target.exists():
        before.rename(target)
