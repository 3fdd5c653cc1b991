"""What the routes share: how they document their problems, and what they ask of a body."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec

from services.scoring.problems import MEDIA_TYPE
from services.scoring.schemas import Problem

UNAVAILABLE = "The store, the log or the model is not there; try again"


def problems(**statuses: str) -> dict[int, ResponseSpec]:
    """Return the OpenAPI entries of problems, given as ``s404="What it means"``."""
    return {
        int(status.removeprefix("s")): ResponseSpec(Problem, False, description, MEDIA_TYPE)
        for status, description in statuses.items()
    }


def require_json(request: Request[Any, Any, Any]) -> None:
    """Refuse a body that is not announced as JSON.

    Raises
    ------
    HTTPException
        415.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(status_code=415, detail=f"the body must be application/json, not {kind[:64] or 'untyped'}")
