"""Feast's offline store over Parquet, joined by DuckDB at two times: when a row was true, and when it was known.

In feature_store.yaml::

    offline_store:
      type: feature_repo.stores.offline.CandorOfflineStore
      memory_limit: 4GB
      prepared_directory: ../var/prepared
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow.parquet as pq
from feast.errors import RequestDataNotFoundInEntityDfException
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from feature_repo.errors import InputError
from feature_repo.stores import historical, pull
from feature_repo.stores.offline_append import append
from feature_repo.stores.offline_entity import read_entity_frame
from feature_repo.stores.offline_job import CandorRetrievalJob, write_parquet
from feature_repo.stores.offline_source import open_source, reading


class CandorOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings of the offline store; relative folders are resolved from the repo.

    Parameters
    ----------
    memory_limit : str or None
        Memory of one query, for example ``"4GB"``; beyond it DuckDB spills. None means 80 % of the machine's.
    spill_directory : str or None
        Where it spills, and keeps the index of one call; None means the system's temporary folder.
    threads : int or None
        Threads of one query, and with 1 no two views are joined at once; None means one per core.
    prepared_directory : str or None
        Where the index of each source's two times is kept, 24 bytes a row, so that it is made once
        for each state of the source's files. None makes it in every call, of what the call needs.
    """

    type: Literal["feature_repo.stores.offline.CandorOfflineStore"] = "feature_repo.stores.offline.CandorOfflineStore"
    memory_limit: str | None = None
    spill_directory: str | None = None
    threads: int | None = None
    prepared_directory: str | None = None


class CandorOfflineStore(OfflineStore):  # type: ignore[misc]
    """Historical features as they were known at each entity row's instant."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        filter_by_created_timestamp: bool = True,
    ) -> RetrievalJob:
        """Join features to an entity frame; what is wrong with the request is said now, the join runs later.

        At instant t an entity row sees, of all source rows of its key with event and created
        timestamp <= t, the one with the latest event timestamp; of several with the latest created
        timestamp; of several the one written last (later in its file, in a file that sorts later by
        path; appended files sort last, oldest first). If that row is older than the view's TTL,
        its features are null: an age of exactly the TTL is not, and a TTL of 0 never expires.

        Parameters
        ----------
        entity_df : DataFrame, pyarrow.Table or str
            Rows to join, or a DuckDB query for them; files in it are found from the repo. Rows keep
            their order, duplicates included. Instants without a zone are UTC.
        filter_by_created_timestamp : bool
            Made for stores that can ignore the created timestamp. Here both values mean True:
            a join that sees what was not yet known is never what a model should learn from.

        Raises
        ------
        InputError
            If something asked for is wrong or not served by this store; the message names it.
        UnavailableError
            If a source has no file.
        """
        if entity_df is None:
            raise InputError(
                "features of a time range without an entity frame are not served: give entity_df, "
                "or read the source with pull_all_from_table_or_query"
            )
        repo = repo_path_of(config)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        with open_connection(config) as connection:
            entity = read_entity_frame(entity_df, connection)
            joins = historical.plan(connection, feature_views, feature_refs, repo, full_feature_names)
        for view in on_demand:
            for name in view.get_request_data_schema():
                if name not in entity.names:
                    raise RequestDataNotFoundInEntityDfException(name, view.name)
        historical.check_keys(entity, joins)
        historical.check_names(entity, joins, _on_demand_names(on_demand, feature_refs, full_feature_names))

        def run() -> Any:
            with open_connection(config) as connection:
                # Files may have come since.
                fresh = historical.plan(connection, feature_views, feature_refs, repo, full_feature_names)
                return historical.join_all(connection, entity, fresh, prepared_of(config), spill_of(config))

        return CandorRetrievalJob(
            run,
            repo,
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in entity.names if name != entity.time],
                min_event_timestamp=entity.first,
                max_event_timestamp=entity.last,
            ),
            on_demand=on_demand,
            full_feature_names=full_feature_names,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Return a job for `pull.pull_latest`: what is to be served at `end_date`."""
        return _pull(pull.pull_latest, config, data_source, join_key_columns, feature_name_columns,
                     timestamp_field, created_timestamp_column, start_date, end_date)  # fmt: skip

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Return a job for `pull.pull_all`: every row by event timestamp."""
        return _pull(pull.pull_all, config, data_source, join_key_columns, feature_name_columns,
                     timestamp_field, created_timestamp_column, start_date, end_date)  # fmt: skip

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: Any, table: Any, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows to a view's source as a new file; see `offline_append.append`."""
        with open_connection(config) as connection:
            append(connection, feature_view, table, repo_path_of(config))
        if progress:
            progress(len(table))

    @staticmethod
    def write_logged_features(config: RepoConfig, data: Any, source: Any, logging_config: Any, registry: Any) -> None:
        """Append logged features to a folder of Parquet files.

        Raises
        ------
        InputError
            If the destination is no folder of files, or to be partitioned.
        """
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination) or destination.partition_by:
            raise InputError("features are logged to a FileLoggingDestination without partition_by only")
        table = pq.read_table(data) if isinstance(data, str | Path) else data
        write_parquet(table, repo_path_of(config) / destination.path / f"{uuid.uuid4().hex}.parquet")

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: Any
    ) -> Iterable[tuple[str, str]]:
        """Return the columns of a source and their Arrow types, of a glob too, which stock Feast cannot read."""
        with open_connection(config) as connection:
            opened = open_source(connection, data_source, repo_path_of(config))
            with reading(opened.name):
                schema = connection.sql(f"select * from {opened.read()} limit 0").to_arrow_table().schema
        return [(field.name, str(field.type)) for field in schema]

    def validate_data_source(self, config: RepoConfig, data_source: Any) -> None:
        """Accept any source: it may get its first file after `feast apply`."""


def _pull(
    pull_rows: Callable[..., Any],
    config: RepoConfig,
    source: Any,
    keys: list[str],
    features: list[str],
    event: str,
    created: str | None,
    start: datetime | None,
    end: datetime | None,
) -> RetrievalJob:
    def run() -> Any:
        with open_connection(config) as connection:
            # Feast asks here by the files' own names.
            opened = replace(open_source(connection, source, repo_path_of(config)), mapping={})
            connection.execute("set preserve_insertion_order = false")
            with reading(opened.name):
                table = pull_rows(connection, opened, keys, features, event, created or "", start, end)
            opened.check_unchanged()
            return table

    return CandorRetrievalJob(run, repo_path_of(config))


def _on_demand_names(views: list[Any], refs: list[str], full_feature_names: bool) -> list[str]:
    names = []
    for view in views:
        used = view.projection.name_to_use()
        asked = [ref.partition(":")[2] for ref in refs if ref.partition(":")[0] == used]
        names += [f"{used}__{feature}" if full_feature_names else feature for feature in asked]
    return names


def repo_path_of(config: RepoConfig) -> Path:
    """Return the folder from which relative paths of a configuration are resolved."""
    return Path(config.repo_path or ".").absolute()


def prepared_of(config: RepoConfig) -> Path | None:
    """Return where indexes are kept between calls, None if they are not."""
    folder = config.offline_store.prepared_directory
    return repo_path_of(config) / folder if folder else None


def spill_of(config: RepoConfig) -> Path:
    """Return where queries may spill."""
    folder = config.offline_store.spill_directory
    return repo_path_of(config) / folder if folder else Path(tempfile.gettempdir())


@contextmanager
def open_connection(config: RepoConfig) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open DuckDB with the settings of a configuration.

    Raises
    ------
    InputError
        If a setting is wrong.
    """
    settings = config.offline_store
    options: dict[str, Any] = {
        "temp_directory": str(spill_of(config) / f"candor-spill-{uuid.uuid4().hex}"),
        "file_search_path": str(repo_path_of(config)),
        "python_enable_replacements": False,  # a query names files, not our variables
    }
    options |= {"memory_limit": settings.memory_limit} if settings.memory_limit else {}
    options |= {"threads": settings.threads} if settings.threads else {}
    try:
        connection = duckdb.connect(config=options)
    except duckdb.Error as error:
        raise InputError(f"offline_store in feature_store.yaml: {error}") from None
    try:
        connection.execute("set timezone = 'UTC'")
        yield connection
    finally:
        connection.close()
