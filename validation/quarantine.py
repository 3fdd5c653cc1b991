"""Rows that a gate sets aside: out of the sources, into ``quarantine/<table>/<run>.parquet``, none lost on the way.

Whatever reads a source, be it `candor materialize`, plain Feast or training, then finds good rows only. The rows are
written aside first, with their reason and origin, and only then is each file replaced by one without them. A crash
between leaves rows in both places; the next run finds them again, knows them by the origin's hash, and only replaces.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.home import Home, write_atomically
from feature_repo.portfolios.raw import literal, quoted
from validation.asked import APPLICANT

FOLDER = "quarantine"
REASON, SPARE = "quarantine_reason", "quarantine_spare"
_RUN, _FILE, _ROW, _HASH = "quarantine_run", "origin_file", "origin_row", "origin_sha256"
_SETTLED = "settled.json"


def faulty_rows(
    frame: pd.DataFrame, not_met: Sequence[tuple[str, Sequence[Any]]], keys: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Return the rows that do not meet an expectation, each once and with the reasons.

    Parameters
    ----------
    frame : pandas.DataFrame of shape (n_rows, n_columns)
        A table as its gate read it.
    not_met : sequence of (str, sequence)
        Rules, and the labels of the rows that do not meet them.
    keys : mapping of str to sequence of str
        Those of the rules that ask for uniqueness, and of which columns.

    Returns
    -------
    pandas.DataFrame of shape (n_faulty, n_columns + 2)
        With `REASON`, and `SPARE`: whether nothing is wrong with the row but that it is there again, equal in
        every column, so that one copy of it is good.
    """
    reasons: dict[Any, list[str]] = {}
    for rule, labels in not_met:
        for label in labels:
            reasons.setdefault(label, []).append(rule)
    labels = sorted(reasons)
    faulty = frame.loc[labels].copy()
    faulty[REASON] = ["; ".join(reasons[label]) for label in labels]
    faulty[SPARE] = False
    for rule, columns in keys.items():
        only = faulty[REASON] == rule
        contents = faulty[only].drop_duplicates().groupby(list(columns), dropna=False).size()
        alone = set(contents[contents == 1].index)
        here = pd.MultiIndex.from_frame(faulty.loc[only, list(columns)])
        faulty.loc[only, SPARE] = np.array([one in alone for one in here], dtype=bool)
    return faulty.drop_duplicates()


def set_aside(home: Home, table: str, faulty: pd.DataFrame, run: str) -> tuple[int, Path]:
    """Move rows out of a source table's files; the caller holds the lock of the sources.

    Parameters
    ----------
    faulty : pandas.DataFrame
        As `faulty_rows` returns it; all rows of the files that equal one of them are moved, and of a spare one all
        but the first.
    run : str
        Name of the run, and of the file.

    Returns
    -------
    rows : int
        How many were moved.
    path : Path
        The file that holds them.
    """
    path = home.root / FOLDER / table / f"{run}.parquet"
    places = _places(home, table, faulty)
    hashes = {file: _sha256(Path(file)) for file in places}
    known = _recorded(path.parent)
    aside = [
        _rows_of(Path(file), rows, home.sources / table, hashes[file], run, known) for file, rows in places.items()
    ]
    if kept := [rows for rows in aside if len(rows)]:
        _write(path, pa.concat_tables(kept, promote_options="default"))
    for file, rows in places.items():
        _rewrite(Path(file), np.array(list(rows)))
    return sum(map(len, places.values())), path


def unsettled(home: Home) -> tuple[set[str], list[str]]:
    """Return the applicants of rows set aside since `settle`, and the names of the files that hold these rows.

    What Redis holds of such an applicant may come from a row that is no longer in the sources.
    """
    folder = home.root / FOLDER
    settled = set(msgspec.json.decode((folder / _SETTLED).read_bytes())) if (folder / _SETTLED).exists() else set()
    names = [str(path.relative_to(folder)) for path in sorted(folder.glob("*/*.parquet"))]
    new = [name for name in names if name not in settled]
    applicants: set[str] = set()
    for name in new:
        if APPLICANT in pq.read_schema(folder / name).names:
            applicants |= {str(one) for one in pq.read_table(folder / name, columns=[APPLICANT])[0].to_pylist() if one}
    return applicants, names


def settle(home: Home, names: Sequence[str]) -> None:
    """Remember that Redis holds nothing of the rows in these files."""
    if names:
        write_atomically(home.root / FOLDER / _SETTLED, msgspec.json.encode(list(names)))


def _places(home: Home, table: str, faulty: pd.DataFrame) -> dict[str, dict[int, str]]:
    """Return, by file, the numbers of the rows to move and why."""
    columns = [name for name in faulty.columns if name not in (REASON, SPARE)]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("faulty", pa.Table.from_pandas(faulty, preserve_index=False))
        floats = {name for name in columns if faulty[name].dtype == "float64"}
        held = {name: _held(name, name in floats) for name in columns}
        same = " AND ".join(f"{sql} IS NOT DISTINCT FROM faulty.{quoted(name)}" for name, sql in held.items())
        rows = connection.execute(
            f"""SELECT filename, file_row_number, {REASON} FROM (
                    SELECT filename, file_row_number, {REASON}, {SPARE}, row_number() OVER copies AS copy
                    FROM read_parquet({literal(home.source_glob(table))}, filename = true, file_row_number = true) held
                    JOIN faulty ON {same}
                    WINDOW copies AS (PARTITION BY {", ".join(held.values())} ORDER BY filename, file_row_number))
                WHERE NOT ({SPARE} AND copy = 1) ORDER BY filename, file_row_number"""
        ).fetchall()
    found: dict[str, dict[int, str]] = {}
    for file, number, reason in rows:
        found.setdefault(file, {})[number] = reason
    return found


def _held(name: str, is_float: bool) -> str:
    """Return SQL of a column of the files, NaN as null: pandas tells them apart no more."""
    sql = f"held.{quoted(name)}"
    return f"(CASE WHEN NOT isnan({sql}) THEN {sql} END)" if is_float else sql


def _rows_of(
    file: Path, rows: dict[int, str], folder: Path, sha256: str, run: str, known: set[tuple[str, str, int]]
) -> pa.Table:
    """Return the rows of a file that were not yet set aside, with reason, run and origin."""
    name = str(file.relative_to(folder))
    new = [number for number in rows if (name, sha256, number) not in known]
    numbers = np.array(new, dtype=np.int64)
    parts = [
        group.take(pa.array(numbers[(numbers >= first) & (numbers < first + len(group))] - first))
        for first, group in _groups(file)
    ]
    return (
        pa.concat_tables(parts)
        .append_column(REASON, pa.array([rows[number] for number in new], pa.string()))
        .append_column(_RUN, pa.array([run] * len(new), pa.string()))
        .append_column(_FILE, pa.array([name] * len(new), pa.string()))
        .append_column(_ROW, pa.array(numbers))
        .append_column(_HASH, pa.array([sha256] * len(new), pa.string()))
    )


def _groups(file: Path) -> Iterator[tuple[int, pa.Table]]:
    """Give the row groups of a file, each with the number of its first row."""
    source, first = pq.ParquetFile(file), 0
    for number in range(source.num_row_groups):
        group = source.read_row_group(number)
        yield first, group
        first += len(group)


def _recorded(folder: Path) -> set[tuple[str, str, int]]:
    found: set[tuple[str, str, int]] = set()
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path, columns=[_FILE, _HASH, _ROW])
        found |= set(zip(*(table[name].to_pylist() for name in (_FILE, _HASH, _ROW)), strict=True))
    return found


def _rewrite(file: Path, without: np.ndarray[Any, Any]) -> None:
    """Replace a file by one without these rows, row group by row group, in one step."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    with pq.ParquetWriter(partial, pq.read_schema(file), compression="snappy") as writer:
        for first, group in _groups(file):
            keep = ~np.isin(np.arange(first, first + len(group)), without)
            writer.write_table(group.filter(pa.array(keep)), row_group_size=len(group))
    _replace(partial, file)


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    pq.write_table(table, partial)
    _replace(partial, path)


def _replace(partial: Path, path: Path) -> None:
    with open(partial, "rb+") as stream:
        os.fsync(stream.fileno())
    partial.replace(path)


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
