"""From Feast's request for historical features to as-of joins, and to the result in the entity frame's order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID
from feast.stream_feature_view import StreamFeatureView

from feature_repo.errors import InputError
from feature_repo.stores.asof import ViewJoin, bounds
from feature_repo.stores.lookup import join_view, worth_testing
from feature_repo.stores.offline_entity import EntityFrame
from feature_repo.stores.offline_source import open_source
from feature_repo.stores.prepared import kept_index, passing_index


def plan(
    connection: duckdb.DuckDBPyConnection,
    views: Sequence[Any],
    refs: Sequence[str],
    repo_path: Path,
    full_feature_names: bool,
) -> list[ViewJoin]:
    """Return the joins that give the requested features, with the files that are there now.

    Raises
    ------
    InputError
        If a view's source or transformation is of a kind that this store does not serve, or a
        column is missing.
    UnavailableError
        If a source has no file.
    """
    joins = []
    for view in views:
        if view.batch_source is None:
            raise InputError(f"view {view.name} has no batch source to join")
        computed = getattr(view, "feature_transformation", None) and not isinstance(view, StreamFeatureView)
        if computed or getattr(view, "aggregations", None):
            raise InputError(f"view {view.name} is computed from its source; this store joins stored columns only")
        source = view.batch_source
        asked = [ref.partition(":")[2] for ref in refs if ref.partition(":")[0] == view.projection.name_to_use()]
        prefix = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
        renamed = view.projection.join_key_map
        keys = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
        join = ViewJoin(
            source=open_source(connection, source, repo_path),
            keys={key: renamed.get(key, key) for key in keys},
            features={feature: f"{prefix}{feature}" for feature in asked},
            event=source.timestamp_field,
            created=source.created_timestamp_column or "",
            ttl=view.ttl,
        )
        for name in (*join.keys, *join.features):
            join.source.column(name)
        for name in filter(None, (join.event, join.created)):
            join.source.time_column(name)
        joins.append(join)
    return joins


def check_names(entity: EntityFrame, joins: Sequence[ViewJoin], on_demand: Sequence[str]) -> None:
    """Refuse a result in which two columns would have one name.

    The frame's column could be what its owner put there, and the feature what was asked for: to
    choose one would be a guess.

    Raises
    ------
    InputError
        If a feature is named as a column of the entity frame or as another feature.
    """
    seen = {name.lower(): "a column of the entity frame" for name in entity.names}
    for name in [*(name for join in joins for name in join.features.values()), *on_demand]:
        if name.lower() in seen:
            raise InputError(
                f"feature {name!r} has the name of {seen[name.lower()]}: rename that, or ask for full_feature_names"
            )
        seen[name.lower()] = "another feature"


def check_keys(entity: EntityFrame, joins: Sequence[ViewJoin]) -> None:
    """Refuse join keys that the frame lacks, or holds as numbers where the source holds text.

    Raises
    ------
    InputError
        Naming the key and both types.
    """
    for join in joins:
        for key, column in join.keys.items():
            if column not in entity.names:
                raise InputError(f"the entity frame lacks join key {column!r} (it has: {', '.join(entity.names)})")
            given = entity.table.schema.field(column).type
            if pa.types.is_dictionary(given):
                given = given.value_type
            stored = join.source.types[join.source.column(key)]
            is_text = pa.types.is_string(given) or pa.types.is_large_string(given)
            if not pa.types.is_null(given) and is_text != (stored == "VARCHAR"):
                raise InputError(f"join key {column!r} is {given} in the entity frame, {stored} in {join.source.name}")


def join_all(
    connection: duckdb.DuckDBPyConnection,
    entity: EntityFrame,
    joins: Sequence[ViewJoin],
    prepared: Path | None,
    passing: Path,
) -> Any:
    """Return the entity frame with every feature known at each row's instant.

    Parameters
    ----------
    prepared : Path or None
        Where indexes are kept between calls; None to make them for this call only.
    passing : Path
        Where an index of this call only is.

    Returns
    -------
    pyarrow.Table
        The frame's rows and columns in their order, then the features view by view.
    """
    table = entity.table
    aliases = entity.register(connection, sorted({column for join in joins for column in join.keys.values()}))
    connection.execute("set preserve_insertion_order = false")
    for join in joins:
        columns = [aliases[column] for column in join.keys.values()]
        # A frame without any instant sees nothing; columns of the right type are all that is wanted.
        seen = (entity.first, entity.last) if entity.first and entity.last else None
        where = bounds(join, *seen) if seen else "false"
        with ExitStack() as stack:
            if prepared is None:
                index = stack.enter_context(passing_index(connection, join, columns, where, passing))
            else:
                index = kept_index(connection, join, prepared)
                if seen and not worth_testing(join, index, *seen):
                    where = "true"
            joined = join_view(connection, join, index, columns, where, len(table))
        join.source.check_unchanged()
        for name, values in joined.items():
            table = table.append_column(name, values)
    return table
