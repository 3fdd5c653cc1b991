"""Read applicants from Redis without Feast and without an event loop, for scripts and batch jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from redis import Connection, ConnectionPool, SSLConnection, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.errors import UnavailableError
from feature_repo.stores.address import parse_address
from feature_repo.stores.connection import Row
from feature_repo.stores.online import PlanDecoder
from feature_repo.stores.online_columns import ViewColumns
from feature_repo.stores.plan import OnlinePlan
from feature_repo.stores.protocol import bulk
from feature_repo.stores.stored import StoredFeatures

_WHOLE = b"*2\r\n" + bulk(b"HGETALL")
_MOST = 4  # field names and values in an answer, for each field that was wanted


class SyncOnlineReader:
    """Read applicants by a plan; threads may share one reader.

    Parameters
    ----------
    plan : OnlinePlan
        Where the values are.
    connection_string : str
        Address in Feast's form.
    timeout : float
        Seconds for connecting and for each answer.

    Raises
    ------
    InputError
        If the connection string is not one.
    """

    def __init__(self, plan: OnlinePlan, connection_string: str, timeout: float = 2.0) -> None:
        address = parse_address(connection_string)
        options = {name: value for name, value in address.options.items() if name != "ssl"}
        self._address = str(address)
        self._decoder = PlanDecoder(plan, self._address)
        fields = self._decoder.fields
        self._head = b"*%d\r\n" % (2 + len(fields)) + bulk(b"HMGET")
        self._tail = b"".join(map(bulk, fields))
        self._asks_whole = True
        self._pool = ConnectionPool(
            connection_class=SSLConnection if address.options.get("ssl") else Connection,
            host=address.host,
            port=address.port,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            **options,
        )

    def read(self, applicant_id: str, now: datetime) -> StoredFeatures:
        """Read one applicant; one that the store does not know is all MISSING.

        Parameters
        ----------
        now : datetime
            Instant from which age is measured, with a zone.

        Raises
        ------
        UnavailableError
            If Redis does not answer in time, or holds bytes that are not Feast's.
        """
        return self.read_many([applicant_id], now)[0]

    def read_many(self, applicant_ids: Sequence[str], now: datetime) -> list[StoredFeatures]:
        """Read n applicants with one round trip, in the order given; errors as for `read`."""
        rows = self._rows(applicant_ids)
        if len(rows) == 1:
            return [self._decoder.decode(applicant_ids[0], rows[0], now)]
        return self._decoder.decode_many(applicant_ids, rows, now)

    def read_columns(self, applicant_ids: Sequence[str], now: datetime) -> dict[str, ViewColumns]:
        """Read n applicants with one round trip, as columns by view; errors as for `read`."""
        return self._decoder.decode_columns(self._rows(applicant_ids), now)

    def close(self) -> None:
        """Close the connections."""
        self._pool.disconnect()

    def _rows(self, applicant_ids: Sequence[str]) -> list[Row]:
        """Ask for the fields, or for whole hashes, which costs Redis a third, unless most of them is of no use."""
        if not applicant_ids or not self._tail:
            return [[] for _ in applicant_ids]
        keys = [self._decoder.question(name)[0] for name in applicant_ids]
        if len(keys) == 1 or not self._asks_whole:
            return self._answers(b"".join([self._head + bulk(key) + self._tail for key in keys]), len(keys))
        hashes = self._answers(b"".join([_WHOLE + bulk(key) for key in keys]), len(keys))
        self._asks_whole = sum(map(len, hashes)) <= _MOST * len(keys) * len(self._decoder.fields)
        return self._decoder.rows_of(hashes)

    def _answers(self, commands: bytes, count: int) -> list[Any]:
        try:
            return self._ask(commands, count)
        except exceptions.RedisError as error:
            # Redis errors may quote what was sent to them, so that none of their text is repeated.
            name = type(error).__name__
            raise UnavailableError(f"online store: Redis at {self._address} gives no answer ({name})") from None

    def _ask(self, commands: bytes, count: int) -> list[Any]:
        connection: Any = self._pool.get_connection()  # redis-py leaves its methods untyped
        try:
            connection.send_packed_command([commands], check_health=False)
            return [connection.read_response(disable_decoding=True) for _ in range(count)]
        except BaseException:
            connection.disconnect()  # other answers may be under way
            raise
        finally:
            self._pool.release(connection)
