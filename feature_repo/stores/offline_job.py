"""What Feast gets back from the offline store: a query that runs when its result is asked for."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from feature_repo.errors import InputError
from feature_repo.stores.offline_source import pattern_of


class CandorRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A retrieval that has been checked but not yet run; each call for its result runs it.

    Parameters
    ----------
    run : callable
        Returns the result without on-demand features as a pyarrow.Table.
    repo_path : Path
        Folder from which relative paths of saved datasets are resolved.
    """

    def __init__(
        self,
        run: Callable[[], Any],
        repo_path: Path,
        *,
        metadata: RetrievalMetadata | None = None,
        on_demand: list[Any] | None = None,
        full_feature_names: bool = False,
    ) -> None:
        super().__init__()
        self._run = run
        self._repo_path = repo_path
        self._metadata = metadata
        self._on_demand = on_demand or []
        self._full_feature_names = full_feature_names

    def _to_arrow_internal(self, timeout: int | None = None) -> Any:
        return self._run()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._run().to_pandas()
        return frame

    def to_relation(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """Return the result, on-demand features included, as a DuckDB relation over Arrow memory.

        Parameters
        ----------
        connection : DuckDBPyConnection or None
            Where to query it; None for a connection of its own, with its time zone set to UTC.
        """
        if connection is None:
            connection = duckdb.connect()
            connection.execute("set timezone = 'UTC'")
        return connection.from_arrow(self.to_arrow())

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named ``<view>__<feature>``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        """On-demand views that Feast computes from the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Features, keys and time range asked for; None for a pull from one source."""
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result, on-demand features included, to one Parquet file.

        Parameters
        ----------
        storage : SavedDatasetFileStorage
            A ``.parquet`` path or a folder, relative to the repo or absolute.

        Raises
        ------
        InputError
            If the storage is of another kind, not Parquet or not local.
        SavedDatasetLocationAlreadyExists
            If something is there and `allow_overwrite` is False.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise InputError(f"a dataset is saved to SavedDatasetFileStorage, not to {type(storage).__name__}")
        source = storage.to_data_source()
        pattern_of(source, self._repo_path)  # refuses what cannot be read back
        place = Path(os.path.normpath(self._repo_path / source.path))
        if not allow_overwrite and place.exists() and (place.is_file() or any(place.iterdir())):
            raise SavedDatasetLocationAlreadyExists(location=str(place))
        path = place if place.suffix == ".parquet" else place / "data.parquet"
        write_parquet(self.to_arrow(), path)
        for other in path.parent.glob("*.parquet") if path != place else ():
            if other != path:
                other.unlink()

    def to_remote_storage(self) -> list[str]:
        """Refuse: results stay on this machine."""
        raise NotImplementedError("this store does not export to remote storage: use to_arrow() or persist()")


def write_parquet(table: Any, path: Path) -> None:
    """Write a Parquet file with microsecond timestamps, durably and in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        pq.write_table(table, partial, coerce_timestamps="us", allow_truncated_timestamps=True)
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def one_chunk(table: Any) -> Any:
    """Return the table with one chunk a column: Feast 0.67 writes only the first of several online."""
    return table.combine_chunks() if len(table) else pa.Table.from_batches([], table.schema)
