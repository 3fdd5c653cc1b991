"""Raw files as DuckDB relations ``raw.<name>``, checked before any SQL sees them.

A missing file, a missing column or a value that is not of its declared type stops the ingest with
the file, the column and an example. NaN is how pandas writes a missing number, so it becomes null.
"""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import InputError
from feature_repo.portfolios.portfolio import Portfolio, RawFile


def attach(con: duckdb.DuckDBPyConnection, portfolio: Portfolio, folder: Path) -> None:
    """Create ``raw.<name>`` for every raw file that the portfolio declares.

    Parameters
    ----------
    folder : Path
        Folder of the raw files, or the file itself where the portfolio declares just one.

    Raises
    ------
    InputError
        If a file is missing, unreadable, empty, lacks a column, or holds a value of a wrong type.
    """
    con.execute("CREATE SCHEMA raw")
    for name, spec in portfolio.raw.items():
        paths = [folder] if folder.is_file() and len(portfolio.raw) == 1 else sorted(folder.glob(spec.file))
        if not paths:
            hint = f"; {portfolio.obtain}" if portfolio.obtain else ""
            raise InputError(f"{folder / spec.file} is missing{hint}")
        scan = _csv_scan(paths, spec) if spec.delimiter else _parquet_scan(paths, spec)
        chosen = [f"{typed(column, kind)} AS {quoted(column)}" for column, kind in spec.columns.items()]
        if spec.row_number:
            chosen.append("file_row_number")
        # A CSV is parsed once, into a table; Parquet is cheap to scan again.
        kept = "TABLE" if spec.delimiter else "VIEW"
        label = paths[0] if len(paths) == 1 else folder / spec.file
        try:
            _check_values(con, label, spec, scan)
            con.execute(f"CREATE {kept} raw.{quoted(name)} AS SELECT {', '.join(chosen)} FROM {scan}")
        except duckdb.Error as error:
            raise InputError(f"{label} cannot be read: {str(error).splitlines()[0]}") from None


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def parquet_schema(path: Path) -> pa.Schema:
    """Return the Arrow schema of a Parquet file that has rows.

    Raises
    ------
    InputError
        If the file is not readable as Parquet or has no rows.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from None
    if not file.metadata.num_rows:
        raise InputError(f"{path} has no rows")
    return file.schema_arrow


def typed(column: str, kind: str) -> str:
    """Return SQL that reads a column as a DuckDB type, NaN as null."""
    cast = f"CAST({quoted(column)} AS {kind})"
    # Not nullif(): Parquet statistics leave NaN out, from which DuckDB concludes that there is none.
    return f"CASE WHEN NOT isnan({cast}) THEN {cast} END" if kind == "DOUBLE" else cast


def _require(path: Path, found: list[str], spec: RawFile) -> None:
    missing = [column for column in spec.columns if column not in found]
    if missing:
        raise InputError(f"{path} lacks the column {', '.join(missing)} (it has: {', '.join(found)})")


def _parquet_scan(paths: list[Path], spec: RawFile) -> str:
    for path in paths:
        schema = parquet_schema(path)
        _require(path, schema.names, spec)
        for column, kind in spec.columns.items():
            found = schema.field(column).type
            if kind == "TIMESTAMPTZ" and not (pa.types.is_timestamp(found) and found.tz):
                raise InputError(f"{path}, column {column}: {found} has no time zone; write timestamps in UTC")
    files = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{files}], union_by_name = true, file_row_number = {str(spec.row_number).lower()})"


def _csv_scan(paths: list[Path], spec: RawFile) -> str:
    headers = [_csv_header(path, spec) for path in paths]
    for path, header in zip(paths, headers, strict=True):
        _require(path, header, spec)
        if header != headers[0]:
            raise InputError(f"{path} has other columns than {paths[0].name}: {', '.join(header)}")
    files = ", ".join(literal(str(path)) for path in paths)
    columns = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in headers[0])
    return (
        f"read_csv([{files}], columns = {{{columns}}}, delim = {literal(spec.delimiter)}, header = true,"
        " quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = true, auto_detect = false)"
    )


def _csv_header(path: Path, spec: RawFile) -> list[str]:
    """Return the column names of a CSV, having seen that all of it is UTF-8 and that rows follow."""
    lines = 0
    with path.open("rb") as stream:
        for line in stream:
            lines += 1
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, line {lines}: not UTF-8 ({error.reason}); convert it to UTF-8") from None
    if lines < 2:
        raise InputError(f"{path} has no rows")
    with path.open(encoding="utf-8-sig", newline="") as text:
        return next(csv.reader(text, delimiter=spec.delimiter))


def _check_values(con: duckdb.DuckDBPyConnection, label: Path, spec: RawFile, scan: str) -> None:
    """Refuse values that are not of the declared type, and infinite ones."""
    found = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
    checks = {}
    for column, kind in spec.columns.items():
        cast = f"TRY_CAST({quoted(column)} AS {kind})"
        rules = [f"isinf({cast})"] if kind == "DOUBLE" else []
        if found[column] != {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}.get(kind, kind):
            rules.append(f"{quoted(column)} IS NOT NULL AND {cast} IS NULL")
        if rules:
            checks[column] = f"min({quoted(column)}) FILTER ({' OR '.join(rules)})"
    examples = con.execute(f"SELECT {', '.join(checks.values())} FROM {scan}").fetchone() if checks else ()
    for column, example in zip(checks, examples or (), strict=True):
        if example is not None:
            raise InputError(f"{label}, column {column}: {example!r} is not a finite {spec.columns[column]}")
