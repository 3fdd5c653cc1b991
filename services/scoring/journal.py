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
_REQUESTS = "services.scoring.requests"
_told: TogetherHandler | None = None


class JsonLines(logging.Formatter):
    """One JSON object for each record: time (UTC), level, logger, message, and the fields that it brings."""

    _second = 0
    _until_second = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = dict(record.args) if isinstance(record.args, dict) else {}
        if record.exc_info:
            fields["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return self.line(record.created, record.levelname.lower(), record.name, record.getMessage(), fields)

    def line(self, created: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> str:
        """Return the line of what was created at a time, seconds since 1970."""
        whole = {"time": self._instant(created), "level": level, "logger": logger, "message": message, **fields}
        return msgspec.json.encode(whole, enc_hook=str).decode()

    def _instant(self, created: float) -> str:
        second = int(created)
        if second != self._second:
            self._second, self._until_second = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._until_second}.{int((created - second) * 1000):03d}Z"


class TogetherHandler(logging.StreamHandler[Any]):
    """Write the lines of a twentieth of a second at once where an event loop runs; a warning at once anyway."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lines = JsonLines()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        try:
            self.take(self.format(record), at_once=record.levelno >= logging.WARNING)
        except Exception:
            self.handleError(record)

    def take(self, line: str, at_once: bool = False) -> None:
        """Take one line."""
        self.acquire()
        try:
            if not self._lines and not at_once:
                try:
                    asyncio.get_running_loop().call_later(_WRITE_EVERY, self.flush)
                except RuntimeError:
                    at_once = True
            self._lines.append(line)
            if at_once or len(self._lines) >= _MOST_KEPT:
                self.flush()
        finally:
            self.release()

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
    global _told
    handler = TogetherHandler(stream or sys.stderr)
    handler.setFormatter(handler.lines)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("services").setLevel(level.upper())
    _told = handler if logging.getLogger(_REQUESTS).isEnabledFor(logging.INFO) else None


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
    return _told is not None


def tell(fields: dict[str, Any]) -> None:
    """Log one request; a record of `logging` for each would cost as much as the rest of the door."""
    if _told is not None:
        _told.take(_told.lines.line(time.time(), "info", _REQUESTS, "request", fields))
