"""The one place where an error becomes an answer: problem details after RFC 9457."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope

from feature_repo.errors import InputError, UnavailableError
from services.scoring.errors import ConflictError, FieldProblem, NotReady, UnknownError
from services.scoring.schemas import Problem, ProblemItem

REQUEST_ID = "request_id"
CLIENT = "client"
BODY = "body"
"""What the door leaves in the ASGI state: ID of the request, ID of the API key (empty without one), body of a POST."""
WHOLE = "http.response.whole"
"""Type of an ASGI message that is a whole answer: `status`, `headers` and `body`. In the state, what writes one."""
MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER = {"Retry-After": "1"}
_TAME = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_PROCESS = secrets.token_hex(5)
_NUMBERS = itertools.count()
_logger = logging.getLogger(__name__)


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an error under Litestar: what `problem_of` says."""
    status, headers, body = problem_of(error, request_id(request.scope))
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def problem_of(error: Exception, request: str) -> tuple[HTTPStatus, dict[str, str], bytes]:
    """Return status, headers and body: what is wrong with a request, what is not there, or no more than that it failed.

    Parameters
    ----------
    request : str
        ID of the request.
    """
    headers: dict[str, str] = {}
    items: tuple[ProblemItem, ...] = ()
    detail = str(error)
    if isinstance(error, InputError):
        status, items = _told(error)
    elif isinstance(error, UnavailableError):
        status, headers = HTTPStatus.SERVICE_UNAVAILABLE, _RETRY_AFTER
        if isinstance(error, NotReady):
            items = tuple(ProblemItem(name, message) for name, message in error.faults.items())
    elif isinstance(error, HTTPException) and error.status_code < 500:
        status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
        detail = error.detail
    else:
        status, detail = HTTPStatus.INTERNAL_SERVER_ERROR, "an error of the service; the log has it under request_id"
        _logger.error("request %s failed", request, exc_info=error)
    return status, headers, problem(status, detail, request, items)


def input_problem(error: InputError, request: str) -> tuple[HTTPStatus, bytes]:
    """Return status and body for one wrong request among several.

    Parameters
    ----------
    request : str
        ID of the HTTP request that all of them came in.
    """
    status, items = _told(error)
    return status, problem(status, str(error), request, items)


def _told(error: InputError) -> tuple[HTTPStatus, tuple[ProblemItem, ...]]:
    if isinstance(error, UnknownError):
        return HTTPStatus.NOT_FOUND, ()
    if isinstance(error, ConflictError):
        return HTTPStatus.CONFLICT, ()
    problems = error.problems if isinstance(error, FieldProblem) else ()
    return HTTPStatus.UNPROCESSABLE_ENTITY, tuple(ProblemItem(field, message) for field, message in problems)


def problem(status: HTTPStatus, detail: str, request: str, items: tuple[ProblemItem, ...] = ()) -> bytes:
    """Return the body of an error.

    Parameters
    ----------
    request : str
        ID of the request.
    """
    return msgspec.json.encode(
        Problem(
            type=f"urn:candor:problem:{status.phrase.lower().replace(' ', '-')}",
            title=status.phrase,
            status=status,
            detail=detail,
            request_id=request,
            errors=items,
        )
    )


def request_id(scope: Scope) -> str:
    """Return the ID of a request, which the door gave it."""
    return str(scope["state"][REQUEST_ID])


def tame_id(given: bytes | None) -> str:
    """Return a caller's ID for a request, if it is a tame one, or a new one."""
    return given.decode() if given and _TAME.fullmatch(given) else f"{_PROCESS}{next(_NUMBERS):08x}"
