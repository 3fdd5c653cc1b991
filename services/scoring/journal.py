"""The service's log: JSON lines on stderr, one for each request at level info.

What is about an applicant is in the decision log and nowhere else: a line names the route's template,
not the path, and neither body, feature, applicant nor API key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from typing import Any, TextIO

import msgspec

_WRITE_EVERY = 0.05
_MOST_KEPT = 200
_line: ContextVar[dict[str, Any] | None] = ContextVar("line", default=None)
_requests = logging.getLogger("services.scoring.requests")


class JsonLines(logging.Formatter):
    """One JSON object for each record: time (UTC), level, logger, message, and the fields that it brings."""

    _second = 0
    _until_second = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": self._instant(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(record.args, dict):
            line.update(record.args)
        if record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return msgspec.json.encode(line, enc_hook=str).decode()

    def _instant(self, created: float) -> str:
        second = int(created)
        if second != self._second:
            self._second, self._until_second = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._until_second}.{int((created - second) * 1000):03d}Z"


class TogetherHandler(logging.StreamHandler[Any]):
    """Write the lines of a twentieth of a second at once where an event loop runs; a warning at once anyway."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        if not self._lines and record.levelno < logging.WARNING:
            try:
                asyncio.get_running_loop().call_later(_WRITE_EVERY, self.flush)
            except RuntimeError:
                super().emit(record)
                return
        try:
            self._lines.append(self.format(record))
        except Exception:
            self.handleError(record)
        if record.levelno >= logging.WARNING or len(self._lines) >= _MOST_KEPT:
            self.flush()

    def flush(self) -> None:
        """Write what was taken; that nobody reads it any more must not stop the service."""
        lines, self._lines = self._lines, []
        with contextlib.suppress(OSError, ValueError):
            if lines:
                self.stream.write("\n".join(lines) + "\n")
            super().flush()


def speak_json(level: str, stream: TextIO | None = None) -> None:
    """Send what this process logs to a stream as JSON lines: its own from this level on, of libraries the warnings.

    Parameters
    ----------
    level : {"debug", "info", "warning", "error"}
        Requests are logged at info.
    stream : text stream or None
        None for stderr.
    """
    handler = TogetherHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("services").setLevel(level.upper())
    _requests.handlers[:], _requests.propagate = [handler], False  # the shortest way
    # No line shows them, and a record is made in half the time without.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def open_line() -> dict[str, Any]:
    """Begin the line of a request; `note` adds to it from wherever the request goes."""
    line: dict[str, Any] = {}
    _line.set(line)
    return line


def note(**fields: Any) -> None:
    """Add to the line of the request under way, if there is one; never anything of an applicant."""
    line = _line.get()
    if line is not None:
        line.update(fields)


def is_told() -> bool:
    """Return whether requests are logged."""
    return _requests.isEnabledFor(logging.INFO)


def tell(fields: dict[str, Any]) -> None:
    """Log one request."""
    _requests.handle(_requests.makeRecord(_requests.name, logging.INFO, "", 0, "request", (fields,), None))
