"""The runs of all gates, each kept as a JSON file, and where their reports are. Knows nothing of Great Expectations."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from feature_repo.home import Home, write_atomically
from validation.results import GateResult

DATA_DOCS, RUNS = "data-docs", "validation-runs"
SHOWN, KEPT = 50, 1000


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one or several gates.

    Parameters
    ----------
    run : str
        Name; names sort by time.
    at : datetime
        Wall clock, UTC.
    results : tuple of GateResult
        What each gate said.
    """

    run: str
    at: datetime
    results: tuple[GateResult, ...]


def new_run() -> tuple[str, datetime]:
    """Return the name of a run that begins now, and now."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S%f}Z", now


def record(reports: Path, run: Run) -> None:
    """Keep what a run said; of all runs the newest thousand are kept."""
    folder = reports / RUNS
    write_atomically(folder / f"{run.run}.json", msgspec.json.format(msgspec.json.encode(run)))
    for old in sorted(folder.glob("*.json"))[:-KEPT]:
        old.unlink(missing_ok=True)


def history(reports: Path, most: int = SHOWN) -> list[Run]:
    """Return the latest runs, the newest first; a record that cannot be read is left out."""
    found = []
    for path in sorted((reports / RUNS).glob("*.json"), reverse=True)[:most]:
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Run))
        except (OSError, msgspec.DecodeError):
            continue
    return found


def report_path(home: Home, gate: str = "index") -> Path:
    """Return the Data Docs page of a gate, to be linked to from elsewhere.

    Parameters
    ----------
    gate : str
        A source table, ``<table>_events``, ``"training_frame"``, or ``"index"`` for all of them. A gate that was
        never run has no page yet.
    """
    return home.reports / DATA_DOCS / f"{gate}.html"
