"""Source tables as data frames of exact types: what DuckDB read, nothing guessed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from feature_repo.errors import InputError
from feature_repo.portfolios.raw import literal, quoted
from validation.asked import APPLICANT

_NULLABLE: dict[pa.DataType, Any] = {
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype("pyarrow"),
    pa.large_string(): pd.StringDtype("pyarrow"),
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}


@dataclass(frozen=True)
class Reading:
    """What to read of a source beside its own columns.

    Parameters
    ----------
    copies : str
        Name of a column that says how often a row is there, equal rows being read once; empty reads each.
    known : str
        Name of a column that says whether the applicant is in one of `elsewhere`; left out where none can be asked.
    elsewhere : tuple of str
        Globs of the Parquet files of other tables.
    """

    copies: str = ""
    known: str = ""
    elsewhere: tuple[str, ...] = ()


def read_parquet(table: str, path: Path | str, columns: Collection[str], reading: Reading = Reading()) -> pd.DataFrame:
    """Read those of the named columns that Parquet files have.

    Parameters
    ----------
    table : str
        Name for messages.
    path : Path or str
        Path or glob of the files.
    columns : collection of str
        Columns wanted; one that the files lack is left out without complaint.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_columns)
        Integers, booleans and strings in pandas' nullable types, so that a column has the same type
        with nulls and without; instants with a time zone in UTC. Columns that are not wanted are there by
        name, all null. Rows are in no particular order where equal ones are read once.

    Raises
    ------
    InputError
        If no file matches.
    duckdb.Error
        If a file is not readable Parquet, or the files disagree on their columns.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if not connection.execute("SELECT 1 FROM glob(?) LIMIT 1", [str(path)]).fetchone():
            raise InputError(f"table {table!r} has no file at {path}")
        types = {row[0]: row[1] for row in connection.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()}
        chosen = [quoted(name) if name in columns else f"NULL::VARCHAR AS {quoted(name)}" for name in types]
        if types.get(APPLICANT) == "VARCHAR" and (others := _with_applicants(connection, reading.elsewhere)):
            union = " UNION ALL ".join(f"SELECT {APPLICANT} FROM read_parquet({literal(one)})" for one in others)
            chosen.append(f"{APPLICANT} IN ({union}) AS {quoted(reading.known)}")
        group = ""
        if reading.copies:
            chosen, group = [*chosen, f"count(*)::DOUBLE AS {quoted(reading.copies)}"], "GROUP BY ALL"
        query = f"SELECT {', '.join(chosen)} FROM read_parquet({literal(str(path))}) {group}"
        return to_frame(connection.execute(query).to_arrow_table())


def _with_applicants(connection: duckdb.DuckDBPyConnection, globs: Iterable[str]) -> list[str]:
    """Return the globs of tables that name any applicant; what is wrong with the others their own gates say."""
    found = []
    for one in globs:
        with suppress(duckdb.Error):
            rows = connection.execute(f"SELECT {APPLICANT}::VARCHAR FROM read_parquet(?) LIMIT 1", [one]).fetchone()
            if rows and rows[0] is not None:
                found.append(one)
    return found


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a frame of the types that `read_parquet` gives."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE.get)
    return frame
