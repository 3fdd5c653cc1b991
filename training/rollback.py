"""The way back: a champion from before, in one command, whether or not MLflow answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from training.bundle import Champion, bundle_path, install, load_bundle, read_champion, write_champion
from training.promotion_record import Entry, about, begin, champions, end, past_champions, push, read_record, signed
from training.switch import follow, switching
from training.tracking import Tracking


def rollback(home: Home, to: str | None = None, *, by: str = "", why: str = "") -> Entry:
    """Put a champion from before back in service; a running service follows.

    No gate is asked, but every checksum of the bundle is verified, and its challenge, if there is one, ends. Another
    rollback goes back further. One that was killed after the service had followed is finished instead.

    Parameters
    ----------
    home : Home
    to : str or None
        Version that was champion here; None takes the one before.
    by, why : str
        For the record; `by` is the user of the operating system if nobody is named.

    Returns
    -------
    Entry
        Its `trouble` tells what could not follow.

    Raises
    ------
    InputError
        If `to` was never champion here.
    UnavailableError
        If there is none before, or its bundle is damaged and cannot be had again.
    """
    signature = signed(by, why)
    with switching(home) as finished:
        if finished is not None and finished.action == "rollback" and to is None:
            return finished
        entries = read_record(home)
        current = _current(home)
        target = _named(to, past_champions(entries, current)) if to else _before(champions(entries), current)
        _need_bundle(home, target)
        entry = about(target, "rollback", current, signature)
        begin(home, entry)
        write_champion(home, target)
        entry = follow(home, entry)
        end(home, entry)
    return entry


def _current(home: Home) -> Champion | None:
    try:
        return read_champion(home)
    except UnavailableError:
        return None


def _before(stack: list[Champion], current: Champion | None) -> Champion:
    if current is not None:
        push(stack, current)
    if len(stack) < 2:
        which = f" before version {stack[-1].version}" if stack else ""
        raise UnavailableError(f"there is no champion{which} to go back to: see `candor promotions`")
    return stack[-2]


def _named(version: str, known: dict[str, Champion]) -> Champion:
    if version not in known:
        were = f"were: {', '.join(known)}" if known else "none was"
        raise InputError(f"version {version} was never champion here ({were})")
    return known[version]


def _need_bundle(home: Home, target: Champion) -> None:
    """Verify the target's bundle, and get it again from MLflow if it is damaged or gone."""
    try:
        if load_bundle(bundle_path(home, target.bundle)).digest == target.bundle:
            return
    except UnavailableError:
        pass
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        found = Tracking(home).download_bundle(target.run_id, Path(folder))
        if load_bundle(found).digest != target.bundle:
            raise UnavailableError(f"the bundle of version {target.version} is damaged here, and MLflow holds another")
        install(home, found)
