"""The Redis that a home starts for itself. The server outlives the command that started it."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import redis

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from feature_repo.locking import lock
from feature_repo.stores.address import parse_address
from services import redis_server
from services.redis_server import HOST, Foreign, Silent
from services.store_config import write_feature_store_yaml

_LONGEST_PATH = 1000  # Redis tells its folder from a buffer of 1,024 bytes
_TRIES = 5


@dataclass(frozen=True)
class RedisStatus:
    """What is known of a home's Redis.

    Parameters
    ----------
    address : str
        ``host:port``, empty when the home has not chosen a port yet.
    running : bool
        Whether it answers, and, for the embedded one, is this home's.
    detail : str
        One line for a person.
    """

    address: str
    running: bool
    embedded: bool
    detail: str


def ensure(home: Home) -> str:
    """Return the address of a Redis that answers, having started the home's own if need be.

    Returns
    -------
    str
        Feast connection string.

    Raises
    ------
    UnavailableError
        If the port is held by something else, the server does not start, or the Redis given by
        ``CANDOR_REDIS`` does not answer.
    """
    if home.redis_override:
        redis_server.ping(home.redis_override)
        write_feature_store_yaml(home)
        return home.redis
    with _lock(home):
        port = _known_port(home)
        if port:
            _reuse_or_start(home, port)
        else:
            port = _start_on_a_free_port(home)
        write_feature_store_yaml(home)
    return f"{HOST}:{port}"


def stop(home: Home) -> bool:
    """End the home's own server, its data being on disk; never a server of someone else.

    Returns
    -------
    bool
        Whether there was one.

    Raises
    ------
    UnavailableError
        If it goes on running.
    """
    if home.redis_override or not home.root.exists():
        return False
    with _lock(home):
        port = _known_port(home)
        try:
            server = redis_server.probe(port) if port else None
        except Foreign:
            return False
        except Silent:
            if not port or not redis_server.kill_own(home.redis_dir, port):
                raise
            return True
        if not port or not server or server.folder != home.redis_dir:
            return False
        redis_server.shut_down(port)
    return True


def status(home: Home) -> RedisStatus:
    """Tell whether the home's Redis answers; starts nothing and raises nothing."""
    if home.redis_override:
        address = str(parse_address(home.redis_override))
        try:
            redis_server.ping(home.redis_override)
        except UnavailableError as error:
            return RedisStatus(address, False, False, str(error))
        return RedisStatus(address, True, False, "answers")
    if not home.redis:
        return RedisStatus("", False, True, "not started yet: run `candor env`")
    try:
        server = redis_server.probe(parse_address(home.redis).port)
    except Foreign as error:
        return RedisStatus(home.redis, False, True, f"the port is held by {error}")
    except Silent as error:
        return RedisStatus(home.redis, False, True, str(error))
    if server is None:
        return RedisStatus(home.redis, False, True, "not running: `candor env` starts it")
    if server.folder != home.redis_dir:
        return RedisStatus(home.redis, False, True, f"the port is held by the Redis of {server.folder}")
    return RedisStatus(home.redis, True, True, "answers" if server.ready else "is loading its data")


def eviction(home: Home) -> str:
    """Say which keys the home's Redis throws away when its memory is full; empty if none, or if it is not told."""
    if not home.redis:
        return ""
    try:
        with redis_server.client_of(parse_address(home.redis), 2.0) as client:
            memory = client.info("memory")
    except redis.RedisError:
        return ""
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if not int(memory.get("maxmemory", 0)) or policy == "noeviction":
        return ""
    return f"maxmemory-policy {policy} throws applicants away when {memory['maxmemory']} bytes are full"


def _known_port(home: Home) -> int | None:
    """Return the default home's port, the one saved, or that of a server still running in the folder."""
    if home.redis:
        return parse_address(home.redis).port
    for pidfile in home.redis_dir.glob("redis-*.pid"):
        port = int(pidfile.stem.removeprefix("redis-"))
        try:
            server = redis_server.probe(port)
        except (Foreign, Silent):
            continue
        if server and server.folder == home.redis_dir:
            _remember(home, port)
            return port
    return None


def _reuse_or_start(home: Home, port: int) -> None:
    try:
        server = redis_server.probe(port)
    except Foreign as error:
        raise _held(port, str(error), "end that program") from None
    if server and server.folder != home.redis_dir:
        remedy = f"CANDOR_HOME={shlex.quote(str(server.folder.parent))} candor stop"
        raise _held(port, f"the Redis of another home, {server.folder}", f"run `{remedy}`")
    if server and server.deleted:
        redis_server.shut_down(port)
        server = None
    if server and redis_server.wait(home.redis_dir, port):
        return
    if not redis_server.start(home.redis_dir, port):
        raise redis_server.failed(home.redis_dir, port)


def _start_on_a_free_port(home: Home) -> int:
    for _ in range(_TRIES):
        with socket.create_server((HOST, 0)) as probe:
            port = int(probe.getsockname()[1])
        _remember(home, port)  # before the start: two servers must never share one folder
        if redis_server.start(home.redis_dir, port):
            return port
    raise redis_server.failed(home.redis_dir, port)


def _remember(home: Home, port: int) -> None:
    home.save_state(msgspec.structs.replace(home.state(), redis_port=port))


@contextmanager
def _lock(home: Home) -> Iterator[None]:
    """Let one command at a time start or stop the home's server."""
    if len(os.fsencode(home.redis_dir)) > _LONGEST_PATH:
        raise InputError(f"CANDOR_HOME is longer than {_LONGEST_PATH} bytes, more than Redis can tell")
    try:
        home.redis_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        stream = (home.redis_dir / "lock").open("w")
    except OSError as error:
        raise UnavailableError(f"{home.redis_dir} cannot be written ({error.strerror})") from None
    with stream:
        lock(stream, home.redis_dir / "lock")
        yield


def _held(port: int, by: str, remedy: str) -> UnavailableError:
    return UnavailableError(f"port {port} is held by {by}: {remedy}, or set CANDOR_REDIS to a Redis of yours")
