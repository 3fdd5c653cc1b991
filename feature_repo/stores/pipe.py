"""One connection to Redis on an event loop: questions go out as they are asked, answers come in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, ResponseError

from feature_repo.stores.address import RedisAddress

_AT_A_TIME = 8


class Question:
    """Commands that only read, and what they will be answered.

    Parameters
    ----------
    count : int
        How many commands there are.
    answer : asyncio.Future
        Becomes a list of what each command is answered.
    asked_at : float
        Seconds on the clock of the event loop.
    """

    __slots__ = ("answer", "answers", "asked_again", "asked_at", "commands", "count")

    def __init__(self, commands: bytes, count: int, answer: asyncio.Future[list[Any]], asked_at: float) -> None:
        self.commands = commands
        self.count = count
        self.answer = answer
        self.answers: list[Any] = []
        self.asked_at = asked_at
        self.asked_again = False


class Pipe(asyncio.Protocol):
    """Answer questions over one connection.

    Parameters
    ----------
    connection : redis.asyncio.Connection
        Connected, with nothing under way.
    lost : callable
        Told once, when the connection has broken, with the questions that have no answer.
    """

    def __init__(self, connection: Any, lost: Callable[[Pipe, list[Question]], None]) -> None:
        self.waiting: deque[Question] = deque()
        self._answered: deque[Question] = deque()
        # redis-py has greeted; its own reading wakes the event loop five times for an answer, so that it ends here.
        self._connection = connection
        self._transport: asyncio.Transport = connection._writer.transport
        self._transport.set_protocol(self)
        self._lost = lost
        self._unsent: list[bytes] = []
        self._reader = hiredis.Reader(InvalidResponse, ResponseError)

    def ask(self, question: Question) -> None:
        """Send a question; its `answer` becomes what each command is answered, an error in place of an answer."""
        question.answers.clear()
        self.waiting.append(question)
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(question.commands)

    def data_received(self, data: bytes) -> None:
        """Take what came; what nobody asked for would put all later answers out of step."""
        settles = bool(self._answered)
        self._reader.feed(data)
        try:
            while self.waiting and self._take(self.waiting[0]):
                self._answered.append(self.waiting.popleft())
        except InvalidResponse:
            self.close()
        if not self.waiting and self._reader.has_data():
            self.close()
        if not settles:
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand back what was not answered."""
        self._unsent.clear()
        self._connection._reader = self._connection._writer = None
        waiting, self.waiting = list(self.waiting), deque()
        self._lost(self, waiting)

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _flush(self) -> None:
        """Send what was asked in this turn of the event loop, all at once."""
        unsent, self._unsent = self._unsent, []
        if unsent and not self._transport.is_closing():
            self._transport.write(b"".join(unsent))

    def _take(self, question: Question) -> bool:
        """Take what has come for a question, and return whether that is all."""
        while len(question.answers) < question.count:
            answer = self._reader.gets()
            if answer is False:  # not there yet
                return False
            question.answers.append(answer)
        return True

    def _settle(self) -> None:
        """Settle a few questions, and the next ones once something was made of these.

        Who decides on many applicants in one turn of the event loop has nothing to do while they are being logged.
        """
        for _ in range(min(_AT_A_TIME, len(self._answered))):
            question = self._answered.popleft()
            if not question.answer.done():
                question.answer.set_result(question.answers)
        if self._answered:
            asyncio.get_running_loop().call_soon(self._settle)


async def connect(address: RedisAddress, lost: Callable[[Pipe, list[Question]], None]) -> Pipe:
    """Return a connection, authenticated and on its database.

    Raises
    ------
    redis.exceptions.RedisError, OSError
        If there is none to be had.
    """
    rest = {name: value for name, value in address.options.items() if name != "ssl"}
    kind = SSLConnection if address.options.get("ssl") else Connection
    connection: Any = kind(
        host=address.host,
        port=address.port,
        socket_timeout=None,  # one deadline is over all of it
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **rest,
    )
    try:
        await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return Pipe(connection, lost)
