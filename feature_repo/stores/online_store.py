"""Feast's Redis online store, written newest-wins: named by its class path in feature_store.yaml.

The layout in Redis is Feast's own, and reads are Feast's own code, so that any Feast SDK with
``type: redis`` reads what this store wrote and the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from google.protobuf.timestamp_pb2 import Timestamp
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from feature_repo.errors import InputError
from feature_repo.stores.bulk import stored_name, view_fields
from feature_repo.stores.newest_wins import NewestWins
from feature_repo.stores.resp import Columns, Rows

_SKEW = timedelta(minutes=1)
_TIMEOUTS = {"socket_timeout": 30, "socket_connect_timeout": 5}

Entry = tuple[Any, dict[str, Any], datetime, datetime | None]


class CandorOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc, unused-ignore]
    """Options of Feast's Redis store; ``skip_dedup`` must stay off, since every write compares."""

    type: Literal["feature_repo.stores.online_store.CandorOnlineStore"] = (
        "feature_repo.stores.online_store.CandorOnlineStore"
    )


class CandorOnlineStore(RedisOnlineStore):  # type: ignore[misc, unused-ignore]
    """Feast's Redis store, in which a write never replaces newer values, whoever writes at once."""

    def online_write_batch(
        self, config: Any, table: Any, data: Sequence[Entry], progress: Callable[[int], Any] | None
    ) -> None:
        """Write rows that Feast has encoded, as push and `write_to_online_store` do.

        Of rows with one key the newest is written, of equal event times the last. The clock is this
        machine's, with a minute for clocks that differ: a value from the future would hide all that comes.

        Raises
        ------
        InputError
            If a row's event time is later than now; nothing is written then.
        UnavailableError
            If Redis cannot be reached, does not answer in time or refuses to write.
        """
        now = datetime.now(UTC)
        if data and (latest := max(_instant(event) for _, _, event, _ in data)) > now + _SKEW:
            raise InputError(f"view {table.name}: event time {latest} is later than now, {now:%Y-%m-%d %H:%M:%S}+00:00")
        for rows in _pack_entries(config, table, data):
            self.write_rows(config, [rows])
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: Any, table: Any, data: Sequence[Entry], progress: Callable[[int], Any] | None
    ) -> None:
        """Write as `online_write_batch` does, off the event loop."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def write_rows(self, config: Any, batches: Iterable[Rows], progress: Callable[[int], Any] | None = None) -> int:
        """Write encoded rows of one view, a key occurring once; return how many were not out of date.

        Raises
        ------
        InputError
            If the configuration asks for what this store does not do.
        UnavailableError
            If Redis cannot be reached, does not answer in time or refuses to write.
        """
        options = config.online_store
        if options.skip_dedup:
            raise InputError("online_store: skip_dedup would let old values replace newer ones; remove it")
        if options.redis_type == RedisType.redis_cluster:
            raise InputError("online_store: writing to redis_type redis_cluster is not supported yet")
        hosts = [part for part in options.connection_string.split(",") if "=" not in part]
        return NewestWins(self._get_client(options), ",".join(hosts)).write(batches, progress)

    def _get_client(self, online_store_config: Any) -> Any:
        if self._client is None:
            client = super()._get_client(_with_timeouts(online_store_config))
            client.set_retry(Retry(ExponentialBackoff(cap=1, base=0.1), 3))  # its own tries for ten seconds
        return self._client

    async def _get_client_async(self, online_store_config: Any) -> Any:
        return await super()._get_client_async(_with_timeouts(online_store_config))


def _with_timeouts(config: Any) -> Any:
    """Feast gives sockets no timeout, so that a server which stopped answering would hang it for ever."""
    text = config.connection_string
    missing = [f",{name}={seconds}" for name, seconds in _TIMEOUTS.items() if f"{name}=" not in text]
    return config.model_copy(update={"connection_string": text + "".join(missing)})


def _pack_entries(config: Any, view: Any, data: Sequence[Entry]) -> Iterator[Rows]:
    newest: dict[bytes, tuple[datetime, dict[str, Any]]] = {}
    for entity, values, event, _ in data:
        key = serialize_entity_key(entity, config.entity_key_serialization_version) + config.project.encode()
        instant = _instant(event)
        if key not in newest or newest[key][0] <= instant:
            newest[key] = (instant, values)
    alike: dict[tuple[str, ...], dict[bytes, tuple[datetime, dict[str, Any]]]] = {}
    for key, (instant, values) in newest.items():
        alike.setdefault(tuple(values), {})[key] = (instant, values)
    name = stored_name(config, view)
    for names, rows in alike.items():
        columns = {
            field: pa.array([values[feature].SerializeToString() for _, values in rows.values()], pa.binary())
            for feature, field in view_fields(name, names).items()
        }
        stamps = pa.array([_stamp(instant) for instant, _ in rows.values()], pa.binary())
        ttl = config.online_store.key_ttl_seconds or 0
        yield Rows(Columns(pa.array(rows, pa.binary()), stamps, f"_ts:{name}".encode(), columns, ttl))


def _instant(event: datetime) -> datetime:
    return event.replace(tzinfo=UTC) if event.tzinfo is None else event


def _stamp(instant: datetime) -> bytes:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return bytes(stamp.SerializeToString())
