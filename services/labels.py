"""`candor outcomes load`: outcomes from a file into the decision log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from feature_repo.errors import InputError
from feature_repo.home import Home
from monitoring.decision_log import DecisionLog
from monitoring.outcomes import Outcome, Outcomes

_READERS = {
    ".csv": "read_csv(?, all_varchar = true, header = true)",
    ".parquet": "read_parquet(?)",
}
_LINES = ".jsonl"
_CHUNK = 10_000
_NAMES = set(Outcome.__struct_fields__)


@dataclass(frozen=True)
class OutcomesReport:
    """What was done with the rows of a file.

    Parameters
    ----------
    refused : tuple of (int, str)
        Row, counted from 1, and why.
    later : int
        How many of those stored or known were observed after the home's clock: nothing is learned from them before it
        stands later.
    """

    stored: int
    known: int
    refused: tuple[tuple[int, str], ...]
    later: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the promised object."""
        refused = [{"row": row, "problem": problem} for row, problem in self.refused]
        return {"stored": self.stored, "known": self.known, "refused": refused, "later_than_clock": self.later}


def load(home: Home, file: Path) -> OutcomesReport:
    """Store the outcomes of a file, each once for its decision and instant.

    Parameters
    ----------
    file : Path
        ``.csv``, ``.parquet`` or ``.jsonl`` with columns as `Outcome` has fields; an empty value is none.

    Raises
    ------
    InputError
        If it is not such a file.
    UnavailableError
        If the log is not there.
    """
    counts = {"stored": 0, "known": 0}
    later, clock = 0, home.outcomes_now()
    refused: list[tuple[int, str]] = []
    log = DecisionLog(home.decision_log_url)
    try:
        book = Outcomes(log.database)
        first = 1
        for rows in _chunks(file):
            given: dict[int, Outcome] = {}
            for number, row in enumerate(rows, first):
                try:
                    given[number] = msgspec.convert(row, Outcome, strict=False)
                except msgspec.ValidationError as error:
                    refused.append((number, str(error)))
            for number, taken in zip(given, book.store(list(given.values())), strict=True):
                if taken.status == "refused":
                    refused.append((number, taken.problem))
                else:
                    counts[taken.status] += 1
                    later += given[number].observed_at > clock
            first += len(rows)
    finally:
        log.close()
    return OutcomesReport(counts["stored"], counts["known"], tuple(sorted(refused)), later)


def _chunks(file: Path) -> Iterator[list[dict[str, Any]]]:
    kind = file.suffix.lower()
    if kind not in (*_READERS, _LINES):
        raise InputError(f"{file}: give a {', '.join((*_READERS, _LINES))} file")
    rows = _lines(file) if kind == _LINES else _table(file, _READERS[kind])
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    yield msgspec.json.decode(line, type=dict[str, Any])
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise InputError(f"{file}, line {number}: {error}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None


def _table(file: Path, reader: str) -> Iterator[dict[str, Any]]:
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    try:
        found = connection.execute(f"select * from {reader}", [str(file)])
        names = [column[0] for column in found.description or ()]
        if unknown := [name for name in names if name not in _NAMES]:
            raise InputError(f"{file}: unknown column {', '.join(unknown)} (known: {', '.join(sorted(_NAMES))})")
        while rows := found.fetchmany(_CHUNK):
            for row in rows:
                yield {name: value for name, value in zip(names, row, strict=True) if value not in (None, "")}
    except duckdb.Error as error:
        raise InputError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    finally:
        connection.close()
