"""The OpenAPI page at /docs, whole without the Internet: Swagger UI from an installed package."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import FromPath
from litestar.response import File

from services.scoring.door.scopes import NEEDS, OPEN
from services.scoring.many_routes import many_of, outcome_schema
from services.scoring.problems import MEDIA_TYPE

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Candor</title>
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<style>body { margin: 0 }</style>
</head>
<body>
<div id="docs"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"""
_START = """\
SwaggerUIBundle({url: "/schema/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null})
"""
# Swagger UI sets styles on elements; scripts come from files only
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_REFUSALS = {
    "401": "No API key, or one that is revoked, expired or not of this service",
    "403": "The API key lacks the scope, or the service does not go by this host name",
    "429": "Too many requests a second",
    "503": "Too many requests are under way",
}


class ContractSchema(JsonRenderPlugin):
    """The OpenAPI document, with the request body that the model in service takes.

    Parameters
    ----------
    body_schema : callable
        Returns the JSON Schema of a request body now.
    """

    def __init__(self, body_schema: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._body_schema = body_schema

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document as JSON."""
        document: dict[str, Any] = _any_of(openapi_schema)
        body = self._body_schema()
        for path, schema in (
            ("/predict", body),
            ("/invocations", {"anyOf": [body, many_of("instances", body)]}),
            ("/predict/batch", many_of("requests", body)),
            ("/outcomes", many_of("outcomes", outcome_schema())),
        ):
            content = {"application/json": {"schema": schema}}
            document["paths"][path]["post"]["requestBody"] = {"content": content, "required": True}
        _tell_of_the_door(document)
        return super().render(request, document)


def _any_of(part: Any) -> Any:
    """Return a copy in which a union takes what more than one of its members take, as 3 is both int and float."""
    if isinstance(part, dict):
        return {"anyOf" if name == "oneOf" else name: _any_of(value) for name, value in part.items()}
    return [_any_of(item) for item in part] if isinstance(part, list) else part


def _tell_of_the_door(document: dict[str, Any]) -> None:
    """Add what the door may answer, and the scope that each route needs."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["ApiKey"] = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            need = NEEDS[method.upper(), path]
            for status, description in _REFUSALS.items():
                if need != OPEN or status != "401":
                    operation["responses"].setdefault(status, {"description": description, "content": content})
            if method == "post":
                late = {"description": "The body was not there in time", "content": content}
                operation["responses"].setdefault("408", late)
            if need != OPEN:
                operation["security"] = [{"ApiKey": []}]
                said = operation.get("description", "")
                operation["description"] = f"{said} Scope: `{need}`.".strip()


def _folder() -> Path:
    package = find_spec("swagger_ui")  # found, not imported: it brings handlers for other frameworks
    if package is None or not package.submodule_search_locations:
        raise NotFoundException(detail="the Swagger UI package is not installed; /schema/openapi.json is there")
    return Path(package.submodule_search_locations[0]) / "static"


@get("/", include_in_schema=False, media_type="text/html")
async def page() -> Response[str]:
    """Return the page; its security policy lets the browser load nothing from elsewhere."""
    return Response(_PAGE, headers={"Content-Security-Policy": _POLICY})


@get("/assets/{name:str}", include_in_schema=False)
async def asset(name: FromPath[str]) -> File | Response[str]:
    """Return one file that the page names."""
    if name == "start.js":
        return Response(_START, media_type="text/javascript")
    if name not in _ASSETS:
        raise NotFoundException(detail=f"no asset {name!r}")
    return File(_folder() / name, filename=name, content_disposition_type="inline")


docs_router = Router("/docs", route_handlers=[page, asset])
