"""The record of who put which model in service and why: one line an event, appended and never changed.

`promotions.jsonl` in the home holds a line for every promotion, rollback and challenge that was made, refused or cut
off. What is under way stands in `.promotion.json` until its line is written, so that a command that is killed between
two steps is found by the next one.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home, write_atomically
from training.bundle import Challenger, Champion
from training.promotion_gate import GateLine

CHANGES = ("promote", "rollback")  # of the champion
_LONGEST = 1000


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One event in the life of the champion.

    Parameters
    ----------
    at : datetime
        When it began, wall clock, UTC.
    action : {"promote", "rollback", "challenge", "stop"}
    outcome : {"done", "refused", "cut off", "standing"}
        ``cut off``: the command ended before the service was told; nothing changed for it. ``standing``: it is champion
        already, so that there was nothing to record.
    version, run_id, bundle : str
        Registered version, MLflow run and bundle digest of whom it is about.
    previous : Champion or None
        Who was champion before, with its challenger.
    by, why : str
        Who did it, in whose name, and for what reason.
    gate : str
        Digest of the gate's file, empty where no gate was asked.
    lines : tuple of GateLine
        What the gate said.
    experiment, share : str, float
        Name of a challenge and the share of applicants that the challenger decides on.
    trouble : str
        What could not follow the service, and how to mend it.
    """

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    action: Literal["promote", "rollback", "challenge", "stop"]
    outcome: Literal["done", "refused", "cut off", "standing"] = "done"
    version: str
    run_id: str
    bundle: str
    previous: Champion | None
    by: str
    why: str = ""
    gate: str = ""
    lines: tuple[GateLine, ...] = ()
    experiment: str = ""
    share: float = 0.0
    trouble: str = ""


def about(
    whom: Champion | Challenger,
    action: Literal["promote", "rollback", "challenge", "stop"],
    previous: Champion | None,
    signature: tuple[str, str],
    *,
    at: datetime | None = None,
    gate: str = "",
    lines: tuple[GateLine, ...] = (),
    experiment: str = "",
    share: float = 0.0,
) -> Entry:
    """Return the entry of what is about to be done, begun now unless `at` says when, by whom `signed` names."""
    by, why = signature
    return Entry(
        at=at or now(),
        action=action,
        version=whom.version,
        run_id=whom.run_id,
        bundle=whom.bundle,
        previous=previous,
        by=by,
        why=why,
        gate=gate,
        lines=lines,
        experiment=experiment,
        share=share,
    )


def record_path(home: Home) -> Path:
    """Return the file of the record."""
    return home.root / "promotions.jsonl"


def last_champion(home: Home) -> Champion | None:
    """Return whom the record has in service; None if nobody ever was. Errors as for `read_record`."""
    for entry in reversed(read_record(home)):
        if entry.action in ("promote", "rollback") and entry.outcome == "done":
            return Champion(bundle=entry.bundle, version=entry.version, run_id=entry.run_id)
    return None


def read_record(home: Home) -> list[Entry]:
    """Return all events of a home, the oldest first.

    A last line that was torn by a crash was never acknowledged, and does not count.

    Raises
    ------
    UnavailableError
        If a line is damaged, or the file cannot be read.
    """
    path = record_path(home)
    try:
        *whole, _ = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from None
    entries = []
    for number, line in enumerate(whole, 1):
        try:
            entries.append(msgspec.json.decode(line, type=Entry))
        except msgspec.MsgspecError as error:
            raise UnavailableError(
                f"{path}, line {number} is damaged ({error}): restore the file, or take that line out"
            ) from None
    return entries


def append(home: Home, entry: Entry) -> None:
    """Add one event, durably: all of its line is there or none, and what stood before stays.

    Raises
    ------
    UnavailableError
        If it cannot be written.
    """
    path = record_path(home)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            stream.truncate(_whole(stream.tell(), path))
            stream.write(msgspec.json.encode(entry) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror}") from None


def begin(home: Home, entry: Entry) -> None:
    """Note what is about to be done, before anything is changed by it."""
    write_atomically(_under_way(home), msgspec.json.encode(entry))


def under_way(home: Home) -> Entry | None:
    """Return what was begun and neither ended nor was found to be cut off."""
    try:
        begun = msgspec.json.decode(_under_way(home).read_bytes(), type=Entry)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise UnavailableError(f"{_under_way(home)} cannot be read ({error}): delete it") from None
    entries = read_record(home)
    return None if entries and entries[-1].at == begun.at else begun


def end(home: Home, entry: Entry) -> None:
    """Write the line of what was begun."""
    append(home, entry)
    _under_way(home).unlink(missing_ok=True)


def champions(entries: Iterable[Entry]) -> list[Champion]:
    """Return the champions that a rollback can go back to, the one in service last.

    A promotion adds one, a rollback takes off what came after its target. A champion of the very bundle in service
    takes its place: to go back to it would change nothing.
    """
    stack: list[Champion] = []
    for entry in entries:
        if entry.outcome != "done" or entry.action not in CHANGES:
            continue
        if entry.previous is not None:
            push(stack, entry.previous)
        target = Champion(bundle=entry.bundle, version=entry.version, run_id=entry.run_id)
        if entry.action == "rollback":
            while any(same(one, target) for one in stack[:-1]) and not same(stack[-1], target):
                stack.pop()
        push(stack, target)
    return stack


def past_champions(entries: Iterable[Entry], current: Champion | None) -> dict[str, Champion]:
    """Return whoever was champion by the record, by version, and who is now."""
    found: dict[str, Champion] = {}
    for entry in entries:
        if entry.previous is not None:
            found[entry.previous.version] = entry.previous
        if entry.outcome == "done" and entry.action in CHANGES:
            found[entry.version] = Champion(bundle=entry.bundle, version=entry.version, run_id=entry.run_id)
    if current is not None:
        found[current.version] = current
    return {version: msgspec.structs.replace(one, challenger=None) for version, one in found.items()}


def push(stack: list[Champion], champion: Champion) -> None:
    """Put a champion on top, in place of one of the same bundle."""
    if stack and stack[-1].bundle == champion.bundle:
        stack.pop()
    stack.append(msgspec.structs.replace(champion, challenger=None))


def same(one: Champion, other: Champion) -> bool:
    """Return whether two are one registered version with one bundle."""
    return (one.version, one.bundle) == (other.version, other.bundle)


def signed(by: str, why: str) -> tuple[str, str]:
    """Return who does something, the user of the operating system if nobody is named, and why.

    Raises
    ------
    InputError
        If a text is not printable, or longer than 1,000 characters.
    """
    for name, text in (("--by", by), ("--why", why)):
        if len(text) > _LONGEST or not text.isprintable():
            raise InputError(f"{name} must be one line of at most {_LONGEST:,} printable characters")
    return by.strip() or _user(), why.strip()


def now() -> datetime:
    """Return the wall clock, UTC."""
    return datetime.now(UTC)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"uid {os.getuid()}"


def _under_way(home: Home) -> Path:
    return home.root / ".promotion.json"


def _whole(size: int, path: Path) -> int:
    """Return how many bytes of the file are whole lines."""
    return path.read_bytes().rfind(b"\n") + 1 if size else 0
