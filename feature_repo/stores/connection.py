"""A way to Redis for many readers at once, each answer within a deadline."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis import exceptions

from feature_repo.errors import UnavailableError
from feature_repo.stores.address import RedisAddress
from feature_repo.stores.breaker import Breaker
from feature_repo.stores.pipe import Pipe, Question, connect
from feature_repo.stores.protocol import bulk

DEADLINE = 0.2
_LATE = 1.2
_PATIENCE = 4
_PING = b"*1\r\n$4\r\nPING\r\n"
_REFUSALS = {"NOAUTH": "refuses the credentials", "LOADING": "is still loading its data"}

Ask = tuple[bytes, Sequence[bytes]]
Row = list[bytes | None]


class RedisConnection:
    """Ask one Redis for fields of hashes.

    There is one connection, opened when needed and replaced when it breaks; what is asked while answers are
    under way goes behind. Once Redis has failed several times in a row, questions are refused at once, but one
    every half second; so this works again within a second of Redis. All questions come from one event loop at a time.

    Parameters
    ----------
    timeout : float
        Seconds from asking to having the answer, connecting included; more than 0.2 is cut to it.
        Only a process too busy to look at the answer waits longer, four times at most.
    """

    def __init__(self, address: RedisAddress, timeout: float = DEADLINE) -> None:
        self.address = address
        self.breaker = Breaker()
        self._timeout = min(timeout, DEADLINE)
        self._tail: tuple[Sequence[bytes], bytes, bytes] | None = None
        self._pipe: Pipe | None = None
        self._unsent: deque[Question] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._late_alarms = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    async def fetch(self, key: bytes, fields: Sequence[bytes]) -> Row:
        """Return the fields of one hash, None where there is none.

        Raises
        ------
        UnavailableError
            If Redis does not answer in time, or answers with an error.
        """
        self._refuse_if_open()
        if not fields:
            return []
        (answer,) = await self._ask(self._command(key, fields), 1)
        row = self._row(answer, fields)
        if isinstance(row, Exception):
            raise row
        return row

    async def fetch_many(self, questions: Sequence[Ask]) -> list[Row | Exception]:
        """Return the answers to n questions in one round trip, an error in place of an answer.

        Raises
        ------
        UnavailableError
            If Redis does not answer in time.
        """
        self._refuse_if_open()
        if not all(fields for _, fields in questions):
            return [[] for _ in questions]
        commands = b"".join([self._command(key, fields) for key, fields in questions])
        answers = await self._ask(commands, len(questions))
        return [self._row(answer, fields) for answer, (_, fields) in zip(answers, questions, strict=True)]

    async def ping(self) -> None:
        """Return if Redis answers; errors as for `fetch`. It is asked even if it has failed: this is a probe."""
        (answer,) = await self._ask(_PING, 1)
        if isinstance(answer, Exception):
            raise self.unavailable(answer)

    async def close(self) -> None:
        """Close the connection; whoever waits is told so."""
        self._is_closed = True
        if self._alarm:
            self._alarm.cancel()
        self._give_up(exceptions.ConnectionError())

    def unavailable(self, error: Exception) -> UnavailableError:
        """Name the server and what is wrong with it."""
        return UnavailableError(f"online store: Redis at {self.address} {self._reason(error)}")

    def _refuse_if_open(self) -> None:
        if not self.breaker.allows():
            raise UnavailableError(f"online store: Redis at {self.address} has failed; it is asked again shortly")

    def _command(self, key: bytes, fields: Sequence[bytes]) -> bytes:
        if self._tail is None or self._tail[0] is not fields:
            self._tail = fields, b"*%d\r\n" % (2 + len(fields)) + bulk(b"HMGET"), b"".join(map(bulk, fields))
        return self._tail[1] + bulk(key) + self._tail[2]

    def _row(self, answer: Any, fields: Sequence[bytes]) -> Row | Exception:
        if isinstance(answer, list) and len(answer) == len(fields):
            return answer
        if isinstance(answer, Exception):
            return self.unavailable(answer)
        if self._pipe is not None:
            self._pipe.close()  # it may be out of step
        return self.unavailable(exceptions.InvalidResponse())

    async def _ask(self, commands: bytes, count: int) -> list[Any]:
        loop = asyncio.get_running_loop()
        if self._is_closed:
            raise self.unavailable(exceptions.ConnectionError())
        if loop is not self._loop:  # what belonged to another one has ended with it
            self._loop, self._pipe, self._connecting, self._alarm = loop, None, None, None
            self._unsent.clear()
        question = Question(commands, count, loop.create_future(), loop.time())
        self._send(question)
        if self._alarm is None:
            self._arm(loop, question.asked_at + self._timeout)
        answers = await question.answer
        self.breaker.succeeded()
        return answers

    def _send(self, question: Question) -> None:
        if self._pipe is not None:
            self._pipe.ask(question)
            return
        self._unsent.append(question)
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            self._pipe = await connect(self.address, self._lost)
        except (exceptions.RedisError, OSError) as error:
            self._fail_all(error)
        while self._pipe is not None and self._unsent:
            self._pipe.ask(self._unsent.popleft())

    def _lost(self, pipe: Pipe, waiting: list[Question]) -> None:
        """Ask once more what a broken connection did not answer: it may have died long ago."""
        if self._pipe is pipe:
            self._pipe = None
        waiting = [question for question in waiting if not question.answer.done()]
        if twice := [question for question in waiting if question.asked_again]:
            self._fail(exceptions.ConnectionError(), twice)
        for question in waiting:
            if not question.asked_again and not self._is_closed:
                question.asked_again = True
                self._send(question)

    def _fail_all(self, error: Exception) -> None:
        unsent, self._unsent = self._unsent, deque()
        self._fail(error, [*(self._pipe.waiting if self._pipe else ()), *unsent])

    def _fail(self, error: Exception, questions: Sequence[Question]) -> None:
        self.breaker.failed()
        for question in questions:
            if not question.answer.done():
                question.answer.set_exception(self.unavailable(error))

    def _arm(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        self._alarm = loop.call_at(when, self._look, loop, when)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Give up if the oldest question is overdue; one alarm is over all of them."""
        self._alarm = None
        waiting = self._oldest()
        if not waiting:
            self._late_alarms = 0
            return
        now = loop.time()
        if waiting[0].asked_at + self._timeout > now:
            self._late_alarms = 0
            self._arm(loop, waiting[0].asked_at + self._timeout)
            return
        # An alarm that comes late says that this process was busy, and nothing of Redis.
        self._late_alarms = self._late_alarms + 1 if now - due > self._timeout * (_LATE - 1) else _PATIENCE
        if self._late_alarms < _PATIENCE:
            self._arm(loop, now + self._timeout)
            return
        self._late_alarms = 0
        loop.call_soon(self._give_up_overdue, loop)  # what has come meanwhile is taken before

    def _give_up_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._oldest()
        if waiting and waiting[0].asked_at + self._timeout <= loop.time():
            self._give_up(TimeoutError())
        elif waiting and self._alarm is None:
            self._arm(loop, waiting[0].asked_at + self._timeout)

    def _give_up(self, error: Exception) -> None:
        """Fail everybody who waits, and leave the connection: other answers may be under way."""
        self._fail_all(error)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _oldest(self) -> deque[Question]:
        return self._pipe.waiting if self._pipe is not None and self._pipe.waiting else self._unsent

    def _reason(self, error: Exception) -> str:
        # Redis errors may quote what was sent to them, so that none of their text is repeated.
        if isinstance(error, TimeoutError | exceptions.TimeoutError):
            return f"gave no answer in {self._timeout * 1000:.0f} ms"
        if isinstance(error, exceptions.AuthenticationError):
            return "refuses the credentials"
        if isinstance(error, exceptions.BusyLoadingError):
            return "is still loading its data"
        if isinstance(error, exceptions.ConnectionError | OSError):
            return "cannot be reached"
        code = str(error).partition(" ")[0]
        return _REFUSALS.get(code, f"answered with an error ({type(error).__name__})")
