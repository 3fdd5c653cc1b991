"""What the decision log says of results: what was answered, and what became of it, as columns, page by page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from feature_repo.errors import UnavailableError
from feature_repo.stores.stored import Status
from monitoring.log_reader import AT_ONCE, PAGE, LogReader, Mark, beyond, utc
from monitoring.log_tables import decisions, outcomes
from monitoring.outcomes import counted_at
from monitoring.pace import rest

UNKNOWN, REPAID, DEFAULTED = -1, 0, 1
"""Outcomes in the columns."""
_NUMBERS = {None: UNKNOWN, "REPAID": REPAID, "DEFAULTED": DEFAULTED}


class _Terms(msgspec.Struct, gc=False):
    apr: float | None = None
    term_months: int | None = None


class _Output(msgspec.Struct, gc=False):
    recommended_terms: _Terms


class _View(msgspec.Struct, gc=False):
    status: Status


class _Guard(msgspec.Struct, gc=False):
    passed: bool


class _Record(msgspec.Struct, gc=False):
    output: _Output
    views: dict[str, _View]
    guard: _Guard


_record = msgspec.json.Decoder(_Record)


@dataclass(frozen=True)
class Results:
    """Decisions that follow one another in the log's order; all arrays have the shape (n_rows,).

    Parameters
    ----------
    decided_at, as_of : numpy.ndarray of datetime64[us]
        Wall clock, and the clock of the home, UTC.
    recommendation, model_version : numpy.ndarray of str
    pd : numpy.ndarray of float64
        0..1.
    apr, term_months : numpy.ndarray of float64
        Percent and months of the terms recommended; NaN where there are none.
    outcome : numpy.ndarray of int8
        `UNKNOWN`, `REPAID` or `DEFAULTED`: what counts by the instant that was asked for, see `outcomes.counted_at`.
    observed_at : numpy.ndarray of datetime64[us]
        When, UTC; NaT where it is not known.
    passed_guard : numpy.ndarray of bool
    absent : dict of str to numpy.ndarray of bool
        By view: whether it was stale or missing.
    """

    decided_at: NDArray[np.datetime64]
    as_of: NDArray[np.datetime64]
    recommendation: NDArray[np.str_]
    model_version: NDArray[np.str_]
    pd: NDArray[np.float64]
    apr: NDArray[np.float64]
    term_months: NDArray[np.float64]
    outcome: NDArray[np.int8]
    observed_at: NDArray[np.datetime64]
    passed_guard: NDArray[np.bool_]
    absent: dict[str, NDArray[np.bool_]]


class LoggedResults:
    """Read a decision log for performance.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of the log.
    """

    def __init__(self, url: str) -> None:
        self._log = LogReader(url)

    def pages(self, start: datetime, known_by: datetime) -> Iterator[Results]:
        """Yield the decisions made from `start` on, in the log's order, in pages of 10,000.

        Parameters
        ----------
        start : datetime
            Wall clock, UTC.
        known_by : datetime
            Outcomes that were observed later do not count, UTC.

        Raises
        ------
        UnavailableError
            If the log is not there, or holds what this program does not read.
        """
        after = None
        found = sa.and_(
            outcomes.c.decision_id == decisions.c.decision_id, outcomes.c.observed_at == counted_at(known_by)
        )
        names = ("decision_id", "decided_at", "as_of", "recommendation", "model_version", "pd")
        columns = [*(decisions.c[name] for name in names), outcomes.c.outcome, outcomes.c.observed_at]
        query = (
            sa.select(*columns, decisions.c.record)
            .select_from(decisions.outerjoin(outcomes, found))
            .order_by(decisions.c.decided_at, decisions.c.decision_id)
            .limit(PAGE)
        )
        while True:
            begun = time.monotonic()
            place = [decisions.c.decided_at >= (after.decided_at if after else start)]
            rows = self._rows(query.where(*place, *([beyond(after)] if after else [])))
            if rows:
                yield _columns(rows)
                after = Mark(utc(rows[-1][1]), rows[-1][0])
            rest(time.monotonic() - begun)
            if len(rows) < PAGE:
                return

    def close(self) -> None:
        """Close all connections."""
        self._log.close()

    def _rows(self, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with self._log.reading() as connection:
            for together in connection.execution_options(yield_per=AT_ONCE).execute(query).partitions():
                rows += [(*row[:-1], _decoded(row[0], row[-1])) for row in together]
        return rows


def _decoded(decision_id: str, record: str) -> _Record:
    try:
        return _record.decode(record)
    except msgspec.MsgspecError as error:
        raise UnavailableError(
            f"decision {decision_id} was logged in a form that this program does not read: {error}"
        ) from None


def _columns(rows: list[tuple[Any, ...]]) -> Results:
    _, decided, as_of, recommendation, version, pd, outcome, observed, records = zip(*rows, strict=True)
    views = dict.fromkeys(name for record in records for name in record.views)
    return Results(
        decided_at=_instants(decided),
        as_of=_instants(as_of),
        recommendation=np.array(recommendation),
        model_version=np.array(version),
        pd=np.array(pd, np.float64),
        apr=np.array([record.output.recommended_terms.apr for record in records], np.float64),
        term_months=np.array([record.output.recommended_terms.term_months for record in records], np.float64),
        outcome=np.array([_NUMBERS[one] for one in outcome], np.int8),
        observed_at=_instants(observed),
        passed_guard=np.array([record.guard.passed for record in records]),
        absent={name: np.array([_is_absent(record, name) for record in records]) for name in views},
    )


def _instants(instants: tuple[datetime | None, ...]) -> NDArray[np.datetime64]:
    plain = [None if one is None else utc(one).replace(tzinfo=None) for one in instants]
    return np.array(plain, "datetime64[us]")


def _is_absent(record: _Record, view: str) -> bool:
    return view in record.views and record.views[view].status != "PRESENT"
