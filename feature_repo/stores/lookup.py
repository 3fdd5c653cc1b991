"""Look entity rows up in an index, and gather the features of the rows found, in the entity frame's order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.errors import InputError
from feature_repo.stores.asof import ViewJoin
from feature_repo.stores.offline_source import first_line, quoted
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
    low, high = start.copy(), stop.copy()
    for _ in range(int((stop - start).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        # An empty range may lie behind the end; it stays as it is, whatever it is compared with.
        earlier = (known[np.minimum(middle, len(known) - 1)] <= at) & (low < high)
        low = np.where(earlier, middle + 1, low)
        high = np.where(earlier, high, middle)
    return low - 1


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
    where: str,
    count: int,
) -> dict[str, Any]:
    """Join one view to the temporary table ``entity`` (row, t, keys).

    Parameters
    ----------
    entity_keys : sequence of str
        Columns of ``entity``, in the order of the view's keys.
    where : str
        Condition from `asof.bounds`.
    count : int
        Number of rows of ``entity``.

    Returns
    -------
    dict of str to pyarrow.Array
        By column of the result, `count` values in the order of ``row``, null where nothing was known.

    Raises
    ------
    InputError
        If a join key has another type in the entity frame than in the source.
    """
    match = " and ".join(f"entity.{column} = keys.k{i}" for i, column in enumerate(entity_keys)) or "true"
    try:
        asked: Any = connection.execute(
            f"select row, t, start, stop from entity join {index.keys} keys on {match} where t is not null"
        ).fetchnumpy()
    except duckdb.ConversionException as error:
        raise InputError(f"source {view.source.name}: join keys cannot be compared: {first_line(error)}") from None
    place = last_known(index.known, asked["start"], asked["stop"], asked["t"])
    found = place >= asked["start"]
    if view.ttl_us:
        # The age is tested on what was found: a search that skipped old rows would find older ones.
        found[found] = index.event[place[found]] >= asked["t"][found] - view.ttl_us
    connection.register("found", pa.table({"row": asked["row"][found], "rid": index.rid[place[found]]}))
    aliases = {f"f{i}": quoted(view.source.column(feature)) for i, feature in enumerate(view.features)}
    gathered = connection.sql(f"""
        select found.row, {", ".join(aliases)}
        from ({view.source.scan(aliases)} where {where}) s join found on s.rid = found.rid""").to_arrow_table()
    connection.unregister("found")
    return dict(zip(view.features.values(), _in_order(gathered, list(aliases), count), strict=True))


def _in_order(gathered: Any, columns: Sequence[str], count: int) -> list[Any]:
    """Return columns of a table in the order of its ``row``, null where there is none."""
    place: npt.NDArray[np.int64] = np.full(count, -1, dtype=np.int64)
    place[gathered["row"].to_numpy()] = np.arange(len(gathered))
    order = pa.array(place, mask=place < 0)
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        return list(pool.map(lambda name: gathered[name].combine_chunks().take(order), columns))
