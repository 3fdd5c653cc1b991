"""One request on its way through the door, and how it is refused."""

from __future__ import annotations

import asyncio
import math
import time
from http import HTTPStatus
from typing import Any

from litestar.types import HTTPScope, Receive, Send

from services.scoring import journal
from services.scoring.door.keys import ApiKey
from services.scoring.door.scopes import Entrance
from services.scoring.problems import CLIENT, MEDIA_TYPE, REQUEST_ID, WHOLE, problem, tame_id

SPILL = 256 * 1024
"""Bytes beyond the limit that are read, so that the client gets to read the answer."""
SOON = (b"retry-after", b"1")
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_HEAR_OUT_SECONDS = 1.0  # what is refused has nothing to lose but its answer


class Refusal(Exception):
    """The door says no."""

    def __init__(self, status: HTTPStatus, detail: str, *headers: tuple[bytes, bytes]) -> None:
        self.status = status
        self.detail = detail
        self.headers = headers
        super().__init__(detail)


class Visit:
    """One request on its way through the door.

    Parameters
    ----------
    scope : HTTPScope
        The ASGI scope; its ``state`` is shared with the application.

    Attributes
    ----------
    held, coming : int
        Bytes that are counted for its body, and for its caller while the body is coming.
    worth_hearing : int
        Bytes up to which its body is read even if it is refused.
    """

    held = 0
    coming = 0
    worth_hearing = SPILL
    _hangs_up = False

    def __init__(self, scope: HTTPScope, send: Send, seconds: float) -> None:
        self.begun = time.perf_counter()
        self.due = self.begun + seconds
        self.is_overdue = False
        self.task: asyncio.Task[Any] | None = None
        self.scope = scope
        self.send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.entrance: Entrance | None = None
        self.key: ApiKey | None = None
        self.status = 0
        self.heard = False
        self.noted = journal.open_line()
        self.request_id = tame_id(self.headers.get(b"x-request-id"))
        state = scope.setdefault("state", {})
        # Taken out: it leads back to the connection, and would keep it, with the body, until garbage is collected.
        self._write_whole = state.pop(WHOLE, None)
        state[REQUEST_ID] = self.request_id
        state[CLIENT] = ""

    @property
    def peer(self) -> str:
        """Address that the request came from; of a proxy, the proxy's."""
        client = self.scope.get("client")
        return client[0] if client else ""

    @property
    def announced(self) -> float:
        """Bytes of the body, as the request says; infinite if it does not."""
        length = self.headers.get(b"content-length", b"" if b"transfer-encoding" in self.headers else b"0")
        return int(length) if length.isdigit() and len(length) < 16 else math.inf

    async def answer(self, message: Any) -> None:
        """Send on what the application answers."""
        if message["type"] == "http.response.body":
            await self.send(message)
            return
        self.status = message["status"]
        # Once: after this answer the connection may be answering the next request.
        write, self._write_whole = self._write_whole, None
        headers = [*message["headers"], (b"x-request-id", self.request_id.encode()), *_ALWAYS]
        hangs_up = not self.heard and (self._hangs_up or self.announced > SPILL)  # nobody reads it to its end
        if hangs_up:
            headers.append((b"connection", b"close"))
        if message["type"] == WHOLE:
            if write is not None and not hangs_up and write(self.status, headers, message["body"]):
                return
            await self.send({"type": "http.response.start", "status": self.status, "headers": headers})
            await self.send({"type": "http.response.body", "body": message["body"], "more_body": False})
        else:
            message["headers"] = headers
            await self.send(message)

    async def hear_out(self, receive: Receive) -> None:
        """Read a moderate body that is refused anyway: a client that is still sending may never see the answer."""
        self.due = min(self.due, time.perf_counter() + _HEAR_OUT_SECONDS)
        try:
            while not self.heard and 0 < self.announced <= self.worth_hearing and not self.is_overdue:
                message = await receive()
                self.heard = message["type"] != "http.request" or not message.get("more_body")
        except asyncio.CancelledError:
            if not self.is_overdue or self.task is None:
                raise
            self.task.uncancel()

    async def refuse(self, refusal: Refusal) -> None:
        """Answer a refusal; where the body is still coming, that is the end of the connection."""
        self._hangs_up = not self.heard and self.announced > 0
        body = problem(refusal.status, refusal.detail, self.request_id)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            *refusal.headers,
        ]
        await self.answer({"type": WHOLE, "status": refusal.status, "headers": headers, "body": body})
