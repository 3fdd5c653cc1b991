"""Run the scoring service under uvicorn."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvicorn
from uvicorn.supervisors import Multiprocess

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from services.scoring.app import create_app
from services.scoring.door.door import Door
from services.scoring.door.keys import KeyFile
from services.scoring.door.policy import DoorOptions, DoorPolicy
from services.scoring.door.protocol import KEEP_ALIVE_SECONDS, GuardedProtocol
from services.scoring.journal import speak_json
from services.scoring.metrics import Metrics

# From the parent process to its workers:
_POLICY = "CANDOR_DOOR"
_LEVEL = "CANDOR_LOG_LEVEL"
_FIGURES = "CANDOR_FIGURES"
_logger = logging.getLogger(__name__)
_USUAL = DoorOptions()
_COLLECT_AFTER = 20_000  # objects that were made and not yet freed: decisions make no cycles


def application() -> Door:
    """Return the application of the home in the environment; each worker calls it."""
    speak_json(os.environ[_LEVEL])
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    policy = msgspec.json.decode(os.environ[_POLICY], type=DoorPolicy)
    return create_app(
        Home.resolve(),
        policy=policy,
        metrics=Metrics(Path(os.environ[_FIGURES])),
        when_ready=_spare_what_stays,
        writes_apart=True,
    )


def _end_with_parent() -> None:
    """Drain and end when the parent is gone: nobody else would, and the port would stay taken."""
    if parent := multiprocessing.parent_process():
        parent.join()
        _logger.error("the parent process has ended: this worker ends too")
        os.kill(os.getpid(), signal.SIGTERM)


def configure(app: Door | str, workers: int = 1) -> uvicorn.Config:
    """Return how uvicorn serves the application, or what its name makes."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever connects could say that it is another
        log_config=None,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
    )


def serve(
    home: Home, host: str, port: int, workers: int = 1, options: DoorOptions = _USUAL, log_level: str = "info"
) -> None:
    """Serve until told to stop; after SIGTERM, requests under way are still answered.

    Parameters
    ----------
    host : str
        Name or address to listen on, ``0.0.0.0`` for all.
    port : int
        1..65535, or 0 for any free one.
    workers : int
        Processes, at least 1.
    options : DoorOptions
        Who may come in.
    log_level : {"debug", "info", "warning", "error"}
        From which level on it logs to stderr; requests are logged at info.

    Raises
    ------
    UnavailableError
        If the port is taken.
    InputError
        If the host is not one of this machine's, or an address of the home is not one.
    """
    os.environ.update(_environment(home))
    speak_json(log_level)
    with _listen(host, port) as listener:
        policy = options.policy(listener.getsockname()[0], workers)
        # Says here and now what is wrong with the home.
        app = create_app(home, policy=policy, when_ready=_spare_what_stays, writes_apart=True)
        if policy.require_keys and not _has_keys(home):
            _logger.warning("every request needs an API key, and there is none: candor keys create --help")
        # uvicorn raises the signal again once it has drained: ended as it was told to, which is exit 0
        signal.signal(signal.SIGTERM, lambda *_: None)
        if workers == 1:
            uvicorn.Server(configure(app)).run(sockets=[listener])
        else:
            with tempfile.TemporaryDirectory(prefix="candor-figures-") as figures:
                os.environ |= {_POLICY: msgspec.json.encode(policy).decode(), _LEVEL: log_level, _FIGURES: figures}
                _Workers(configure("services.scoring.server:application", workers), sockets=[listener]).run()


def _spare_what_stays() -> None:
    """Keep the garbage collector from what lives as long as the process: looking through it stops all requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 50, 100)


class _Workers(Multiprocess):
    """Workers whose parent does not hold the port open while they drain."""

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _has_keys(home: Home) -> bool:
    now = datetime.now(UTC)
    return any(key.state(now) == "active" for key in KeyFile(home).read())


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
