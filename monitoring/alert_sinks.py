"""Who is told of alerts: the log, a file of JSON lines, webhooks.

References
----------
Standard Webhooks 1.0.0: headers ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``, the latter ``v1,`` and
the Base64 of the HMAC-SHA256 of ``<id>.<timestamp>.<body>``, so that a receiver can check who sent what, and when.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from feature_repo.errors import InputError, UnavailableError
from monitoring.alerts import Book, Notice
from monitoring.monitor_settings import Sinks, Webhook

Sink = Callable[[Notice, float], None]
"""Takes one notice within so many seconds; raises UnavailableError if it cannot now, InputError if it never will."""
_PREFIX = "whsec_"
_LEVELS = {"critical": logging.ERROR, "warning": logging.WARNING}
_REFUSED = (400, 413, 422)
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # s between attempts
PATIENCE = 30.0
"""Seconds that one sink has in one cycle."""
_logger = logging.getLogger(__name__)


def make_sinks(settings: Sinks, root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Sink]:
    """Return all sinks by name, the log first.

    Parameters
    ----------
    root : Path
        Folder of the home, from which the file's path counts.

    Raises
    ------
    InputError
        If a webhook's secret is not in the environment, or is none.
    """
    hooks = {name: _Hook(name, hook, secret_of(name, hook, environ)) for name, hook in settings.webhooks.items()}
    return {
        "log": to_log,
        "file": _File(root / settings.file),
        **{f"webhook {name}": hook for name, hook in hooks.items()},
    }


def secret_of(name: str, webhook: Webhook, environ: Mapping[str, str]) -> bytes:
    """Return the key of a webhook.

    Raises
    ------
    InputError
        Naming the variable, never what is in it.
    """
    text = environ.get(webhook.secret_env, "")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise InputError(
            f"sinks.webhooks.{name}: put {_PREFIX} and the Base64 of 24 to 64 random bytes into {webhook.secret_env} "
            f"(`openssl rand -base64 32` makes the latter)"
        )
    return key


def deliver(book: Book, sinks: Mapping[str, Sink], save: Callable[[], None]) -> dict[str, str]:
    """Tell each sink what waits for it, until one notice fails or its time is over; return what is wrong, by sink.

    Parameters
    ----------
    save : callable
        Keeps the book; called after each sink, so that a notice is told again only if the cycle is killed between.
    """
    troubles: dict[str, str] = {}
    for name, sink in sinks.items():
        until = time.monotonic() + PATIENCE
        waiting = book.waiting.get(name, [])
        told = 0
        try:
            for notice in waiting:
                try:
                    sink(notice, until - time.monotonic())
                except InputError as error:
                    troubles[name] = str(error)
                    book.dropped[name] = book.dropped.get(name, 0) + 1
                told += 1
        except UnavailableError as error:
            troubles[name] = f"{error}; {len(waiting) - told:,} notices wait for the next cycle"
        del waiting[:told]
        if told:
            save()
    return troubles


def to_log(notice: Notice, _seconds: float) -> None:
    """Write a notice to the log of this process."""
    _logger.log(_LEVELS[notice.severity] if notice.kind != "is over" else logging.INFO, "%s", notice.line())


class _File:
    """Appends notices to a file, each a line of JSON, on the disk before it counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, notice: Notice, _seconds: float) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as stream:
                stream.seek(max(stream.seek(0, os.SEEK_END) - 1, 0))
                torn = stream.read(1) not in (b"", b"\n")  # by a disk that was full
                stream.write(b"\n" * torn + msgspec.json.encode(notice) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise UnavailableError(f"{self._path} cannot be written: {error.strerror}") from None


class _Hook:
    """Posts notices, signed, with a bounded number of attempts in a bounded time, following nobody's redirection."""

    def __init__(self, name: str, webhook: Webhook, key: bytes) -> None:
        self._webhook, self._key = webhook, key
        url = urlsplit(webhook.url)
        self._where = f"webhook {name} ({url.scheme}://{url.hostname})"  # path and query may hold a token

    def __call__(self, notice: Notice, seconds: float) -> None:
        try:
            status = asyncio.run(self._post(notice, seconds))
        except TimeoutError:
            raise UnavailableError(f"{self._where} did not answer in time") from None
        except httpx.HTTPError as error:
            raise UnavailableError(f"{self._where} cannot be reached: {type(error).__name__}") from None
        if status in _REFUSED:
            raise InputError(f"{self._where} refused notice {notice.id} with {status}, and never gets it again")
        if not 200 <= status < 300:
            raise UnavailableError(f"{self._where} answered {status}")

    async def _post(self, notice: Notice, seconds: float) -> int:
        """Return the status of the last answer; what else an answer says does not matter, however long it is."""
        body, settings = msgspec.json.encode(notice), self._webhook
        async with (
            asyncio.timeout(seconds),  # a timeout of the client is one of each read, of which there may be many
            httpx.AsyncClient(timeout=settings.timeout_seconds, follow_redirects=False) as client,
        ):
            for attempt in range(1, settings.attempts + 1):
                try:
                    headers = signed(self._key, notice.id, body)
                    async with client.stream("POST", settings.url, content=body, headers=headers) as answer:
                        if answer.status_code not in _AGAIN or attempt == settings.attempts:
                            return answer.status_code
                except httpx.HTTPError:
                    if attempt == settings.attempts:
                        raise
                await asyncio.sleep(min(_PAUSE * 2**attempt, _LONGEST_PAUSE))
        raise AssertionError("there is one attempt at least")


def signed(key: bytes, name: str, body: bytes, at: int | None = None) -> dict[str, str]:
    """Return the headers of a body, signed.

    Parameters
    ----------
    name : str
        ID of the message.
    at : int or None
        Seconds since 1970; None for now.
    """
    moment = str(int(time.time()) if at is None else at)
    mac = hmac.digest(key, b".".join((name.encode(), moment.encode(), body)), "sha256")
    return {
        "content-type": "application/json",
        "user-agent": "candor",
        "webhook-id": name,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }
