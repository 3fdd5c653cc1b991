"""Push events: rows that become part of a source and are served at once.

The source's new file comes first, then Redis. Between the two a crash leaves an event that history
knows and Redis does not serve yet: pushing it again mends that, and so does the next materialize. The other
way round, decisions would be made on a value that no training set could ever see.

Pushing the same events again is harmless: what the source holds is not appended twice, and Redis keeps
what it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from feast import FeatureStore

from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores.bulk import ViewEncoder, newest_of_each, record_batches
from feature_repo.stores.event_schema import checked_events, keys_of, times_of, view_of
from feature_repo.stores.offline_source import open_source, quoted
from feature_repo.stores.online_store import CandorOnlineStore


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Parameters
    ----------
    events : int
        Events given, all of which the source now holds.
    served : int
        Rows written to Redis, in all views of the source; the others are older than what is there.
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
    provider = store._get_provider()
    online = provider.online_store
    if not isinstance(online, CandorOnlineStore):
        raise InputError("push needs online_store: type: feature_repo.stores.online_store.CandorOnlineStore")
    chosen = view_of(store, view)
    source = chosen.batch_source
    siblings = [other for other in store.list_feature_views() if other.online and other.batch_source == source]
    encoders = [ViewEncoder(store.config, other) for other in siblings]
    events = checked_events(store, view, rows, known_at)
    keys, times = keys_of(chosen), times_of(source)
    latest = newest_of_each(events, keys, times)
    encoded = [[encoder.encode(batch) for batch in record_batches(latest.combine_chunks())] for encoder in encoders]
    unknown = _unknown(store, source, events, [*keys, *times]) if source.created_timestamp_column else events
    if len(unknown):
        provider.offline_write_batch(store.config, chosen, unknown, None)
    return Pushed(len(events), sum(online.write_rows(store.config, batches) for batches in encoded))


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
