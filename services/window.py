"""Where the out-of-time window of a retraining starts: it rolls on with the loans, and never back."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo import registry
from feature_repo.errors import InputError
from feature_repo.home import Home
from services import decided_loans, intake
from training.loans import DecidedHere, choose_loans, rolling_start
from training.promotion import standing
from training.promotion_record import now
from training.tracking import NotKept, Tracking


def window_start(home: Home, *, as_of: datetime, months: int, with_decided: bool = True) -> datetime:
    """Return the start of the window for loans known by an instant; see `training.loans.rolling_start`.

    It is never before the champion's own: that one has learned from the loans before, and on those it would be compared
    as nobody who decides on strangers ever is.

    Parameters
    ----------
    as_of : datetime
        UTC; outcomes observed by then count.
    months : int
        Months after a decision in which a default counts.
    with_decided : bool
        Whether loans that were decided here count.

    Raises
    ------
    InputError
        If no loan counts yet, none since the champion's window started, or nothing was ingested.
    GateError
        If a source table fails its gate.
    """
    intake.require_gated(home)
    request = registry.request_specs(home)
    decided = DecidedHere()
    if with_decided:
        decided = decided_loans.read(home, request, as_of=as_of, loaded_by=now(), months=months)
    loans = decided.loans
    if loans is not None:
        loans = of_known_applicants(home, registry.table_specs(home), loans)
    _, known, _ = choose_loans(
        home.source_glob("loans"),
        [spec.name for spec in request],
        as_of=as_of,
        months=months,
        decided=loans,
        observed_until=home.portfolio_observed_until(),
    )
    start = rolling_start(known)
    if start is None:
        raise InputError(f"no loan's outcome is known by {as_of:%Y-%m-%d}: there is nothing to learn from yet")
    champions = _champions(home)
    if champions is None:
        return start
    newest = pc.max(known.filter(pc.equal(known["excluded"], ""))["event_timestamp"]).as_py()
    if newest < champions:
        raise InputError(
            f"the champion's out-of-time window starts on {champions:%Y-%m-%d}, and of loans decided since then no "
            f"outcome counts by {as_of:%Y-%m-%d} (the newest that counts was decided on {newest:%Y-%m-%d}): wait for "
            "outcomes, or give an earlier --oot-start, which compares on loans that the champion has learned from"
        )
    return max(start, champions)


def of_known_applicants(home: Home, tables: Collection[str], loans: pa.Table) -> pa.Table:
    """Return the loans decided here of whose applicants a source knew by the decision.

    Of others nothing is learned (`training.dataset.build_dataset`), and a window that counted them would hold few loans
    that count, or none.

    Parameters
    ----------
    tables : collection of str
        Source tables of applicants.
    loans : pyarrow.Table
        As `training.loans.DecidedHere.loans`.
    """
    first = "min(greatest(event_timestamp, created_timestamp)) as since"
    rows = [f"select applicant_id, {first} from read_parquet(${name}) group by applicant_id" for name in tables]
    query = f"""
        with known as ({" union all ".join(rows)})
        select * from loans where exists (
            select 1 from known where known.applicant_id = loans.applicant_id and since <= loans.event_timestamp
        ) order by loan_id
    """
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("loans", loans)
        found = connection.execute(query, {name: home.source_glob(name) for name in tables})
        return found.to_arrow_table().cast(loans.schema)


def _champions(home: Home) -> datetime | None:
    """Return where the champion's window started; None if there is none, or MLflow does not know it."""
    champion = standing(home)
    if champion is None:
        return None
    try:
        start = Tracking(home).params(champion.run_id).get("oot_start", "")
    except NotKept:
        return None
    return datetime.fromisoformat(start) if start else None
