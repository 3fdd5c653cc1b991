"""The one place where an error becomes an answer: problem details after RFC 9457."""

from __future__ import annotations

import logging
import re
import secrets
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Message, Scope

from feature_repo.errors import InputError, UnavailableError
from services.scoring.errors import ConflictError, FieldProblem, NotReady, UnknownError
from services.scoring.schemas import Problem, ProblemItem

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER = {"Retry-After": "1"}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_logger = logging.getLogger(__name__)


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an error: what was wrong with the request, what is not there, or no more than that it failed."""
    headers: dict[str, str] = {}
    items: tuple[ProblemItem, ...] = ()
    detail = str(error)
    if isinstance(error, UnknownError):
        status = HTTPStatus.NOT_FOUND
    elif isinstance(error, ConflictError):
        status = HTTPStatus.CONFLICT
    elif isinstance(error, InputError):
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        if isinstance(error, FieldProblem):
            items = tuple(ProblemItem(field, message) for field, message in error.problems)
    elif isinstance(error, UnavailableError):
        status, headers = HTTPStatus.SERVICE_UNAVAILABLE, _RETRY_AFTER
        if isinstance(error, NotReady):
            items = tuple(ProblemItem(name, message) for name, message in error.faults.items())
    elif isinstance(error, HTTPException) and error.status_code < 500:
        status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
        detail = error.detail
    else:
        status, detail = HTTPStatus.INTERNAL_SERVER_ERROR, "an error of the service; the log has it under request_id"
        _logger.error("request %s failed", request_id(request.scope), exc_info=error)
    problem = Problem(
        type=f"urn:candor:problem:{status.phrase.lower().replace(' ', '-')}",
        title=status.phrase,
        status=status,
        detail=detail,
        request_id=request_id(request.scope),
        errors=items,
    )
    return Response(msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def request_id(scope: Scope) -> str:
    """Return the ID of a request: the caller's, if it is a tame one, or a new one."""
    state: dict[str, Any] = scope["state"]
    if "request_id" not in state:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        state["request_id"] = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    return str(state["request_id"])


async def echo_request_id(message: Message, scope: Scope) -> None:
    """Put the request's ID into every answer."""
    if message["type"] == "http.response.start":
        message["headers"] = [*message["headers"], (b"x-request-id", request_id(scope).encode())]
