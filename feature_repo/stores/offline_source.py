"""A Feast FileSource as a list of Parquet files, so that one join reads one unchanging set of rows."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.errors import InputError, UnavailableError

APPENDED = "appended-"
_WILDCARDS = set("*?[")
_ROW_ID_COLUMNS = {"file_index", "file_row_number"}
FILE_BITS = 40  # a row's id is its file's place in the list, then its place in the file

FileState = tuple[str, int, int, int, int]


@dataclass(frozen=True)
class ParquetSource:
    """The files of one source as they were when it was opened.

    Parameters
    ----------
    name : str
        Name of the Feast source, for messages.
    files : tuple of (path, bytes, nanoseconds, inode, nanoseconds)
        Absolute path, size, modification time, inode and change time of each file: the last nobody
        can set back. Their order is the order of writing: by path, then what `offline_write_batch`
        appended, oldest first.
    types : dict of str to str
        DuckDB type of each column of the files, hive partition columns included.
    mapping : dict of str to str
        Column of the files by the name that features use, where they differ.
    partitions : tuple of str
        Columns that come from names (``name=value``) of folders below the source's own.
    """

    name: str
    files: tuple[FileState, ...]
    types: Mapping[str, str]
    mapping: Mapping[str, str]
    partitions: tuple[str, ...] = ()

    def column(self, name: str) -> str:
        """Return the column of the files that holds `name`.

        Raises
        ------
        InputError
            If the files have no such column.
        """
        column = self.mapping.get(name, name)
        if column not in self.types:
            raise InputError(f"source {self.name} has no column {column!r} (it has: {', '.join(self.types)})")
        return column

    def time_column(self, name: str) -> str:
        """Return the column of the files that holds the instant `name`.

        Raises
        ------
        InputError
            If there is none, or it holds neither timestamps nor dates.
        """
        column = self.column(name)
        if not self.types[column].startswith(("TIMESTAMP", "DATE")):
            raise InputError(f"source {self.name}: {column!r} is {self.types[column]}, not a timestamp")
        return column

    def scan(self, columns: Mapping[str, str]) -> str:
        """Return SQL for the chosen columns of all rows, and ``rid``, which rises in order of writing.

        Parameters
        ----------
        columns : dict of str to str
            SQL expression over the files' columns by alias.
        """
        chosen = ", ".join(f"{expression} as {alias}" for alias, expression in columns.items())
        row_id = f"file_index::bigint * {1 << FILE_BITS} + file_row_number::bigint as rid"
        return f"select {chosen}, {row_id} from {self.read()}"

    def read(self) -> str:
        """Return the SQL table function that reads all files; columns are matched by name."""
        paths = ", ".join(file_literal(path) for path, *_ in self.files)
        hive = "true" if self.partitions else "false"
        return f"read_parquet([{paths}], union_by_name=true, hive_partitioning={hive})"

    def digest(self, *parts: str) -> str:
        """Return a hash of the files' state and of `parts`."""
        return hashlib.sha256(repr((self.files, parts)).encode()).hexdigest()[:24]

    def check_unchanged(self) -> None:
        """Refuse a result whose rows may have been read half before and half after a rewrite.

        Raises
        ------
        UnavailableError
            If a file is gone or another than it was. Files added since do not matter.
        """
        for state in self.files:
            try:
                if _state(state[0]) == state:
                    continue
            except FileNotFoundError:
                pass
            raise UnavailableError(f"source {self.name}: {state[0]} changed while it was being read; run this again")


def literal(text: str) -> str:
    """Return a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def file_literal(path: str) -> str:
    """Return a SQL string for one file to read: DuckDB takes a path for a pattern."""
    return literal(glob.escape(path))


def first_line(error: Exception) -> str:
    """Return what is wrong without DuckDB's extract of the query."""
    return str(error).strip().partition("\n")[0]


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Say which source could not be read, and why, in one line.

    Raises
    ------
    UnavailableError
        If DuckDB or pyarrow fails, for example on a file that is no Parquet, or for want of memory or room to spill.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise UnavailableError(f"source {name} cannot be read: {first_line(error)}") from None


def quoted(name: str) -> str:
    """Return a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def pattern_of(source: Any, repo_path: Path) -> str:
    """Return the absolute Parquet path or glob of a source; a folder stands for all files below it.

    Raises
    ------
    InputError
        If this is no local Parquet FileSource.
    """
    if not isinstance(source, FileSource):
        raise InputError(f"source {source.name} is a {type(source).__name__}; this store reads FileSource only")
    if not isinstance(source.file_format, ParquetFormat | None):
        raise InputError(f"source {source.name} is {type(source.file_format).__name__}; this store reads Parquet only")
    path = source.path.removeprefix("file://")
    if "://" in path:
        raise InputError(f"source {source.name}: {path} is not on this machine; this store reads local files only")
    absolute = os.path.normpath(repo_path / path)
    return os.path.join(glob.escape(absolute), "**", "*.parquet") if os.path.isdir(absolute) else absolute


def open_source(connection: duckdb.DuckDBPyConnection, source: Any, repo_path: Path) -> ParquetSource:
    """List a source's files and read their columns.

    Parameters
    ----------
    repo_path : Path
        Folder from which relative paths are resolved.

    Raises
    ------
    InputError
        If the source is of a kind that this store does not read.
    UnavailableError
        If there is no such file, or one that cannot be read.
    """
    pattern = pattern_of(source, repo_path)
    found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
    try:
        files = tuple(_state(path) for path in sorted(found, key=_order))
    except OSError as error:
        reason = error.strerror or error
        raise UnavailableError(f"source {source.name}: {error.filename} cannot be read ({reason})") from None
    if not files:
        raise UnavailableError(f"source {source.name}: no Parquet file matches {pattern}")
    mapping = {feature: column for column, feature in (source.field_mapping or {}).items()}
    folders = _partitions(glob.escape(pattern) if os.path.isfile(pattern) else pattern, found)
    opened = ParquetSource(source.name, files, {}, mapping, folders)
    with reading(source.name):
        rows = connection.execute(f"describe select * from {opened.read()}").fetchall()
    types = {row[0]: row[1] for row in rows}
    if shadowed := _ROW_ID_COLUMNS & {name.lower() for name in types}:
        raise InputError(f"source {source.name}: rename column {', '.join(sorted(shadowed))}, which DuckDB reserves")
    return ParquetSource(source.name, files, types, mapping, folders)


def has_wildcard(text: str) -> bool:
    """Return whether the text is a glob rather than a path."""
    return bool(_WILDCARDS & set(text))


def _partitions(pattern: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that all files have from folder names below the part of the pattern without wildcards."""
    parts = pattern.split(os.sep)[:-1]
    # An escaped character is no wildcard.
    depth = next((i for i, part in enumerate(parts) if has_wildcard(re.sub(r"\[(.)\]", "", part))), len(parts))
    found = {
        tuple(part.partition("=")[0] for part in path.split(os.sep)[depth:-1] if "=" in part[1:]) for path in paths
    }
    return found.pop() if len(found) == 1 else ()


def _order(path: str) -> tuple[bool, str]:
    return os.path.basename(path).startswith(APPENDED), path


def _state(path: str) -> FileState:
    stat = os.stat(path)
    return path, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns
