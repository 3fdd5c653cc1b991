"""Loans that were decided here: approved decisions whose outcomes were reported, as rows of the loans table.

The decision log is where they are kept, and the only place: each training reads them anew. Of several outcomes of one
loan the one counts that performance counts, too (`monitoring.outcomes.counted_at`). An approval of which nobody has
reported anything was perhaps never taken up, and is no loan.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from glob import glob
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from feature_repo.contract import FeatureSpec, Kind
from feature_repo.errors import GateError, UnavailableError
from feature_repo.home import Home
from monitoring.log_database import LogDatabase
from monitoring.log_tables import decisions, outcomes
from monitoring.outcomes import counted_at
from training.loans import DecidedHere
from validation.gates import require_passed, run_gate_setting_aside
from validation.own_suites import of_rows, own_expectations
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
_PYTHON: dict[Kind, Any] = {"number": float, "count": int, "flag": bool, "category": str}
_GRACE = timedelta(days=90)


class _Terms(msgspec.Struct, frozen=True):
    term_months: int | None = None


class _Output(msgspec.Struct, frozen=True):
    recommended_terms: _Terms = _Terms()


def _form(request: Sequence[FeatureSpec]) -> Any:
    """Return the parts of a decision's record that say what was asked for, and for how long it was granted."""
    values = msgspec.defstruct("Values", [(spec.name, _PYTHON[spec.kind] | None, None) for spec in request])
    source = msgspec.defstruct("Request", [("values", values)])
    return msgspec.defstruct(
        "Asked", [("features", msgspec.defstruct("Features", [("request", source)])), ("output", _Output)]
    )


def read(
    home: Home, request: Sequence[FeatureSpec], *, as_of: datetime, loaded_by: datetime, months: int
) -> DecidedHere:
    """Return the approved decisions of the home's log with what became of them, and how many others are no loans.

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
    DecidedHere
        A row for each loan, in order of ``loan_id``, which is the decision's ID; ``event_timestamp`` is the instant on
        the home's clock at which it was made. Nothing where no outcome was loaded.

    Raises
    ------
    UnavailableError
        If the log is not there, or holds what cannot be read.
    """
    if _is_absent(home):
        return DecidedHere()
    decoder = msgspec.json.Decoder(_form(request))
    columns: dict[str, list[Any]] = {field.name: [] for field in _schema(request)}
    going_on: set[str] = set()
    database = LogDatabase(home.decision_log_url)
    try:
        with database.connect() as connection:
            left_out = _left_out(connection, as_of, loaded_by, months)
            if left_out is None:
                return DecidedHere()
            for row in connection.execution_options(yield_per=_BATCH).execute(_query(as_of, loaded_by)):
                record = _asked(decoder, row)
                asked = record.features.request.values
                term = record.output.recommended_terms.term_months or getattr(asked, "term_months", None) or 0
                if not months and not _has_ended(_utc(row.as_of), int(term), as_of):
                    going_on.add(row.decision_id)
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
                    values.append(loan[name] if name in loan else getattr(asked, name))
    finally:
        database.close()
    left_out["not over for 90 days"] = len(going_on)
    loans = pa.table(columns, schema=_schema(request)) if columns["loan_id"] else None
    return DecidedHere(loans, {why: count for why, count in left_out.items() if count})


def _left_out(connection: sa.Connection, as_of: datetime, loaded_by: datetime, months: int) -> dict[str, int] | None:
    """Count the decisions that are no loans to learn from; None where no outcome was loaded at all.

    An approval of which nobody has reported anything was not taken up, or its report is missing: where defaults alone
    are reported, they look like all there is. It is counted once it is older than the performance window.
    """
    reported = sa.select(outcomes.c.decision_id).where(outcomes.c.loaded_at <= loaded_by.astimezone(UTC))
    if connection.execute(reported.limit(1)).first() is None:
        return None
    approved = decisions.c.recommendation == "APPROVED"
    by_now, ever = counted_at(as_of, loaded_by).is_not(None), counted_at(None, loaded_by).is_not(None)
    count = sa.select(sa.func.count()).select_from(decisions)
    over = decisions.c.as_of <= _months_before(as_of, months).astimezone(UTC)
    within = f" in {months} months" if months else ""
    asked = {
        "declined, or left to a person": count.where(ever, ~approved),
        f"observed after {as_of:%Y-%m-%d}": count.where(ever, approved, ~by_now),
        f"approved and never reported on{within}": count.where(approved, over, ~ever, ~by_now),
    }
    return {why: int(connection.execute(query).scalar_one()) for why, query in asked.items()}


def checked(home: Home, decided: DecidedHere, request: Sequence[FeatureSpec], as_of: datetime) -> DecidedHere:
    """Return what passes the gate of the loans table, with what a suite of the user's asks of single rows of it.

    Decisions that it refuses are set aside, by ID and reason, as long as they are few beside all loans there are: one
    would otherwise keep the home from ever learning again, since nothing is taken out of the log.

    Raises
    ------
    GateError
        If they are many, or more is wrong than single rows.
    """
    if decided.loans is None:
        return decided
    suite = loans_suite(request, as_of=as_of, name=GATE, allow_empty=True)
    frame = to_frame(decided.loans)
    suite.expectations += of_rows(own_expectations(home, LOANS, frame.columns))
    of = _loans_in(home) + len(frame)
    result, refused = run_gate_setting_aside(GATE, frame, suite, home.reports, key="loan_id", of=of)
    try:
        require_passed([result])
    except GateError as error:
        raise GateError(f"{error}; to learn without the loans that were decided here: --without-decided") from None
    return without(decided, refused)


def without(decided: DecidedHere, refused: Mapping[str, str]) -> DecidedHere:
    """Return the loans without decisions that were set aside, which are told by ID with the rules that they break."""
    if decided.loans is None or not refused:
        return decided
    is_left = pc.invert(pc.is_in(decided.loans["loan_id"], pa.array(list(refused), pa.string())))
    loans = decided.loans.filter(is_left)
    return DecidedHere(
        loans if loans.num_rows else None,
        decided.left_out | {"set aside by the gate": len(refused)},
        dict(refused),
    )


def _loans_in(home: Home) -> int:
    files = glob(home.source_glob(LOANS), recursive=True)
    return sum(pq.read_metadata(file).num_rows for file in files)


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
            outcomes.c.observed_at == counted_at(as_of, loaded_by),
        )
        .order_by(decisions.c.decision_id)
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


def _asked(decoder: msgspec.json.Decoder[Any], row: Any) -> Any:
    try:
        return decoder.decode(row.record)
    except msgspec.MsgspecError as error:
        raise UnavailableError(
            f"decision {row.decision_id} was logged in a form that cannot be read ({error}); to learn without the "
            "loans that were decided here: --without-decided"
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
