"""Feast's batch engine, for ``batch_engine`` in feature_store.yaml: rows go to Redis as columns.

Feast's own engine turns each value of each row into a Python object. This one takes plain views from the
offline store as Arrow and encodes whole columns; any other view goes Feast's way. Feast records the
interval only after the engine has returned without an error.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.infra.common.materialization_job import MaterializationJobStatus
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.utils import _get_column_names, _run_pyarrow_field_mapping

from feature_repo.stores.bulk import ViewEncoder, record_batches
from feature_repo.stores.online_store import CandorOnlineStore


class CandorEngineConfig(LocalComputeEngineConfig):  # type: ignore[misc, unused-ignore]
    """Options of Feast's local engine."""

    type: Literal["feature_repo.stores.engine.CandorEngine"] = "feature_repo.stores.engine.CandorEngine"


class CandorEngine(LocalComputeEngine):  # type: ignore[misc, unused-ignore]
    """Materialize plain views column by column, and others as Feast does."""

    def _materialize_one(self, registry: Any, task: Any, **kwargs: Any) -> Any:
        if not _is_plain(task.feature_view) or not isinstance(self.online_store, CandorOnlineStore):
            return super()._materialize_one(registry, task, **kwargs)
        job = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
        try:
            self._write(registry, task)
        except Exception as error:  # Feast raises it again, and does not record the interval
            return LocalMaterializationJob(job, MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job, MaterializationJobStatus.SUCCEEDED)

    def _write(self, registry: Any, task: Any) -> None:
        view = task.feature_view
        encoder = ViewEncoder(self.repo_config, view)
        table = self._latest(registry, task)
        # Feast's bars write to stderr; in a log they are noise.
        bar = task.tqdm_builder(table.num_rows) if task.tqdm_builder and sys.stderr.isatty() else None
        try:
            rows = map(encoder.encode, record_batches(table))
            self.online_store.write_rows(self.repo_config, rows, bar.update if bar is not None else None)
        finally:
            if bar is not None:
                bar.close()

    def _latest(self, registry: Any, task: Any) -> Any:
        """Return the newest row of each entity in the interval, columns named as features are."""
        view = task.feature_view
        entities = [registry.get_entity(name, task.project) for name in view.entities]
        keys, features, event, created = _get_column_names(view, entities)
        job = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=view.batch_source,
            join_key_columns=keys,
            feature_name_columns=features,
            timestamp_field=event,
            created_timestamp_column=created,
            start_date=task.start_time,
            end_date=task.end_time,
        )
        return _run_pyarrow_field_mapping(job.to_arrow(), view.batch_source.field_mapping or {})


def _is_plain(view: Any) -> bool:
    """Whether the view's values are columns of its source, to be written online only."""
    made = getattr(view, "feature_transformation", None) or getattr(view, "aggregations", None)
    return bool(
        type(view) is FeatureView
        and view.batch_source
        and DUMMY_ENTITY_NAME not in view.entities
        and not made
        and view.online
        and not view.offline
        and not view.enable_validation
    )
