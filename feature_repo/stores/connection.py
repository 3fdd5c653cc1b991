"""A way to Redis for many readers at once: what is asked while an answer is under way goes together in the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from feature_repo.errors import UnavailableError
from feature_repo.stores.address import RedisAddress
from feature_repo.stores.breaker import Breaker

DEADLINE = 0.25
_CONNECTIONS = 8
_TOGETHER = 32
_LATE = 1.2
_PATIENCE = 4
_NO_ANSWER = (TimeoutError, exceptions.TimeoutError)

Question = tuple[bytes, Sequence[bytes]]
Row = list[bytes | None]


class RedisConnection:
    """Ask one Redis for fields of hashes, each answer within a deadline.

    Connections are opened when needed and replaced when they break. Once Redis has failed several times
    in a row, questions are refused at once, but one every half second; so this works again within a
    second of Redis. All questions come from one event loop.

    Parameters
    ----------
    timeout : float
        Seconds from asking to having the answer, connecting included; more than 0.25 is cut to it.
        Only a process too busy to look at the answer waits longer, four times at most.
    """

    def __init__(self, address: RedisAddress, timeout: float = DEADLINE) -> None:
        self.address = address
        self._timeout = min(timeout, DEADLINE)
        # redis-py types its commands for the synchronous and the asynchronous client at once: Any
        self._redis: Any = _client(address, self._timeout)
        self.breaker = Breaker()
        self._waiting: list[tuple[Question, asyncio.Future[Row]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def fetch(self, key: bytes, fields: Sequence[bytes]) -> Row:
        """Return the fields of one hash, None where there is none.

        Raises
        ------
        UnavailableError
            If Redis does not answer in time, or answers with an error.
        """
        self._refuse_if_open()
        answer: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._waiting.append(((key, fields), answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_waiting())
        return await answer

    async def fetch_many(self, questions: Sequence[Question]) -> list[Row | Exception]:
        """Return the answers to n questions in one round trip, an error in place of an answer.

        Raises
        ------
        UnavailableError
            If Redis does not answer in time.
        """
        self._refuse_if_open()
        return await self._ask(questions)

    async def ping(self) -> None:
        """Return if Redis answers; errors as for `fetch`. It is asked even if it has failed: this is a probe."""
        await self._within_deadline(self._redis.ping())

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def unavailable(self, error: Exception) -> UnavailableError:
        """Name the server and what is wrong with it."""
        return UnavailableError(f"online store: Redis at {self.address} {self._reason(error)}")

    def _refuse_if_open(self) -> None:
        if not self.breaker.allows():
            raise UnavailableError(f"online store: Redis at {self.address} has failed; it is asked again shortly")

    async def _ask(self, questions: Sequence[Question]) -> list[Row | Exception]:
        pipeline = self._redis.pipeline(transaction=False)
        for key, fields in questions:
            pipeline.hmget(key, fields)
        answers = await self._within_deadline(pipeline.execute(raise_on_error=False))
        return [self.unavailable(item) if isinstance(item, Exception) else item for item in answers]

    async def _send_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            try:
                answers = await self._ask([question for question, _ in batch])
            except Exception as error:
                batch, self._waiting = batch + self._waiting, []  # who waited behind has waited as long
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def _within_deadline(self, command: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(command)
        try:
            for _ in range(_PATIENCE):
                begun = time.monotonic()
                await asyncio.wait({task}, timeout=self._timeout)
                # An alarm that comes late says that this process was busy, and nothing of Redis.
                if task.done() or time.monotonic() - begun < self._timeout * _LATE:
                    break
            if not task.done():
                raise TimeoutError
            answer = task.result()
        except (exceptions.RedisError, OSError) as error:
            self.breaker.failed()
            raise self.unavailable(error) from None
        else:
            self.breaker.succeeded()
            return answer
        finally:
            task.cancel()

    def _reason(self, error: Exception) -> str:
        # Redis errors may quote what was sent to them, so that none of their text is repeated.
        if isinstance(error, _NO_ANSWER):
            return f"gave no answer in {self._timeout * 1000:.0f} ms"
        if isinstance(error, exceptions.AuthenticationError):
            return "refuses the credentials"
        if isinstance(error, exceptions.BusyLoadingError):
            return "is still loading its data"
        if isinstance(error, exceptions.ConnectionError | OSError):
            return "cannot be reached"
        return f"answered with an error ({type(error).__name__})"


def _client(address: RedisAddress, timeout: float) -> Redis:
    rest = {name: value for name, value in address.options.items() if name != "ssl"}
    pool = BlockingConnectionPool(
        max_connections=_CONNECTIONS,
        timeout=timeout,
        connection_class=SSLConnection if address.options.get("ssl") else Connection,
        host=address.host,
        port=address.port,
        socket_timeout=None,  # one deadline is over all of it
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 1),  # once at once: a pooled connection may have died since
        protocol=2,
        **rest,
    )
    return Redis.from_pool(pool)
