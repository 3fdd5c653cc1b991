"""`candor replay`: logged decisions of a home made once more, and what is said about it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tqdm import tqdm

from feature_repo.errors import InputError
from feature_repo.home import Home
from monitoring.decision_log import DecisionLog, DecisionRecord
from services.scoring.replay import CitedModels, Replayed, replay, replay_all


@dataclass(frozen=True)
class Counts:
    """How many decisions were replayed, and those that came out otherwise."""

    replayed: int
    different: tuple[Replayed, ...]

    def summary(self) -> str:
        """Return one line for a person."""
        if self.different:
            return f"{len(self.different):,} of {self.replayed:,} decisions came out otherwise"
        return f"{self.replayed:,} decisions replayed, all bit for bit as logged"


def one(home: Home, decision_id: str) -> Replayed:
    """Replay one decision.

    Raises
    ------
    InputError
        If the log does not hold it.
    UnavailableError
        If the log is not there, or the bundle that it cites.
    """
    record = logged(home, decision_id)
    return replay([record], CitedModels(home).model(record))[0]


def logged(home: Home, decision_id: str) -> DecisionRecord:
    """Return one record of the log; errors as for `one`."""
    log = DecisionLog(home.decision_log_url)
    try:
        record = log.get(decision_id.strip().lower())
    finally:
        log.close()
    if record is None:
        raise InputError(f"decision {decision_id!r} is not in the log")
    return record


def many(home: Home, start: datetime | None, end: datetime | None) -> Counts:
    """Replay the decisions of a time window, with a progress bar on a terminal.

    Parameters
    ----------
    start, end : datetime or None
        Bounds of `decided_at`, UTC, the start included and the end not; None leaves that side open.
    """
    log = DecisionLog(home.decision_log_url)
    replayed, different = 0, []
    try:
        count = log.count(start, end)
        with tqdm(total=count, unit=" decisions", disable=not sys.stderr.isatty(), leave=False) as bar:
            for found in replay_all(log.rows(start, end), CitedModels(home)):
                replayed += 1
                different += [] if found.identical else [found]
                bar.update()
    finally:
        log.close()
    return Counts(replayed, tuple(different))


def to_json(replayed: Replayed) -> dict[str, Any]:
    """Return the promised object."""
    return {
        "decision_id": replayed.decision_id,
        "identical": replayed.identical,
        "differences": list(replayed.differences),
    }


def to_text(replayed: Replayed) -> str:
    """Return one line for a person."""
    if replayed.identical:
        return f"{replayed.decision_id} bit for bit as logged"
    return f"{replayed.decision_id} differs in {', '.join(replayed.differences)}"
