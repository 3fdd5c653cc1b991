"""Ask one Redis over plain sockets: redis-py connects, but a pipeline's bytes are sent and received whole."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from redis import Connection, SSLConnection, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.errors import UnavailableError
from feature_repo.stores.address import RedisAddress

_AT_ONCE = 1 << 16  # bytes, which Redis writes at most before it looks after others

Understood = TypeVar("Understood")


class RedisSockets:
    """Connections to one Redis, made when needed; threads may share them.

    Parameters
    ----------
    timeout : float
        Seconds for connecting and for each wait for more of an answer.
    """

    def __init__(self, address: RedisAddress, timeout: float) -> None:
        options = {name: value for name, value in address.options.items() if name != "ssl"}
        self._address = address
        self._kind = SSLConnection if address.options.get("ssl") else Connection
        self._options = options | {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        # by process: a forked child that shared its parent's would read what the parent has asked
        self._idle: defaultdict[int, list[Any]] = defaultdict(list)

    def ask(self, commands: bytes, understand: Callable[[bytes], Understood | None]) -> Understood:
        """Send commands, and return what they were answered.

        Parameters
        ----------
        commands : bytes
            Commands that only read: they are sent once more if an idle connection has died.
        understand : callable
            Makes something of all that has come so far, or returns None as long as more is to come. It may raise
            a RedisError.

        Raises
        ------
        UnavailableError
            If Redis does not answer in time, or answers with an error.
        """
        try:
            connection = self._idle[os.getpid()].pop()
        except IndexError:
            connection = None
        try:
            if connection is not None:
                try:
                    return self._exchange(connection, commands, understand)
                except TimeoutError:
                    raise
                except (exceptions.ConnectionError, OSError):
                    pass  # it may have died since
            return self._exchange(self._connected(), commands, understand)
        except (exceptions.RedisError, OSError) as error:
            raise UnavailableError(f"online store: Redis at {self._address} gives no answer ({_name(error)})") from None

    def close(self) -> None:
        """Close the connections that are idle."""
        idle = self._idle[os.getpid()]
        while idle:
            idle.pop().disconnect()

    def _connected(self) -> Any:
        connection: Any = self._kind(  # redis-py leaves its methods untyped
            host=self._address.host,
            port=self._address.port,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            **self._options,
        )
        connection.connect()
        return connection

    def _exchange(
        self, connection: Any, commands: bytes, understand: Callable[[bytes], Understood | None]
    ) -> Understood:
        try:
            # redis-py has no public way to its socket, and its own reading takes as long as Redis does.
            socket = connection._sock
            socket.sendall(commands)
            received = []
            while True:
                more = socket.recv(_AT_ONCE)
                if not more:
                    raise exceptions.ConnectionError("closed")
                received.append(more)
                if more.endswith(b"\n"):
                    found = understand(b"".join(received))
                    if found is not None:
                        break
        except BaseException:
            connection.disconnect()  # other answers may be under way
            raise
        self._idle[os.getpid()].append(connection)
        return found


def _name(error: Exception) -> str:
    """Name an error. It may quote what was sent, so that of Redis' text only its code is told."""
    code = str(error).partition(" ")[0]
    told = isinstance(error, exceptions.ResponseError) and code.isalpha() and code.isupper()
    return f"{type(error).__name__} {code}" if told else type(error).__name__
