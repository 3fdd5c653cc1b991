"""Run the scoring service under uvicorn."""

from __future__ import annotations

import os
import socket

import uvicorn
from litestar import Litestar
from uvicorn.supervisors import Multiprocess

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from services.scoring.app import create_app


def application() -> Litestar:
    """Return the application of the home in the environment; each worker calls it."""
    return create_app(Home.resolve())


def serve(home: Home, host: str, port: int, workers: int = 1) -> None:
    """Serve until told to stop.

    Parameters
    ----------
    host : str
        Name or address to listen on, ``0.0.0.0`` for all.
    port : int
        1..65535, or 0 for any free one.
    workers : int
        Processes, at least 1.

    Raises
    ------
    UnavailableError
        If the port is taken.
    InputError
        If the host is not one of this machine's, or an address of the home is not one.
    """
    os.environ.update(_environment(home))
    alone = workers == 1
    app = create_app(home)  # says here and now what is wrong with the home
    config = uvicorn.Config(
        app if alone else "services.scoring.server:application",
        factory=not alone,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=10,
    )
    with _listen(host, port) as listener:
        if alone:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            Multiprocess(config, sockets=[listener]).run()


def _environment(home: Home) -> dict[str, str]:
    """Return the variables from which a worker resolves the same home."""
    as_of = home.as_of_override
    given = {
        "CANDOR_HOME": str(home.root),
        "CANDOR_REDIS": home.redis_override,
        "CANDOR_DECISION_LOG": home.log_override,
        "CANDOR_AS_OF": as_of.isoformat() if as_of else "",
    }
    return {name: value for name, value in given.items() if value}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (socket.gaierror, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port}: {error}") from None
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port"
        ) from None
    listener.set_inheritable(True)
    return listener
