"""From Feast's request for historical features to as-of joins, and to the result in the entity frame's order."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID
from feast.stream_feature_view import StreamFeatureView
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

from feature_repo.errors import InputError
from feature_repo.stores.asof import ViewJoin, bounds
from feature_repo.stores.lookup import join_view, worth_testing
from feature_repo.stores.offline_entity import EntityFrame, is_text, plain
from feature_repo.stores.offline_source import ParquetSource, first_line, open_source, reading
from feature_repo.stores.offline_stop import Stop
from feature_repo.stores.prepared import Index, kept_index, passing_index

_log = logging.getLogger(__name__)
_AT_ONCE = 2  # views: one is bisected on one core while another's files are read on the rest; more cost memory
_EXACT = 2.0**53  # every integer up to here is a float of its own
_STORED = {
    "numbers": re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN"),
    "text": re.compile(r"VARCHAR|ENUM\(.*\)"),
    "instants": re.compile(r"TIMESTAMP.*|DATE"),
}
_DECLARED = {
    "numbers": (Int32, Int64, Float32, Float64, Bool),
    "text": (String,),
    "instants": (UnixTimestamp,),
}


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
        column is missing or of another kind than its view declares.
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
        for name in join.keys:
            join.source.column(name)
        declared = {field.name: field.dtype for field in view.features}
        for name in join.features:
            _check_type(join.source, name, declared.get(name))
        for name in filter(None, (join.event, join.created)):
            join.source.time_column(name)
        joins.append(join)
    return joins


def _check_type(source: ParquetSource, name: str, declared: Any) -> None:
    """Refuse text where a number is declared, and the like: one such file changes the type for all files."""
    stored = source.types[source.column(name)]
    held = next((family for family, kinds in _STORED.items() if kinds.fullmatch(stored)), "")
    wanted = next((family for family, kinds in _DECLARED.items() if declared in kinds), "")
    # A column without any value is stored as INTEGER; instants may be stored as seconds since 1970.
    if held and wanted and held != wanted and stored != "INTEGER" and (wanted, held) != ("instants", "numbers"):
        raise InputError(f"source {source.name}: {name!r} holds {held} ({stored}), its view declares {declared}")


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
    """Refuse join keys that the frame lacks, or holds in a type that does not compare exactly with the source's.

    Raises
    ------
    InputError
        Naming the key and both types.
    """
    for join in joins:
        for key, column in join.keys.items():
            if column not in entity.names:
                raise InputError(f"the entity frame lacks join key {column!r} (it has: {', '.join(entity.names)})")
            values = plain(entity.table[column])
            if not len(values) or pa.types.is_null(values.type):
                continue
            stored = join.source.types[join.source.column(key)]
            if is_text(values.type) != (stored == "VARCHAR"):
                raise InputError(
                    f"join key {column!r} is {values.type} in the entity frame, {stored} in {join.source.name}"
                )
            if pa.types.is_floating(values.type) and "INT" in stored:
                _check_whole(values, column)


def _check_whole(values: Any, column: str) -> None:
    numbers = values.drop_null().to_numpy()
    if not np.all(np.abs(numbers) <= _EXACT):  # nor is NaN a key
        raise InputError(
            f"join key {column!r} is {values.type} in the entity frame with values beyond 2^53, which are not exact: "
            "give it a nullable integer type (Int64)"
        )
    if np.any(numbers != np.trunc(numbers)):
        raise InputError(f"join key {column!r} has fractions in the entity frame; the source has integers")


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

    Raises
    ------
    UnavailableError
        If a source cannot be read; the other views are not waited for. An index that cannot be kept is only logged.
    """
    table, kept = entity.table, prepared
    aliases = entity.register(connection, sorted({column for join in joins for column in join.keys.values()}))
    connection.execute("set preserve_insertion_order = false")
    # A frame without any instant sees nothing; columns of the right type are all that is wanted.
    seen = (entity.first, entity.last) if entity.first and entity.last else None
    stop = Stop()
    making = Lock()  # to sort two sources at once would take twice the memory

    def joined(own: duckdb.DuckDBPyConnection, join: ViewJoin) -> dict[str, Any]:
        nonlocal kept
        own.execute("set timezone = 'UTC'")
        columns = [aliases[column] for column in join.keys.values()]
        where = bounds(join, *seen) if seen else "false"

        def tested(index: Index) -> str:
            return where if not seen or worth_testing(join, index, *seen) else "true"

        if kept is not None:
            try:
                return _join_kept(own, join, kept, making, columns, tested, len(table), stop)
            except OSError as error:
                with making:
                    if kept is not None:
                        _log.warning("no index is kept in %s: %s", kept, first_line(error))
                    kept = None
        with ExitStack() as made:
            with making:
                stop.check()
                index = made.enter_context(passing_index(own, join, columns, where, passing, stop))
            return join_view(own, join, index, columns, lambda _: where, len(table), stop)

    def checked(own: duckdb.DuckDBPyConnection, join: ViewJoin) -> dict[str, Any]:
        stop.check()
        with reading(join.source.name):
            columns = joined(own, join)
        join.source.check_unchanged()
        return columns

    (threads,) = connection.execute("select current_setting('threads')").fetchone() or (1,)
    with ExitStack() as opened, ThreadPoolExecutor(min(_AT_ONCE, threads)) as pool:
        cursors = [opened.enter_context(connection.cursor()) for _ in joins]
        work: list[Future[dict[str, Any]]] = []
        try:
            work += [pool.submit(checked, own, join) for own, join in zip(cursors, joins, strict=True)]
            done, _ = wait(work, return_when=FIRST_EXCEPTION)
            results = [one.result() for one in work if one in done]
        except BaseException:
            stop.end(work, cursors)  # nobody waits for the other views
            raise
    for name, values in ((name, values) for columns in results for name, values in columns.items()):
        table = table.append_column(name, values)
    return table


def _join_kept(
    connection: duckdb.DuckDBPyConnection,
    join: ViewJoin,
    directory: Path,
    making: Lock,
    columns: Sequence[str],
    where: Callable[[Index], str],
    count: int,
    stop: Stop,
) -> dict[str, Any]:
    """Join by an index that is kept; once more if another process has deleted it meanwhile.

    Raises
    ------
    OSError
        If none can be kept.
    """
    for last in (False, True):
        with making:
            stop.check()
            try:
                index = kept_index(connection, join, directory, stop)
            except FileNotFoundError:
                if last:
                    raise
                continue
        try:
            return join_view(connection, join, index, columns, where, count, stop)
        except duckdb.IOException as error:  # features that cannot be read are an UnavailableError
            if last:
                raise OSError(first_line(error)) from None
    raise AssertionError("the second attempt returns or raises")
