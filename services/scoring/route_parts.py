"""What the routes share: how they document their problems, and what they ask of a body."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp, Receive, Scope, Send

from services.scoring.errors import FieldProblem
from services.scoring.problems import BODY, MEDIA_TYPE
from services.scoring.schemas import Problem

UNAVAILABLE = "The store, the log or the model is not there; try again"


def problems(**statuses: str) -> dict[int, ResponseSpec]:
    """Return the OpenAPI entries of problems, given as ``s404="What it means"``."""
    return {
        int(status.removeprefix("s")): ResponseSpec(Problem, False, description, MEDIA_TYPE)
        for status, description in statuses.items()
    }


def no_key(request: Request[Any, Any, Any]) -> None:
    """Refuse an idempotency key where none is kept, for the client would count on it.

    Raises
    ------
    FieldProblem
        If there is one.
    """
    if any(name == b"idempotency-key" for name, _ in request.scope["headers"]):
        raise FieldProblem(("Idempotency-Key", "Idempotency-Key: is kept for single decisions on /predict only"))


def json_body(request: Request[Any, Any, Any]) -> bytes:
    """Return the body, which the door has read.

    Raises
    ------
    HTTPException
        415 if it is not announced as JSON.
    """
    announced = next((value for name, value in request.scope["headers"] if name == b"content-type"), b"")
    kind = announced.partition(b";")[0].strip().lower()
    if kind != b"application/json":
        named = kind[:64].decode("latin-1") or "untyped"
        raise HTTPException(status_code=415, detail=f"the body must be application/json, not {named}")
    return bytes(request.scope["state"][BODY])


def json_answer(body: bytes, *headers: tuple[bytes, bytes]) -> ASGIApp:
    """Return the ASGI application that answers 200 with JSON as it is: Litestar's responses take ten times as long."""

    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return answer
