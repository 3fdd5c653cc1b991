"""Push events: rows that become part of a source and are served at once.

The source's new file comes first, then Redis. Between the two a crash leaves an event that history
knows and Redis does not serve yet: pushing it again mends that, and so does the next materialize. The other
way round, decisions would be made on a value that no training set could ever see.

Redis gets what the source then says is newest of the pushed applicants, not the events themselves: Redis
cannot tell a correction from what it corrects, since both have one event time. So pushing the same
events again is harmless, also after they were corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores.bulk import ViewEncoder, record_batches
from feature_repo.stores.event_schema import checked_events, keys_of, times_of, view_of
from feature_repo.stores.offline_source import open_source, quoted
from feature_repo.stores.online_store import CandorOnlineStore
from feature_repo.stores.pull import pull_latest

KEPT = "the events are in the source: push them again"
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Parameters
    ----------
    events : int
        Events given, all of which the source now holds.
    served : int
        Rows in Redis, in all views of the source, that come of the events; the others are not the newest.
    """

    events: int
    served: int


def push(store: FeatureStore, view: str, rows: Any, known_at: datetime) -> Pushed:
    """Append events to a view's source and update Redis, newest event time first.

    Parameters
    ----------
    store : feast.FeatureStore
        An applied store with Candor's online store.
    view : str
        Name of a feature view, over its source or a PushSource of it. Other views of the same source
        are updated too.
    rows : pyarrow.Table
        As for `checked_events`.
    known_at : datetime
        Now, with a zone; no event may be later, since it would hide all that comes before it.

    Raises
    ------
    InputError
        If the view is not there, or the rows are not as they should be, or the source holds
        other values of the same key and times; the message says which. Nothing is written then.
    UnavailableError
        If Redis does not take the rows, which are in the source by then: push them again.
    """
    events = append_events(store, view, rows, known_at)
    try:
        return Pushed(len(events), _serve(store, view_of(store, view).batch_source, events, known_at))
    except UnavailableError as error:
        raise UnavailableError(f"{error}; {KEPT}") from None


def append_events(store: FeatureStore, view: str, rows: Any, known_at: datetime) -> Any:
    """Do the first half of `push`: append events to a view's source; return all of them, as checked.

    Raises
    ------
    InputError
        As `push` does. Nothing is written then.
    """
    provider = store._get_provider()
    if not isinstance(provider.online_store, CandorOnlineStore):
        raise InputError("push needs online_store: type: feature_repo.stores.online_store.CandorOnlineStore")
    chosen = view_of(store, view)
    source = chosen.batch_source
    _encoders(store, source)  # a view that cannot be served is refused before anything is written
    events = checked_events(store, view, rows, known_at)
    identity = [*keys_of(chosen), *times_of(source)]
    unknown = _unknown(store, source, events, identity) if source.created_timestamp_column else events
    if len(unknown):
        provider.offline_write_batch(store.config, chosen, unknown, None)
    return events


def _encoders(store: FeatureStore, source: Any) -> list[tuple[tuple[str, ...], ViewEncoder]]:
    """Return the keys and an encoder of each view of a source that is served."""
    views = [view for view in store.list_feature_views() if view.online and view.batch_source == source]
    return [(tuple(keys_of(view)), ViewEncoder(store.config, view)) for view in views]


def _serve(store: FeatureStore, source: Any, events: Any, known_at: datetime) -> int:
    """Write what the source says is newest of the events' keys; return how many of the events are served by that."""
    online = store._get_provider().online_store
    served = 0
    latest: dict[tuple[str, ...], tuple[Any, Any]] = {}
    for keys, encoder in _encoders(store, source):
        if keys not in latest:
            latest[keys] = _newest(store, source, list(keys), events, known_at)
        given, others = (map(encoder.encode, record_batches(rows)) for rows in latest[keys])
        served += online.write_rows(store.config, given)
        online.write_rows(store.config, others)
    return served


def _newest(store: FeatureStore, source: Any, keys: list[str], events: Any, known_at: datetime) -> tuple[Any, Any]:
    """Return the row to serve at `known_at` of each key among the events: those that are events, and the others."""
    event, created = source.timestamp_field, source.created_timestamp_column or ""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        opened = open_source(connection, source, Path(store.config.repo_path or ".").absolute())
        among = events.select(keys)
        latest = pull_latest(connection, opened, keys, events.schema.names, event, created, _EVER, known_at, among)
        opened.check_unchanged()
        connection.register("given", events)
        connection.register("latest", latest.append_column("#", pa.array(range(len(latest)))))
        identity = ", ".join(quoted(name) for name in [*keys, *times_of(source)])
        places = connection.execute(f'select "#" from latest semi join given using ({identity})').to_arrow_table()
    is_event = pc.is_in(pa.array(range(len(latest)), pa.int64()), places.column(0).combine_chunks())
    return latest.filter(is_event), latest.filter(pc.invert(is_event))


def _unknown(store: FeatureStore, source: Any, events: Any, identity: list[str]) -> Any:
    """Return the events that the source does not hold yet; refuse one that it holds with other values."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        try:
            opened = open_source(connection, source, Path(store.config.repo_path or ".").absolute())
        except UnavailableError:
            return events  # the first of this source
        connection.register("given", events.append_column("#", pa.array(range(len(events)))))
        columns = {
            name: (f"given.{quoted(name)}", f"held.{quoted(opened.column(name))}") for name in events.schema.names
        }
        same = " and ".join(f"{given} = {held}" for name, (given, held) in columns.items() if name in identity)
        differs = " or ".join(f"{given} is distinct from {held}" for given, held in columns.values())
        rows = connection.execute(
            f'select "#", bool_or({differs}) from given join {opened.read()} as held on {same} group by "#"'
        ).fetchall()
    if other := sorted(place for place, differs_from_held in rows if differs_from_held):
        row = events.slice(other[0], 1).to_pylist()[0]
        raise InputError(
            f"source {source.name} holds other values for {', '.join(f'{name} {row[name]}' for name in identity)}: "
            f"a correction has a later {source.timestamp_field} or {source.created_timestamp_column}"
        )
    held = {place for place, _ in rows}
    return events.filter(pa.array([place not in held for place in range(len(events))]))
