"""Which scope each route needs, in one table. What is not in it is not served."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from litestar import Litestar
from litestar.routes import HTTPRoute

from feature_repo.errors import InputError

Scope = Literal["decide", "read", "outcomes", "push", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OPEN: Literal["open"] = "open"
ANY: Literal["any"] = "any"
Need = Scope | Literal["open", "any"]
"""A scope; ``open``: no key at all; ``any``: whatever key. A key of scope admin opens every route."""

NEEDS: dict[tuple[str, str], Need] = {
    ("POST", "/predict"): "decide",
    ("POST", "/predict/batch"): "decide",
    ("GET", "/applicants/{applicant_id}/features"): "read",
    ("GET", "/decisions/{decision_id}"): "read",
    ("POST", "/decisions/{decision_id}/replay"): "read",
    ("GET", "/decisions/{decision_id}/notice"): "read",
    ("POST", "/outcomes"): "outcomes",
    ("GET", "/ping"): OPEN,
    ("POST", "/invocations"): "decide",
    ("GET", "/metrics"): "metrics",
    ("GET", "/health"): OPEN,
    ("GET", "/health/live"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/docs/assets/{name}"): OPEN,
    ("GET", "/schema"): OPEN,
    ("GET", "/schema/openapi.json"): OPEN,
    ("GET", "/schema/{path}"): OPEN,
}


@dataclass(frozen=True)
class Entrance:
    """What the door knows of one route and method.

    Parameters
    ----------
    template : str
        Path with its parameters by name; it is safe to log.
    largest_body : int
        Bytes.
    """

    method: str
    template: str
    need: Need
    largest_body: int


class Directory:
    """Find the entrance that a request asks for. Only what is found here reaches the application.

    Parameters
    ----------
    app : Litestar
        Its routes are listed once.
    needs : mapping
        Method and path template to need.

    Raises
    ------
    InputError
        If a route has no declared need.
    """

    def __init__(self, app: Litestar, needs: Mapping[tuple[str, str], Need] = NEEDS) -> None:
        self.entrances = tuple(_entrances(app, needs))
        self._fixed: dict[str, dict[str, Entrance]] = {}
        self._shapes: list[tuple[re.Pattern[str], dict[str, Entrance]]] = []
        by_template: dict[str, dict[str, Entrance]] = {}
        for entrance in self.entrances:
            by_template.setdefault(entrance.template, {})[entrance.method] = entrance
        for template, methods in by_template.items():
            if "{" in template:
                parts = re.split(r"\{\w+\}", template)
                self._shapes.append((re.compile("[^/]+".join(map(re.escape, parts)), re.DOTALL), methods))
            else:
                self._fixed[template] = methods

    def methods(self, path: str) -> Mapping[str, Entrance] | None:
        """Return the entrances of a path by method, or None if nothing is there."""
        found = self._fixed.get(path)
        if found is not None:
            return found
        return next((methods for shape, methods in self._shapes if shape.fullmatch(path)), None)


def _entrances(app: Litestar, needs: Mapping[tuple[str, str], Need]) -> Iterable[Entrance]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            raise InputError(f"route {route.path_format} is not HTTP: the door does not know how to guard it")
        for method, (handler, _) in route.route_handler_map.items():
            # Litestar answers OPTIONS by itself, with nothing but the methods of the path.
            need = ANY if method == "OPTIONS" else needs.get((method, route.path_format))
            if need is None:
                raise InputError(f"{method} {route.path_format} declares no scope: add it to {__name__}.NEEDS")
            yield Entrance(method, route.path_format, need, handler.resolve_request_max_body_size() or 0)
