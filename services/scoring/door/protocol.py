"""HTTP/1.1 under uvicorn, with the limits that it lacks: on the size of a request's head, and on the time it takes."""

from __future__ import annotations

import asyncio
import secrets
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.scoring.problems import MEDIA_TYPE, problem

LARGEST_HEAD = 16 * 1024
MOST_HEADERS = 64
LARGEST_MESSAGE = 8 * 1024 * 1024
HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15


class GuardedProtocol(HttpToolsProtocol):
    """Refuse a head of more than 16 KiB or 64 headers, and hang up on one that is not there in 10 s."""

    _in_head = True
    _head_bytes = 0
    _message_bytes = 0
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._alarm = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is not whole yet has only so much time and room."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._message_bytes += len(data)
        if self._in_head and self._message_bytes > LARGEST_HEAD:
            self._head_bytes = self._message_bytes
            self.send_400_response("")
        elif self._message_bytes > LARGEST_MESSAGE:
            self.transport.close()
        elif self._alarm is None and (self._in_head or self.cycle.response_complete):
            self._alarm = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._message_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Count the path."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop waiting for the head."""
        self._in_head = False
        self._calm()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it, and hang up."""
        too_much = self._head_bytes > LARGEST_HEAD or len(self.headers or ()) >= MOST_HEADERS
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_much else HTTPStatus.BAD_REQUEST
        detail = f"the head is larger than {LARGEST_HEAD} bytes or {MOST_HEADERS} headers" if too_much else msg
        body = problem(status, detail, secrets.token_hex(8))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > LARGEST_HEAD or len(self.headers) >= MOST_HEADERS:
            raise ValueError("too much")  # the parser stops, and says that this is no HTTP

    def _calm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _give_up(self) -> None:
        self._alarm = None
        if not self.transport.is_closing():
            self.transport.close()
