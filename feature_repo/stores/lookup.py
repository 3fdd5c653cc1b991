"""Look entity rows up in an index: which row of the source each sees, and its features, in the frame's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np

from feature_repo.errors import InputError
from feature_repo.stores.asof import ViewJoin
from feature_repo.stores.gather import BLOCK, gather
from feature_repo.stores.offline_source import first_line
from feature_repo.stores.offline_stop import Stop
from feature_repo.stores.prepared import Index, Integers

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


def last_known(known: Integers, start: Integers, stop: Integers, at: Integers) -> Integers:
    """Return where in each range the last value not after `at` is: bisection of all ranges at once.

    Parameters
    ----------
    known : array of int64
        Rises within each range.
    start, stop, at : arrays of int64, shape (n,)
        Ranges of `known`, `stop` excluded, and what to look for in each.

    Returns
    -------
    array of int64, shape (n,)
        Places in `known`; one less than `start` where the whole range is later.

    Examples
    --------
    >>> known = np.array([10, 20, 20, 30, 5])
    >>> last_known(known, np.array([0, 0, 4]), np.array([4, 4, 5]), np.array([20, 9, 99]))
    array([ 2, -1,  4])
    """
    known, place = np.asarray(known), start - 1  # a memory map is slower to index than what it maps
    for bit in reversed(range(int((stop - start).max(initial=0)).bit_length())):
        probe = place + (1 << bit)
        # What lies behind the end of the range does not count; behind the end of all, anything may be compared.
        earlier = known.take(probe, mode="clip") <= at
        earlier &= probe < stop
        place += earlier.astype(np.int64) << bit
    return place


def worth_testing(view: ViewJoin, index: Index, first: datetime, last: datetime) -> bool:
    """Return whether `asof.bounds` would leave out a good part of the source: else testing costs more than it saves."""
    inside = index.event <= (last - _EPOCH) // _MICRO
    if view.ttl_us:
        inside &= index.event >= (first - _EPOCH) // _MICRO - view.ttl_us
    return bool(np.count_nonzero(inside) < 0.8 * len(inside))


def join_view(
    connection: duckdb.DuckDBPyConnection,
    view: ViewJoin,
    index: Index,
    entity_keys: Sequence[str],
    where: Callable[[Index], str],
    count: int,
    stop: Stop,
) -> dict[str, Any]:
    """Join one view to the table ``entity`` (row, t, keys).

    Parameters
    ----------
    entity_keys : sequence of str
        Columns of ``entity``, in the order of the view's keys.
    where : callable
        Returns a condition that keeps all rows of the source that can be seen; called if one is of use.
    count : int
        Number of rows of ``entity``.

    Returns
    -------
    dict of str to pyarrow.Array or ChunkedArray
        By column of the result, `count` values in the order of ``row``, null where nothing was known.

    Raises
    ------
    InputError
        If a join key has another type in the entity frame than in the source.
    Stopped
        If nobody waits any more.
    """
    columns = [view.source.column(feature) for feature in view.features]
    rows, rids = _known_rows(connection, view, index, entity_keys, stop)
    values = gather(connection, view.source, columns, rows, rids, lambda: where(index), count, stop)
    return dict(zip(view.features.values(), values, strict=True))


def _known_rows(
    connection: duckdb.DuckDBPyConnection, view: ViewJoin, index: Index, entity_keys: Sequence[str], stop: Stop
) -> tuple[Integers, Integers]:
    """Return the rows of ``entity`` to which something is known, and the ids of what is known, which rise."""
    match = " and ".join(f"entity.{column} = keys.k{i}" for i, column in enumerate(entity_keys)) or "true"
    try:
        asked = connection.sql(
            f"select row, t, start, stop from entity join {index.keys} keys on {match} where t is not null"
        ).to_arrow_table()
    except duckdb.ConversionException as error:
        raise InputError(f"source {view.source.name}: join keys cannot be compared: {first_line(error)}") from None
    blocks = [(np.empty(0, np.int64),) * 2]
    for block in asked.to_batches(BLOCK):
        stop.check()
        row, at, begin, end = (column.to_numpy() for column in block.columns)
        place = last_known(index.known, begin, end, at)
        found = place >= begin
        if view.ttl_us:
            # The age is tested on what was found: a search that skipped old rows would find older ones.
            found[found] = index.event[place[found]] >= at[found] - view.ttl_us
        blocks.append((row[found], index.rid[place[found]]))
    rows, rids = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    order = np.argsort(rids)
    return rows[order], rids[order]
