"""What became of decisions: delayed labels beside the decision log, for performance and retraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from monitoring.log_database import LogDatabase
from monitoring.log_tables import decisions, outcomes

_HOW = "; if that was a mistake, report WITHDRAWN, observed later, and after it what is right"
_CHUNK = 500  # SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Result = Literal["REPAID", "DEFAULTED", "WITHDRAWN"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One outcome of one decision, named by its ID, or by applicant and instant.

    Parameters
    ----------
    outcome : {"REPAID", "DEFAULTED", "WITHDRAWN"}
        DEFAULTED is charged off, or 90 days past due. WITHDRAWN takes back all that was observed before it, which was
        a mistake.
    observed_at : datetime
        When it was known, with a zone.
    decision_id : str or None
        Which decision.
    applicant_id : str or None
    decided_at : datetime or None
        Instead of `decision_id`: whose, and exactly when.
    """

    outcome: Result
    observed_at: Instant
    decision_id: str | None = None
    applicant_id: str | None = None
    decided_at: Instant | None = None


class Taken(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done with one outcome.

    Parameters
    ----------
    status : {"stored", "known", "refused"}
        ``known``: the same outcome was stored before.
    decision_id : str
        The decision that it belongs to, empty if there is none.
    problem : str
        Why it was refused.
    """

    status: Literal["stored", "known", "refused"]
    decision_id: str = ""
    problem: str = ""


def counted_at(known_by: datetime | None = None, loaded_by: datetime | None = None) -> sa.ColumnElement[datetime]:
    """Return when the outcome that counts of a row of `decisions` was observed; null if none does.

    The first default counts, for what is paid after it does not undo it; without one the last repayment. What was
    withdrawn later does not count.

    Parameters
    ----------
    known_by : datetime or None
        Outcomes observed by then, UTC.
    loaded_by : datetime or None
        Outcomes loaded by then, wall clock, UTC.
    """
    one, later = outcomes.alias(), outcomes.alias()

    def told(report: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        bounds = ((report.c.observed_at, known_by), (report.c.loaded_at, loaded_by))
        return [column <= bound.astimezone(UTC) for column, bound in bounds if bound is not None]

    withdrawn = (
        sa.select(later.c.decision_id)
        .where(later.c.decision_id == one.c.decision_id, later.c.observed_at > one.c.observed_at)
        .where(later.c.outcome == "WITHDRAWN", *told(later))
        .correlate(one)
    )

    def at(which: Any, outcome: Result) -> sa.ScalarSelect[datetime]:
        stands = [one.c.decision_id == decisions.c.decision_id, one.c.outcome == outcome, ~withdrawn.exists()]
        return sa.select(which(one.c.observed_at)).where(*stands, *told(one)).correlate(decisions).scalar_subquery()

    return sa.func.coalesce(at(sa.func.min, "DEFAULTED"), at(sa.func.max, "REPAID"))


class Outcomes:
    """Store outcomes and read them back.

    Parameters
    ----------
    database : LogDatabase
        That of the decision log.
    """

    def __init__(self, database: LogDatabase) -> None:
        self._database = database
        on_sqlite = database.engine.dialect.name == "sqlite"
        insert: Any = sqlite.insert if on_sqlite else postgresql.insert
        self._insert = insert(outcomes).on_conflict_do_nothing()

    def store(self, given: Sequence[Outcome]) -> list[Taken]:
        """Store outcomes in one transaction, each once for its decision and instant.

        Returns
        -------
        list of Taken
            For each outcome what was done with it.

        Raises
        ------
        UnavailableError
            If the log is not there.
        """
        taken: list[Taken] = []
        with self._database.begin() as connection:
            for start in range(0, len(given), _CHUNK):
                taken += self._store(connection, given[start : start + _CHUNK])
        return taken

    def rows(self) -> Iterator[tuple[str, datetime, Result]]:
        """Yield decision, instant of observation and outcome, the earliest first."""
        query = sa.select(outcomes.c.decision_id, outcomes.c.observed_at, outcomes.c.outcome)
        with self._database.connect() as connection:
            for row in connection.execute(query.order_by(outcomes.c.observed_at, outcomes.c.decision_id)):
                yield row.decision_id, _utc(row.observed_at), row.outcome

    def _store(self, connection: sa.Connection, given: Sequence[Outcome]) -> list[Taken]:
        by_id = _by_id(connection, [one.decision_id.lower() for one in given if one.decision_id])
        by_name = _by_name(connection, given)
        found: list[tuple[str, str]] = []
        for one in given:
            if (one.decision_id is None) == (one.applicant_id is None or one.decided_at is None):
                found.append(("", "give decision_id, or applicant_id and decided_at"))
            elif one.decision_id is not None:
                found.append(_check(one, one.decision_id.lower(), by_id))
            else:
                matches = by_name.get((one.applicant_id or "", _utc(one.decided_at or one.observed_at)), [])
                if len(matches) > 1:
                    found.append(("", f"{len(matches)} decisions are on this applicant at this instant: name one"))
                else:
                    found.append(_check(one, matches[0] if matches else "", by_id | _by_id(connection, matches)))
        stored = _stored(connection, [decision for decision, problem in found if not problem])
        told = stored.keys() | {
            (decision, _utc(one.observed_at))
            for one, (decision, problem) in zip(given, found, strict=True)
            if not problem and one.outcome != "WITHDRAWN"
        }
        taken: list[Taken] = []
        fresh: list[dict[str, Any]] = []
        for one, (decision, problem) in zip(given, found, strict=True):
            key = decision, _utc(one.observed_at)
            if problem:
                taken.append(Taken("refused", decision, problem))
            elif one.outcome == "WITHDRAWN" and not any(of == decision and at < key[1] for of, at in told):
                taken.append(Taken("refused", decision, "nothing was observed before it that it could take back"))
            elif key not in stored:
                stored[key] = one.outcome
                now = datetime.now(UTC)
                fresh.append({"decision_id": decision, "observed_at": key[1], "outcome": one.outcome, "loaded_at": now})
                taken.append(Taken("stored", decision))
            elif stored[key] == one.outcome:
                taken.append(Taken("known", decision))
            else:
                taken.append(Taken("refused", decision, f"{stored[key]} was observed at this instant before{_HOW}"))
        if fresh:
            connection.execute(self._insert, fresh)
        return taken


def _check(one: Outcome, decision_id: str, known: dict[str, datetime]) -> tuple[str, str]:
    """Return decision and problem; the home's clock of the decision is compared, which a history keeps too."""
    if decision_id not in known:
        return "", "the log does not hold this decision"
    if _utc(one.observed_at) < known[decision_id]:
        return decision_id, "observed_at is before the decision"
    return decision_id, ""


def _by_id(connection: sa.Connection, ids: Sequence[str]) -> dict[str, datetime]:
    if not ids:
        return {}
    query = sa.select(decisions.c.decision_id, decisions.c.as_of).where(decisions.c.decision_id.in_(ids))
    return {row.decision_id: _utc(row.as_of) for row in connection.execute(query)}


def _by_name(connection: sa.Connection, given: Sequence[Outcome]) -> dict[tuple[str, datetime], list[str]]:
    pairs = {(one.applicant_id, _utc(one.decided_at)) for one in given if one.applicant_id and one.decided_at}
    if not pairs:
        return {}
    query = sa.select(decisions.c.decision_id, decisions.c.applicant_id, decisions.c.decided_at).where(
        decisions.c.applicant_id.in_({name for name, _ in pairs}),
        decisions.c.decided_at.in_({instant for _, instant in pairs}),
    )
    found: dict[tuple[str, datetime], list[str]] = {}
    for row in connection.execute(query):
        found.setdefault((row.applicant_id, _utc(row.decided_at)), []).append(row.decision_id)
    return found


def _stored(connection: sa.Connection, ids: Sequence[str]) -> dict[tuple[str, datetime], str]:
    if not ids:
        return {}
    query = sa.select(outcomes.c.decision_id, outcomes.c.observed_at, outcomes.c.outcome).where(
        outcomes.c.decision_id.in_(set(ids))
    )
    return {(row.decision_id, _utc(row.observed_at)): row.outcome for row in connection.execute(query)}


def _utc(instant: datetime) -> datetime:
    """Return an instant in UTC; SQLite keeps no zone, and what is in the log is UTC."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
