"""The index of a source's two times: made of one state of its files, in a folder, and read through memory maps."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.stores.asof import ViewJoin, distinct_keys, index_rows, key_columns
from feature_repo.stores.offline_source import file_literal, first_line, literal
from feature_repo.stores.offline_stop import Stop

_FORMAT = "3"
_KEPT = 2  # indexes of one source beside those in use: its files' state now and the one before
_IN_USE = 300.0  # seconds since it was opened; a join of another process may still read it
_ABANDONED = 3600.0  # seconds since anything was written to an index that is not finished
_BATCH = 1 << 18
_COLUMNS = ("known", "event", "rid")
_KEYS = "keys.parquet"
_MANIFEST = "manifest.json"

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Index:
    """Rows of a source that can ever be seen, n of them, key by key in order of ``known``.

    Parameters
    ----------
    keys : str
        SQL relation of the keys (k0..) and the range of their rows (start, stop).
    known, event, rid : array of int64, shape (n,)
        When a row was known and when it was true, microseconds since 1970, UTC; its id in the source.
        Both times rise within a key.
    """

    keys: str
    known: Integers
    event: Integers
    rid: Integers


def kept_index(connection: duckdb.DuckDBPyConnection, view: ViewJoin, directory: Path, stop: Stop) -> Index:
    """Open the index of a view's source, making it first if its files have no index yet.

    Processes may do this at once: each writes a folder of its own and the first to finish gives it
    its name. Of the indexes of earlier states of the files all but the newest are deleted, unless
    they were opened in the last minutes; so is what a killed process left behind.

    Parameters
    ----------
    directory : Path
        Where indexes are kept; made if needed.

    Raises
    ------
    OSError
        If nothing can be kept there.
    duckdb.Error
        If the source cannot be read and sorted.
    Stopped
        If nobody waits any more.
    """
    parts = (view.source.name, *key_columns(view).values(), view.event, view.created, _FORMAT)
    family = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    folder = directory / f"{family}-{view.source.digest(*parts)}"
    index = _open_whole(folder)
    if index is None:
        partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
        partial.mkdir(parents=True)
        try:
            keys = distinct_keys(view.source.scan(key_columns(view)), len(view.keys))
            _write(connection, view, keys, "true", partial, stop)
            view.source.check_unchanged()
            _sync(partial)
            if folder.is_dir() and _open_whole(folder) is None:
                shutil.rmtree(folder)
            with suppress(OSError):  # another process was first
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _sync_entry(directory)
        index = _open_whole(folder)
        if index is None:
            raise FileNotFoundError(f"{folder} is not there, or not whole")
        with suppress(OSError):  # another process deletes too
            _delete_stale(directory, family, folder)
    with suppress(OSError):  # a folder that may only be read
        os.utime(folder)
    return index


@contextmanager
def passing_index(
    connection: duckdb.DuckDBPyConnection,
    view: ViewJoin,
    entity_keys: list[str],
    where: str,
    directory: Path,
    stop: Stop,
) -> Iterator[Index]:
    """Make an index for one call: only of the entity frame's keys, and of rows it can see.

    Parameters
    ----------
    where : str
        Condition on the source's columns that keeps all rows that can be seen.
    directory : Path
        Where it is until the call ends; made if needed.
    """
    chosen = ", ".join(f"{column} as k{i}" for i, column in enumerate(entity_keys)) or "1"
    keys = distinct_keys(f"select {chosen} from entity", len(entity_keys))
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="candor-index-", dir=directory) as folder:
        _write(connection, view, keys, where, Path(folder), stop)
        yield _open(Path(folder))


def _open_whole(folder: Path) -> Index | None:
    """Open an index if it has all rows that its manifest counts."""
    try:
        counted = json.loads((folder / _MANIFEST).read_bytes())
        keys = pq.read_metadata(folder / _KEYS).num_rows
        index = _open(folder)
    except (OSError, ValueError):  # among these what is no JSON and no Parquet
        return None
    rows = {len(index.known), len(index.event), len(index.rid)}
    return index if counted == {"keys": keys, "rows": rows.pop()} and not rows else None


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        _sync_entry(path)
    _sync_entry(folder)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(folder: Path) -> Index:
    return Index(
        f"read_parquet({file_literal(str(folder / _KEYS))}, hive_partitioning=false)",
        *(_array(folder / name) for name in _COLUMNS),
    )


def _array(path: Path) -> Integers:
    # A file without a byte cannot be mapped.
    return np.memmap(path, "<i8", "r") if path.stat().st_size else np.empty(0, np.int64)


def _write(
    connection: duckdb.DuckDBPyConnection, view: ViewJoin, keys: str, where: str, folder: Path, stop: Stop
) -> None:
    connection.execute(f"create or replace temp table index_keys as {keys}")
    (count,) = connection.execute("select count(*) from index_keys").fetchone() or (0,)
    rows = connection.sql(index_rows(view, "index_keys", where)).to_arrow_reader(_BATCH)
    lengths = np.zeros(count + 1, np.int64)  # ids count from 1
    files = [(name, (folder / name).open("wb")) for name in _COLUMNS]
    try:
        for batch in _read(rows):
            stop.check()
            _add_lengths(lengths, batch.column("id").to_numpy())
            for name, file in files:
                file.write(batch.column(name).to_numpy().data)
    finally:
        for _, file in files:
            file.close()
    stops = np.cumsum(lengths)
    ranges: Any = pa.table({"id": np.arange(1, count + 1), "start": stops[:-1], "stop": stops[1:]})
    connection.register("index_ranges", ranges)
    names = "".join(f"k{i}, " for i in range(len(view.keys)))
    chosen = f"select {names}start, stop from index_keys join index_ranges using (id)"
    try:
        connection.execute(f"copy ({chosen}) to {literal(str(folder / _KEYS))} (format parquet)")
    except duckdb.IOException as error:
        raise OSError(first_line(error)) from None
    connection.unregister("index_ranges")
    connection.execute("drop table index_keys")
    (folder / _MANIFEST).write_text(json.dumps({"keys": count, "rows": int(lengths.sum())}))


def _read(rows: Any) -> Iterator[Any]:
    """Yield the batches of a query; what ends it otherwise is no matter of the files that are written meanwhile."""
    try:
        yield from rows
    except OSError as error:  # pyarrow has no other for an interrupt, or for want of memory
        raise duckdb.Error(first_line(error)) from None


def _add_lengths(lengths: Integers, ids: Integers) -> None:
    if len(ids):
        counts = np.bincount(ids - ids[0])
        lengths[ids[0] : ids[0] + len(counts)] += counts


def _delete_stale(directory: Path, family: str, current: Path) -> None:
    now = time.time()
    ages = {folder: now - folder.stat().st_mtime for folder in directory.glob(f"{family}-*") if folder != current}
    for folder in sorted(ages, key=lambda path: ages[path])[_KEPT - 1 :]:
        if ages[folder] > _IN_USE:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in directory.glob(f".{family}-*.partial"):
        # Its files grow without a change to the folder.
        if now - max(path.stat().st_mtime for path in (folder, *folder.iterdir())) > _ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)
