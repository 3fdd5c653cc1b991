"""The source tables: their schema, and how one query becomes one checked, sorted Parquet file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.errors import InputError
from feature_repo.home import Home
from feature_repo.portfolios.raw import literal, quoted, typed
from feature_repo.registry import load_definitions, table_columns

KEYS = {"applicant_id": "VARCHAR", "event_timestamp": "TIMESTAMPTZ", "created_timestamp": "TIMESTAMPTZ"}
LOANS = {
    "loan_id": "VARCHAR",
    "purchase_amount": "DOUBLE",
    "term_months": "BIGINT",
    "loan_purpose": "VARCHAR",
    "defaulted": "BOOLEAN",
    "outcome_observed_at": "TIMESTAMPTZ",
}
ROW_GROUP = 122_880

Schema = Mapping[str, Mapping[str, str]]


def source_schema(home: Home) -> dict[str, dict[str, str]]:
    """Return every source table's columns and DuckDB types, keys first.

    The applicant tables follow from the Feast definitions; ``loans`` (one row per decided loan:
    `event_timestamp` is the time of decision, `defaulted` is null until `outcome_observed_at`) is ours.
    """
    return {table: KEYS | columns for table, columns in ({**table_columns(home), "loans": LOANS}).items()}


def loan_purposes(home: Home) -> tuple[str, ...]:
    """Return the purposes that the contract allows."""
    for view in load_definitions(home):
        if isinstance(view, OnDemandFeatureView):
            for source in view.source_request_sources.values():
                for field in source.schema:
                    if field.name == "loan_purpose":
                        return tuple(field.tags["categories"].split(","))
    return ()


def write_table(
    con: duckdb.DuckDBPyConnection, query: str, label: str, columns: Mapping[str, str], path: Path, *, filled: bool
) -> int:
    """Write the result of a query as one Parquet file in the table's schema.

    Columns that the query lacks become typed nulls, NaN becomes null, and rows are sorted by their
    keys, so that the same rows give the same bytes.

    Parameters
    ----------
    query : str
        A SELECT with the three key columns.
    label : str
        What the query is, for messages: an SQL file or a Parquet path.
    columns : mapping of str to str
        Column to DuckDB type, keys first.
    filled : bool
        Whether no rows at all would be an error.

    Returns
    -------
    int
        Number of rows written.

    Raises
    ------
    InputError
        If the query fails, has columns that the schema does not know or lacks a key, or yields null
        keys, timestamps without a zone, infinite values, or two rows of the same key.
    """
    try:
        found = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE ({query}\n)").fetchall()}
        _check_columns(found, columns, label)
        chosen = [
            f"{typed(name, kind) if name in found else f'NULL::{kind}'} AS {quoted(name)}"
            for name, kind in columns.items()
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        order = ", ".join([*KEYS, *(name for name in ("loan_id",) if name in columns)])  # no two rows share these
        con.execute(
            f"COPY (SELECT {', '.join(chosen)} FROM ({query}\n) ORDER BY {order}) TO {literal(str(path))}"
            f" (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {ROW_GROUP})"
        )
    except duckdb.Error as error:
        raise InputError(f"{label}: {str(error).splitlines()[0]}") from None
    return _check_rows(con, path, columns, label, filled=filled)


def write_empty(con: duckdb.DuckDBPyConnection, columns: Mapping[str, str], path: Path) -> None:
    """Write a table of no rows with the right schema."""
    nothing = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in columns.items())
    write_table(con, f"SELECT {nothing} WHERE false", path.parent.name, columns, path, filled=False)


def check_loans(con: duckdb.DuckDBPyConnection, path: Path, label: str, purposes: tuple[str, ...]) -> None:
    """Refuse loans that no lender could have decided.

    Raises
    ------
    InputError
        If a loan id repeats or is null, an amount or term is not positive, a purpose is not in the
        contract, or an outcome and the time of its observation do not go together.
    """
    known = ", ".join(literal(purpose) for purpose in purposes)
    rules = {
        "purchase_amount is not positive": "purchase_amount IS NULL OR purchase_amount <= 0",
        "term_months is not positive": "term_months IS NULL OR term_months <= 0",
        f"loan_purpose is not one of {', '.join(purposes)}": f"loan_purpose NOT IN ({known})",
        "defaulted and outcome_observed_at go together": "(defaulted IS NULL) <> (outcome_observed_at IS NULL)",
        "outcome_observed_at is before the decision": "outcome_observed_at < event_timestamp",
        "loan_id is null": "loan_id IS NULL",
        "loan_id is not unique": "copies > 1",
    }
    counted = f"SELECT *, count(*) OVER (PARTITION BY loan_id) AS copies FROM {literal(str(path))}"
    for rule, broken in rules.items():
        row = con.execute(f"SELECT loan_id FROM ({counted}) WHERE {broken} ORDER BY loan_id LIMIT 1").fetchone()
        if row:
            raise InputError(f"{label}, loan {row[0]}: {rule}")


def _check_columns(found: Mapping[str, str], columns: Mapping[str, str], label: str) -> None:
    if unknown := [name for name in found if name not in columns]:
        raise InputError(f"{label}: the contract does not know the column {', '.join(unknown)}")
    if missing := [name for name in KEYS if name not in found]:
        raise InputError(f"{label}: the column {', '.join(missing)} is missing")
    for name, kind in columns.items():
        if kind == "TIMESTAMPTZ" and name in found and found[name] != "TIMESTAMP WITH TIME ZONE":
            raise InputError(f"{label}: {name} is {found[name]}; make it TIMESTAMPTZ, in UTC")


def _check_rows(
    con: duckdb.DuckDBPyConnection, path: Path, columns: Mapping[str, str], label: str, *, filled: bool
) -> int:
    table = literal(str(path))
    doubles = [name for name, kind in columns.items() if kind == "DOUBLE"]
    null_keys = ["count(*) FILTER (coalesce(applicant_id, '') = '')"]
    null_keys += [f"count(*) FILTER ({name} IS NULL)" for name in ("event_timestamp", "created_timestamp")]
    infinite = [f"count(*) FILTER (isinf({quoted(name)}))" for name in doubles]
    row = con.execute(f"SELECT count(*), {', '.join(null_keys + infinite)} FROM {table}").fetchone()
    assert row is not None  # an aggregate without GROUP BY has one row
    if filled and not row[0]:
        raise InputError(f"{label}: no rows")
    for name, count in zip([*KEYS, *doubles], row[1:], strict=True):
        if count:
            what = "null or empty" if name in KEYS else "infinite"
            raise InputError(f"{label}: {name} is {what} in {count:,} rows")
    # `loans` is told apart by loan_id: a person may take two loans in one instant.
    if "loan_id" not in columns:
        keys = ", ".join(KEYS)
        repeated = f"SELECT {keys} FROM {table} GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
        if twice := con.execute(repeated).fetchone():
            raise InputError(f"{label}: two rows of applicant {twice[0]} share event_timestamp and created_timestamp")
    return int(row[0])
