"""A way to Redis for many readers at once: what is asked while an answer is under way goes together in the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from feature_repo.errors import UnavailableError
from feature_repo.stores.address import RedisAddress
from feature_repo.stores.breaker import Breaker
from feature_repo.stores.protocol import bulk

DEADLINE = 0.25
_IDLE = 8
_TOGETHER = 8
_LATE = 1.2
_PATIENCE = 4
_PING = b"*1\r\n$4\r\nPING\r\n"
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
        self._idle: list[Any] = []
        self._tail: tuple[Sequence[bytes], bytes, bytes] | None = None
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
        (answer,) = await self._within_deadline(self._talk(_PING, 1))
        if isinstance(answer, Exception):
            raise self.unavailable(answer)

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            await self._idle.pop().disconnect()

    def unavailable(self, error: Exception) -> UnavailableError:
        """Name the server and what is wrong with it."""
        return UnavailableError(f"online store: Redis at {self.address} {self._reason(error)}")

    def _refuse_if_open(self) -> None:
        if not self.breaker.allows():
            raise UnavailableError(f"online store: Redis at {self.address} has failed; it is asked again shortly")

    async def _ask(self, questions: Sequence[Question]) -> list[Row | Exception]:
        if not all(fields for _, fields in questions):
            return [[] for _ in questions]
        asked = b"".join([self._command(key, fields) for key, fields in questions])
        answers = await self._within_deadline(self._talk(asked, len(questions)))
        return [self.unavailable(item) if isinstance(item, Exception) else item for item in answers]

    async def _talk(self, commands: bytes, count: int) -> list[Any]:
        """Send commands and read as many answers, over a connection that is idle or a new one."""
        connection = self._idle.pop() if self._idle else None
        if connection:
            try:
                return await self._exchange(connection, commands, count)
            except (exceptions.ConnectionError, OSError):
                pass  # once more at once: an idle connection may have died since
        return await self._exchange(_connection(self.address), commands, count)

    async def _exchange(self, connection: Any, commands: bytes, count: int) -> list[Any]:
        answers: list[Any] = []
        try:
            await connection.send_packed_command(commands, check_health=False)
            while len(answers) < count:
                try:
                    answers.append(await connection.read_response(disable_decoding=True))
                except exceptions.ResponseError as error:
                    answers.append(error)
        except BaseException:
            await connection.disconnect(nowait=True)  # other answers may be under way
            raise
        if len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:
            await connection.disconnect()
        return answers

    def _command(self, key: bytes, fields: Sequence[bytes]) -> bytes:
        if self._tail is None or self._tail[0] is not fields:
            self._tail = fields, b"*%d\r\n" % (2 + len(fields)) + bulk(b"HMGET"), b"".join(map(bulk, fields))
        return self._tail[1] + bulk(key) + self._tail[2]

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


def _connection(address: RedisAddress) -> Any:
    # A connection rather than a client: a client's work on each command takes longer than Redis does.
    rest = {name: value for name, value in address.options.items() if name != "ssl"}
    kind = SSLConnection if address.options.get("ssl") else Connection
    return kind(
        host=address.host,
        port=address.port,
        socket_timeout=None,  # one deadline is over all of it
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **rest,
    )
