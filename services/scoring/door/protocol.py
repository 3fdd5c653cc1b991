"""HTTP/1.1 under uvicorn, with the limits that it lacks: on the size of a request's head, and on the time it takes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.scoring.door.plain_parser import PlainParser
from services.scoring.problems import MEDIA_TYPE, WHOLE, problem

LARGEST_HEAD = 16 * 1024
MOST_HEADERS = 64
LARGEST_MESSAGE = 8 * 1024 * 1024
HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15
_PIECE = 8 * 1024  # bytes that are parsed at once: a head that begins in a piece is counted from the next one on


class GuardedProtocol(HttpToolsProtocol):
    """Refuse a head of more than 16 KiB or 64 headers, and hang up on one that is not there in 10 s.

    A head that never ends is refused at most two pieces later. Requests that were whole before the
    fault are still answered, and then the connection is closed.
    """

    _in_head = True
    _aside = 0  # bytes of whole pieces that held nothing but parts of one head, trailer or chunk extension
    _got_on = False  # whether this piece held anything else
    _message_bytes = 0
    _is_deaf = False
    _answered: Any = None  # the request whose turn it is
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.parser: Any = PlainParser(self)
        self._alarm = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; uvicorn tells nobody of it but the newest of its requests."""
        self._calm()
        if self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is not whole yet has only so much time and room."""
        size = len(data)
        if size > _PIECE:
            for begin in range(0, size, _PIECE):
                self.data_received(data[begin : begin + _PIECE])
            return
        if self._is_deaf:
            return
        self._got_on = False
        super().data_received(data)
        if self._is_deaf or self.transport.is_closing():
            return
        self._message_bytes += size
        self._aside = 0 if self._got_on else self._aside + size
        if self._aside > LARGEST_HEAD:
            self.send_400_response("")
        elif self._message_bytes > LARGEST_MESSAGE:
            self._hang_up(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request is larger than {LARGEST_MESSAGE} bytes")
        elif self._alarm is None and (self._in_head or self.cycle.response_complete):
            self._alarm = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_head = self._got_on = True
        self._aside = self._message_bytes = 0

    def on_headers_complete(self) -> None:
        """Stop waiting for the head."""
        if self._is_too_much():
            raise ValueError("too much")  # the parser stops, and says that this is no HTTP
        super().on_headers_complete()
        self.scope["state"][WHOLE] = self.answer_whole
        self._in_head = False
        self._got_on = True
        self._calm()

    def on_message_complete(self) -> None:
        """Note that the request is whole, unless its body is still to come."""
        if not self.parser.has_body_to_come:
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Note that there is more of the body."""
        self._got_on = True
        super().on_body(body)

    def on_chunk_header(self) -> None:
        """Note that there is one more chunk."""
        self._got_on = True

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it, and hang up."""
        if self._is_too_much():
            detail = f"the head is larger than {LARGEST_HEAD} bytes or {MOST_HEADERS} headers"
            self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
        else:
            self._hang_up(HTTPStatus.BAD_REQUEST, msg)

    def answer_whole(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a whole answer at once, and return whether that was possible; if not, uvicorn takes a head and a body.

        One write wakes the client once, and uvicorn's checks of each header are left out.
        """
        cycle = self._answered
        if cycle.response_started or cycle.disconnected or self.flow.write_paused or cycle.scope["method"] == "HEAD":
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        lines = [b": ".join(header) for header in (*cycle.default_headers, *headers)]
        if not cycle.keep_alive:
            lines.append(b"connection: close")
        self.transport.write(b"".join([STATUS_LINE[status], b"\r\n".join(lines), b"\r\n\r\n", body]))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def _is_too_much(self) -> bool:
        if self.headers is not None and len(self.headers) > MOST_HEADERS:
            return True
        if not self._aside:  # two pieces at most
            return False
        if self._aside > LARGEST_HEAD:
            return True
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD

    def _hang_up(self, status: HTTPStatus, detail: str) -> None:
        """Hear nothing more, and close the connection as soon as every request that is whole has its answer.

        The fault itself is answered where it is its turn.
        """
        self._is_deaf = True
        self._calm()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            if self._in_head:  # else it is the rest of a request that has its answer
                self._write(status, detail)
            self.transport.close()
        elif self._in_head or not cycle.more_body:
            cycle.keep_alive = False
        elif self.pipeline:  # the newest is the one whose body is at fault
            cycle.keep_alive = False
            self.pipeline[0] = (cycle, _refusing(status, detail))
        else:
            if not cycle.response_started:
                self._write(status, detail)
            cycle.disconnected = True
            cycle.message_event.set()
            self.transport.close()

    def _write(self, status: HTTPStatus, detail: str) -> None:
        body = problem(status, detail, secrets.token_hex(8))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)

    def _calm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _give_up(self) -> None:
        self._alarm = None
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self._is_deaf = True
            self.cycle.keep_alive = False


def _refusing(status: HTTPStatus, detail: str) -> Any:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        body = problem(status, detail, secrets.token_hex(8))
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return refuse
