"""Indexes kept between calls: one folder for each state of a source's files."""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from pathlib import Path

import duckdb

from feature_repo.stores.asof import Index, ViewJoin, distinct_keys, index_rows, key_columns
from feature_repo.stores.offline_source import literal

_FORMAT = "1"
_STALE_AFTER = 3600.0  # seconds; a join of another process may still read the index of an earlier state


def kept_index(connection: duckdb.DuckDBPyConnection, view: ViewJoin, directory: Path) -> Index:
    """Open the index of a view's source, making it first if its files have no index yet.

    Processes may do this at once: each writes a folder of its own and the first to finish gives it
    its name. Indexes of earlier states of the files are deleted an hour after they were made.

    Parameters
    ----------
    directory : Path
        Where indexes are kept; made if needed.
    """
    parts = (view.source.name, *key_columns(view).values(), view.event, view.created, _FORMAT)
    family = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    folder = directory / f"{family}-{view.source.digest(*parts)}"
    if not folder.is_dir():
        _make(connection, view, folder)
        _delete_stale(directory, family, folder)
    return Index(*(f"read_parquet({literal(str(folder / name))})" for name in ("keys.parquet", "rows.parquet")))


def passing_index(connection: duckdb.DuckDBPyConnection, view: ViewJoin, entity_keys: list[str], where: str) -> Index:
    """Make an index for one call in temporary tables: only of the entity frame's keys, and of rows it can see."""
    chosen = ", ".join(f"{column} as k{i}" for i, column in enumerate(entity_keys)) or "1"
    keys = distinct_keys(f"select {chosen} from entity", len(entity_keys))
    connection.execute(f"create or replace temp table index_keys as {keys}")
    connection.execute(f"create or replace temp table index_rows as {index_rows(view, 'index_keys', where)}")
    return Index("index_keys", "index_rows")


def _make(connection: duckdb.DuckDBPyConnection, view: ViewJoin, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir(parents=True)
    try:
        keyed = view.source.scan(key_columns(view))
        keys, rows = (literal(str(partial / name)) for name in ("keys.parquet", "rows.parquet"))
        connection.execute(f"create or replace temp table index_keys as {distinct_keys(keyed, len(view.keys))}")
        connection.execute(f"copy index_keys to {keys} (format parquet)")
        # Uncompressed: microseconds hardly shrink, and every join reads all of them.
        connection.execute(
            f"copy ({index_rows(view, 'index_keys')}) to {rows} (format parquet, compression uncompressed)"
        )
        view.source.check_unchanged()
        connection.execute("drop table index_keys")
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _delete_stale(directory: Path, family: str, current: Path) -> None:
    for folder in directory.glob(f"{family}-*"):
        if folder != current and time.time() - folder.stat().st_mtime > _STALE_AFTER:
            shutil.rmtree(folder, ignore_errors=True)
