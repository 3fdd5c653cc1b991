"""Bodies of requests: they are read whole, and there is one account of the memory that they take."""

from __future__ import annotations

import math
from http import HTTPStatus

from litestar.types import Receive

from services.scoring.door.visit import SOON, SPILL, Refusal, Visit

_SMALL = 64 * 1024  # a body that is coming counts as at least this: it costs a task and a buffer, too


class Bodies:
    """Read bodies, as many as there is room for.

    Of the room, one caller may take half with bodies that are still coming, so that one that sends
    slowly does not keep the others out: of the usual room, that is 512 bodies, however small. An eighth
    of each is kept for bodies of at most 64 KiB, so that single decisions get through beside many batches.

    Parameters
    ----------
    room : int
        Bytes of all bodies that are being read or answered.
    """

    def __init__(self, room: int) -> None:
        self._of_small = room, room // 2
        self._of_large = room - room // 8, room // 2 - room // 16
        self._held = 0
        self._coming: dict[str, int] = {}

    async def hear(self, visit: Visit, receive: Receive, largest: int) -> bytes:
        """Return the whole body, which is in the account until `forget`.

        Parameters
        ----------
        largest : int
            Bytes.

        Raises
        ------
        Refusal
            If it is too large, if there is no room, or if it breaks off.
        """
        announced = visit.announced
        visit.worth_hearing = most = largest + SPILL
        if most < announced < math.inf:
            visit.worth_hearing = SPILL
            raise _too_large(largest)
        caller = visit.key.id if visit.key else visit.peer
        try:
            if announced:
                self._count(visit, caller, 0 if announced == math.inf else int(announced))
            message = await receive()
            body = message.get("body", b"") if message["type"] == "http.request" else b""
            if message["type"] == "http.request" and message.get("more_body"):
                whole = bytearray()
                while True:
                    if announced == math.inf:
                        self._count(visit, caller, len(body))
                    whole += body
                    if len(whole) > most or not message.get("more_body"):
                        break
                    message = await receive()
                    if message["type"] != "http.request":
                        break
                    body = message.get("body", b"")
                body = bytes(whole)
        finally:
            if visit.coming:
                self._has_come(visit, caller)
        if message["type"] != "http.request":
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body broke off")
        visit.heard = not message.get("more_body")
        if len(body) > largest:
            raise _too_large(largest)
        return body

    def forget(self, visit: Visit) -> None:
        """Take the visit's body out of the account."""
        self._held -= visit.held

    def _count(self, visit: Visit, caller: str, size: int) -> None:
        whole = visit.held + size
        weight = (whole if whole > _SMALL else _SMALL) - visit.coming
        coming = self._coming.get(caller, 0) + weight
        held = self._held + size
        room, share = self._of_small if whole <= _SMALL else self._of_large
        if held > room:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service is busy with other bodies; try again", SOON)
        if coming > share:
            detail = "too many bodies of this caller are still coming; try again"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, detail, SOON)
        self._held = held
        self._coming[caller] = coming
        visit.held = whole
        visit.coming += weight

    def _has_come(self, visit: Visit, caller: str) -> None:
        left = self._coming[caller] - visit.coming
        visit.coming = 0
        if left:
            self._coming[caller] = left
        else:
            del self._coming[caller]


def _too_large(largest: int) -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {largest} bytes")
