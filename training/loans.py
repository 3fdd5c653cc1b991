"""Which loans there are to learn from, and what excludes each: the one query that decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WINDOW_SHARE = 0.2
_WINDOW_MONTHS = 12
DECIDED_HERE = "of them decided here"  # step of the waterfall

# What is known of each loan at `as_of`, and the first exclusion that it meets. A loan written again counts as its
# latest version; of applications sent twice, the first counts.
LOANS_SQL = """
with known as (
    select *, row_number() over (
        partition by loan_id
        order by created_timestamp desc, {request}, defaulted, decided_here, event_timestamp, outcome_observed_at
    ) as version
    from ({sources}) where created_timestamp <= $as_of
), latest as (
    select *,
        row_number() over (partition by applicant_id, event_timestamp, {request} order by decided_here, loan_id) as nth,
        time_bucket(interval 1 day, event_timestamp + to_months($months)) + interval 1 day as window_end,
        case when decided_here then $as_of else $observed_until end as observed_until
    from known where version = 1
)
select loan_id, applicant_id, event_timestamp, {request},
    case when $months = 0 then defaulted else coalesce(defaulted and outcome_observed_at <= window_end, false) end
        as defaulted,
    case
        when nth > 1 then 'duplicate'
        when $months > 0 and window_end > observed_until then 'young'
        when outcome_observed_at <= $as_of and defaulted is null then 'indeterminate'
        when $months = 0 and coalesce(outcome_observed_at > $as_of, true) then 'young'
        else ''
    end as excluded,
    decided_here
from latest
order by loan_id
"""
_SOURCE = "select *, false as decided_here from read_parquet($loans)"
_DECIDED = " union all by name select *, true as decided_here from decided"


@dataclass(frozen=True)
class DecidedHere:
    """Decisions of a home of which somebody has reported what became of them.

    Parameters
    ----------
    loans : pyarrow.Table or None
        A row for each outcome, in the columns of the loans table; None if there are none to learn from.
    left_out : dict of str to int
        Decisions that are no loans to learn from, by why.
    set_aside : dict of str to str
        IDs of decisions that the gate of the loans table refuses, each with the rules that it breaks.
    """

    loans: pa.Table | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)


def choose_loans(
    loans: str,
    request: Sequence[str],
    *,
    as_of: datetime,
    months: int,
    decided: pa.Table | None = None,
    observed_until: datetime | None = None,
) -> tuple[int, pa.Table, str]:
    """Return how many loans there are, those known by `as_of` with what excludes each, and the SQL that says so.

    Parameters
    ----------
    loans, as_of, observed_until
        As for `training.dataset.build_dataset`; `months` is its `performance_months`.
    request : sequence of str
        Inputs of a request that the loans table holds.
    decided : pyarrow.Table or None
        As `DecidedHere.loans`.

    Returns
    -------
    tuple of int, pyarrow.Table and str
        The table has a row for each loan, ordered by ``loan_id``; ``excluded`` is empty where the loan counts, and
        ``decided_here`` tells where it came from.
    """
    sources = _SOURCE if decided is None else _SOURCE + _DECIDED
    query = LOANS_SQL.format(request=", ".join(request), sources=sources)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        total = connection.execute("select count(*) from read_parquet($loans)", {"loans": loans}).fetchone()
        if decided is not None:
            connection.register("decided", decided)
        until = min(as_of, observed_until or as_of)
        parameters = {"loans": loans, "as_of": as_of, "months": months, "observed_until": until}
        known = connection.execute(query, parameters).to_arrow_table()
    count = total[0] if total else 0
    return count + (0 if decided is None else pc.count_distinct(decided["loan_id"]).as_py()), known, query


def rolling_start(known: pa.Table) -> datetime | None:
    """Return where an out-of-time window starts that moves on with the loans; None if no loan counts yet.

    It holds the latest fifth of the loans that count, by when they were decided, from the first of a month (UTC) on: as
    many as are needed to tell two models apart, and all others to learn from. Of a long history it is the latest
    twelve months, since what is older says less of the loans to come.

    Parameters
    ----------
    known : pyarrow.Table
        As `choose_loans` gives it.
    """
    matured = known.filter(pc.equal(known["excluded"], ""))
    if not matured.num_rows:
        return None
    decided = np.sort(np.asarray(matured["event_timestamp"].to_numpy()).astype("M8[us]"))
    border = decided[int((len(decided) - 1) * (1 - _WINDOW_SHARE))].astype("M8[M]")
    start = max(border, decided[-1].astype("M8[M]") - (_WINDOW_MONTHS - 1))
    first: datetime = start.astype("M8[us]").item()
    return first.replace(tzinfo=UTC)
