"""Source tables as data frames of exact types: what DuckDB read, nothing guessed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from feature_repo.errors import InputError

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


def read_parquet(table: str, path: Path | str, columns: Collection[str], *, distinct: bool = False) -> pd.DataFrame:
    """Read those of the named columns that Parquet files have.

    Parameters
    ----------
    table : str
        Name for messages.
    path : Path or str
        Path or glob of the files.
    columns : collection of str
        Columns wanted; one that the files lack is left out without complaint.
    distinct : bool
        Whether rows that are equal in all these columns are read once, in no particular order.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_columns)
        Integers, booleans and strings in pandas' nullable types, so that a column has the same type
        with nulls and without; instants with a time zone in UTC.

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
        schema = connection.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()
        # A file with none of the columns still has a number of rows.
        names = [row[0] for row in schema if row[0] in columns] or [schema[0][0]]
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        select = "SELECT DISTINCT" if distinct else "SELECT"
        arrow = connection.execute(f"{select} {quoted} FROM read_parquet(?)", [str(path)]).to_arrow_table()
    return to_frame(arrow)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a frame of the types that `read_parquet` gives."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE.get)
    return frame
