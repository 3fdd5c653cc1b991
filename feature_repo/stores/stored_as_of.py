"""What the online store would say of applicants at given instants, read from the offline store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from feature_repo.errors import InputError
from feature_repo.stores import historical
from feature_repo.stores.asof import ViewJoin
from feature_repo.stores.offline import (
    CandorOfflineStoreConfig,
    open_connection,
    prepared_of,
    repo_path_of,
    spill_of,
)
from feature_repo.stores.offline_entity import INSTANT, EntityFrame
from feature_repo.stores.offline_source import open_source
from feature_repo.stores.plan import OnlinePlan
from feature_repo.stores.stored_table import JOIN_KEY, TIME


def join_stored(store: FeatureStore, plans: Sequence[OnlinePlan], ids: Any, instants: Any) -> Any:
    """Join, for n applicants at n instants, the newest row of each view that was known by then, however old.

    Parameters
    ----------
    store : FeatureStore
        An applied store.
    plans : sequence of OnlinePlan
        Their views are joined, each once.
    ids : pyarrow.Array of string
    instants : pyarrow.Array of timestamp
        UTC.

    Returns
    -------
    pyarrow.Table
        Of n rows: applicant and instant, then each feature of a view as ``view:feature`` and the row's
        time as ``view:``. It is what `stored_table.stored_of` reads.

    Raises
    ------
    InputError
        If the home's offline store is another one, or lacks a view or column.
    UnavailableError
        If a source has no file.
    """
    config = store.config
    if not isinstance(config.offline_store, CandorOfflineStoreConfig):
        raise InputError(
            "the offline store of feature_store.yaml is not feature_repo.stores.offline: it cannot be read"
        )
    features = {view.name: set[str]() for plan in plans for view in plan.views}
    for plan in plans:
        for view in plan.views:
            features[view.name] |= {slot.name for slot in view.slots}
    table = pa.table({JOIN_KEY: ids, TIME: instants.cast(INSTANT)})
    if not len(table):
        raise InputError("there is nobody to join features to")
    seen = pc.min_max(table[TIME]).as_py()
    with open_connection(config) as connection:
        joins = [_join(connection, store, name, sorted(names)) for name, names in features.items()]
        entity = EntityFrame(table, TIME, seen["min"], seen["max"])
        historical.check_keys(entity, joins)
        return historical.join_all(connection, entity, joins, prepared_of(config), spill_of(config))


def _join(connection: Any, store: FeatureStore, name: str, features: Sequence[str]) -> ViewJoin:
    source = store.get_feature_view(name).batch_source
    columns = {feature: f"{name}:{feature}" for feature in features} | {source.timestamp_field: f"{name}:"}
    join = ViewJoin(
        source=open_source(connection, source, repo_path_of(store.config)),
        keys={JOIN_KEY: JOIN_KEY},
        features=columns,
        event=source.timestamp_field,
        created=source.created_timestamp_column or "",
        ttl=timedelta(0),
    )
    for column in (JOIN_KEY, *columns):
        join.source.column(column)
    return join
