"""What the routes share: how they document their problems, and what they ask of a body."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp, Receive, Scope, Send

from services.scoring.errors import FieldProblem
from services.scoring.problems import BODY, MEDIA_TYPE, WHOLE, problem_of, request_id
from services.scoring.schemas import Problem

_JSON = b"application/json"
UNAVAILABLE = "The store, the log or the model is not there; try again"


def problems(**statuses: str) -> dict[int, ResponseSpec]:
    """Return the OpenAPI entries of problems, given as ``s404="What it means"``."""
    return {
        int(status.removeprefix("s")): ResponseSpec(Problem, False, description, MEDIA_TYPE)
        for status, description in statuses.items()
    }


def no_key(scope: Scope) -> None:
    """Refuse an idempotency key where none is kept, for the client would count on it.

    Raises
    ------
    FieldProblem
        If there is one.
    """
    if header(scope, b"idempotency-key") is not None:
        raise FieldProblem(("Idempotency-Key", "Idempotency-Key: is kept for single decisions on /predict only"))


def json_body(scope: Scope) -> bytes:
    """Return the body, which the door has read.

    Raises
    ------
    HTTPException
        415 if it is not announced as JSON.
    """
    announced = header(scope, b"content-type") or b""
    if announced == _JSON:  # by far the most
        return bytes(scope["state"][BODY])
    kind = announced.partition(b";")[0].strip().lower()
    if kind != _JSON:
        named = kind[:64].decode("latin-1") or "untyped"
        raise HTTPException(status_code=415, detail=f"the body must be application/json, not {named}")
    return bytes(scope["state"][BODY])


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of a name, which is in lower case."""
    for given, value in scope["headers"]:
        if given == name:
            return value
    return None


def json_answer(body: bytes, *headers: tuple[bytes, bytes]) -> ASGIApp:
    """Return the ASGI application that answers 200 with JSON as it is: Litestar's responses take ten times as long."""
    return _whole(HTTPStatus.OK, body, (b"content-type", b"application/json"), *headers)


def problem_answer(error: Exception, scope: Scope) -> ASGIApp:
    """Return the ASGI application that answers an error as Litestar's handler of errors would."""
    status, given, body = problem_of(error, request_id(scope))
    headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    return _whole(status, body, (b"content-type", MEDIA_TYPE.encode()), *headers)


def _whole(status: HTTPStatus, body: bytes, *headers: tuple[bytes, bytes]) -> ASGIApp:
    message: Any = {
        "type": WHOLE,
        "status": status,
        "headers": (*headers, (b"content-length", b"%d" % len(body))),
        "body": body,
    }

    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(message)

    return answer
