"""Loans that were decided here: approved decisions whose outcomes were reported, as rows of the loans table.

The decision log is where they are kept, and the only place: each training reads them anew. An outcome is a version of
its loan that became known when it was observed, so that of several the last one observed by `as_of` counts, as in
the loans table. An approval of which nobody has reported anything was perhaps never taken up, and is no loan.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import sqlalchemy as sa

from feature_repo.contract import FeatureSpec, Kind
from feature_repo.errors import UnavailableError
from feature_repo.home import Home
from monitoring.log_database import LogDatabase, decisions, outcomes
from validation.gates import run_gate
from validation.own_suites import of_rows, own_expectations
from validation.results import GateResult
from validation.source_gate import LOANS
from validation.suites import loans_suite
from validation.tables import to_frame

GATE = "decided_loans"
_BATCH = 1000
_INSTANT = pa.timestamp("us", "UTC")
_TYPES: dict[Kind, pa.DataType] = {
    "number": pa.float64(),
    "count": pa.int64(),
    "flag": pa.bool_(),
    "category": pa.string(),
}

_GRACE = timedelta(days=90)


class _Request(msgspec.Struct):
    values: dict[str, Any]


class _Features(msgspec.Struct):
    request: _Request


class _Terms(msgspec.Struct, frozen=True):
    term_months: int | None = None


class _Output(msgspec.Struct, frozen=True):
    recommended_terms: _Terms = _Terms()


class _Asked(msgspec.Struct):
    """The parts of a decision's record that say what was asked for, and for how long it was granted."""

    features: _Features
    output: _Output


def read(
    home: Home, request: Sequence[FeatureSpec], *, as_of: datetime, loaded_by: datetime, months: int
) -> pa.Table | None:
    """Return the approved decisions of the home's log with what became of them, in the columns of the loans table.

    Parameters
    ----------
    home : Home
    request : sequence of FeatureSpec
        Inputs of a request that the loans table holds.
    as_of : datetime
        UTC; outcomes observed by then.
    loaded_by : datetime
        Wall clock, UTC; outcomes loaded by then. What was read by an instant is read by it again later.
    months : int
        Months after a decision in which a default counts. With 0, a loan counts once its term and 90 days are over:
        of the outcomes known earlier most are bad, since a repayment is known last of all.

    Returns
    -------
    pyarrow.Table or None
        A row for each outcome, in order of decision and observation: ``loan_id`` is the decision's ID,
        ``event_timestamp`` the instant on the home's clock at which it was made. None if there is no outcome.

    Raises
    ------
    UnavailableError
        If the log is not there, or holds what cannot be read.
    """
    if _is_absent(home):
        return None
    decoder = msgspec.json.Decoder(_Asked)
    columns: dict[str, list[Any]] = {field.name: [] for field in _schema(request)}
    database = LogDatabase(home.decision_log_url)
    try:
        with database.connect() as connection:
            for row in connection.execution_options(yield_per=_BATCH).execute(_query(as_of, loaded_by)):
                record = _asked(decoder, row)
                asked = record.features.request.values
                term = record.output.recommended_terms.term_months or asked.get("term_months") or 0
                if not months and not _has_ended(_utc(row.as_of), int(term), as_of):
                    continue
                observed = _utc(row.observed_at)
                loan = {
                    "loan_id": row.decision_id,
                    "applicant_id": row.applicant_id,
                    "event_timestamp": _utc(row.as_of),
                    "created_timestamp": observed,
                    "defaulted": row.outcome == "DEFAULTED",
                    "outcome_observed_at": observed,
                }
                for name, values in columns.items():
                    values.append(loan[name] if name in loan else asked.get(name))
    finally:
        database.close()
    return pa.table(columns, schema=_schema(request)) if columns["loan_id"] else None


def unreported(home: Home, *, as_of: datetime, loaded_by: datetime, months: int) -> int:
    """Return how many approvals of which nobody has reported anything are older than the performance window.

    They were not taken up, or their reports are missing: if defaults alone are reported, they look like all there is.
    """
    if _is_absent(home):
        return 0
    reported = sa.select(outcomes.c.decision_id).where(
        outcomes.c.observed_at <= as_of.astimezone(UTC), outcomes.c.loaded_at <= loaded_by.astimezone(UTC)
    )
    query = sa.select(sa.func.count()).where(
        decisions.c.recommendation == "APPROVED",
        decisions.c.as_of <= _months_before(as_of, months).astimezone(UTC),
        decisions.c.decision_id.not_in(reported),
    )
    database = LogDatabase(home.decision_log_url)
    try:
        with database.connect() as connection:
            return int(connection.execute(query).scalar_one())
    finally:
        database.close()


def check(home: Home, loans: pa.Table, request: Sequence[FeatureSpec], as_of: datetime) -> GateResult:
    """Run the gate of the loans table on them, with what a suite of the user's asks of single rows of it."""
    frame = to_frame(loans)
    suite = loans_suite(request, as_of=as_of, name=GATE)
    suite.expectations += of_rows(own_expectations(home, LOANS, frame.columns))
    return run_gate(GATE, frame, suite, home.reports)


def _query(as_of: datetime, loaded_by: datetime) -> sa.Select[Any]:
    return (
        sa.select(
            decisions.c.decision_id,
            decisions.c.applicant_id,
            decisions.c.as_of,
            decisions.c.record,
            outcomes.c.observed_at,
            outcomes.c.outcome,
        )
        .join(outcomes, outcomes.c.decision_id == decisions.c.decision_id)
        .where(
            decisions.c.recommendation == "APPROVED",
            outcomes.c.observed_at <= as_of.astimezone(UTC),
            outcomes.c.loaded_at <= loaded_by.astimezone(UTC),
        )
        .order_by(decisions.c.decision_id, outcomes.c.observed_at)
    )


def _schema(request: Sequence[FeatureSpec]) -> pa.Schema:
    return pa.schema(
        [
            ("loan_id", pa.string()),
            ("applicant_id", pa.string()),
            ("event_timestamp", _INSTANT),
            ("created_timestamp", _INSTANT),
            *((spec.name, _TYPES[spec.kind]) for spec in request),
            ("defaulted", pa.bool_()),
            ("outcome_observed_at", _INSTANT),
        ]
    )


def _asked(decoder: msgspec.json.Decoder[_Asked], row: Any) -> _Asked:
    try:
        return decoder.decode(row.record)
    except msgspec.MsgspecError as error:
        raise UnavailableError(
            f"decision {row.decision_id} was logged in a form that cannot be read: {error}"
        ) from None


def _has_ended(decided: datetime, term_months: int, as_of: datetime) -> bool:
    """Return whether a loan's last payment has been due for 90 days, so that either outcome is known."""
    return decided <= _months_before(as_of - _GRACE, term_months)


def _is_absent(home: Home) -> bool:
    """Return whether the log is a SQLite file that is not there: to open it would be to create it."""
    try:
        url = sa.make_url(home.decision_log_url)
    except sa.exc.ArgumentError:
        return False  # whoever opens it says what is wrong with it
    return url.get_backend_name() == "sqlite" and bool(url.database) and not Path(url.database or "").exists()


def _utc(instant: datetime) -> datetime:
    """Return an instant in UTC; SQLite keeps no zone, and what is in the log is UTC."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _months_before(instant: datetime, months: int) -> datetime:
    year, month = divmod(instant.year * 12 + instant.month - 1 - months, 12)
    day = min(instant.day, monthrange(year, month + 1)[1])
    return instant.replace(year=year, month=month + 1, day=day)
