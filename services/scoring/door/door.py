"""The door: what every request passes before Litestar sees it, and every answer after.

It is one plain ASGI callable, because each request pays for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from services.scoring import journal
from services.scoring.door.bodies import Bodies
from services.scoring.door.deadlines import Deadlines
from services.scoring.door.keys import KeyRing
from services.scoring.door.limits import Buckets
from services.scoring.door.policy import DoorPolicy
from services.scoring.door.scopes import OPEN, Directory, Entrance
from services.scoring.door.visit import SOON, Refusal, Visit
from services.scoring.metrics import Metrics
from services.scoring.problems import BODY, CLIENT

_logger = logging.getLogger(__name__)
NOWHERE = "-"
"""The route of a request that leads to none: its path could say anything."""
_PROBES = frozenset({"/health", "/health/live", "/health/ready", "/ping"})


class Door:
    """Let in who may come in, as the policy says.

    Parameters
    ----------
    app : ASGIApp
        What is behind it.
    directory : Directory
        Every path that leads there.
    keys : KeyRing
        Keys in force.
    metrics : Metrics
        Where answers are counted.
    straight : mapping
        By method and path template, what is called in place of the application, and answers errors by itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        directory: Directory,
        keys: KeyRing,
        policy: DoorPolicy,
        metrics: Metrics,
        straight: Mapping[tuple[str, str], ASGIApp] | None = None,
    ) -> None:
        self._app = app
        self._straight = straight or {}
        self._metrics = metrics
        self.directory = directory
        self._keys = keys
        self._policy = policy
        self._of_keys = Buckets()
        self._of_peers = Buckets()
        self._rate = policy.rate / policy.workers
        self._under_way = Deadlines()
        self._answering = 0
        self._bodies = Bodies(policy.room_for_bodies)
        self._hosts = frozenset(host.encode() for host in policy.hosts or ())

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request, or pass the lifespan on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = Visit(scope, send, self._policy.body_seconds)
        self._under_way.add(visit)
        try:
            await self._serve(visit, receive)
        except Refusal as refusal:
            if len(self._under_way) <= self._policy.in_flight:
                await visit.hear_out(receive)
            await visit.refuse(refusal)
        except Exception as error:
            _logger.error("request %s failed at the door", visit.request_id, exc_info=error)
            if visit.status:
                raise
            await visit.refuse(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of the service; the log has it"))
        finally:
            self._under_way.remove(visit)
            if visit.held:
                self._bodies.forget(visit)
            seconds = time.perf_counter() - visit.begun
            # Whoever else is answered in this turn of the event loop need not wait for it.
            asyncio.get_running_loop().call_soon(self._record, visit, seconds)

    async def _serve(self, visit: Visit, receive: Receive) -> None:
        policy = self._policy
        entrance = self._admit(visit)
        listening = visit.scope["method"] == "POST"
        counts = 0
        try:
            if listening:
                visit.scope["state"][BODY] = await self._bodies.hear(visit, receive, entrance.largest_body)
                listening = False
            if entrance.template not in _PROBES:
                if self._answering >= policy.in_flight:
                    raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service is busy; try again", SOON)
                counts = 1
                self._answering += 1
            visit.due = time.perf_counter() + policy.answer_seconds
            behind = self._straight.get((entrance.method, entrance.template), self._app)
            await behind(visit.scope, receive, visit.answer)
        except asyncio.CancelledError:
            if not visit.is_overdue or visit.task is None or visit.status:
                raise
            visit.task.uncancel()
            if listening:
                detail = f"the body was not there in {policy.body_seconds:g} s"
                raise Refusal(HTTPStatus.REQUEST_TIMEOUT, detail) from None
            detail = f"there was no answer in {policy.answer_seconds:g} s"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, detail, SOON) from None
        finally:
            self._answering -= counts

    def _record(self, visit: Visit, seconds: float) -> None:
        method = visit.scope["method"]
        route = visit.entrance.template if visit.entrance else NOWHERE
        self._metrics.answered(method, route, visit.status, seconds)
        if journal.is_told():
            line = {
                "request_id": visit.request_id,
                "method": method,
                "route": route,
                "status": visit.status,
                "ms": round(seconds * 1000, 3),
                "key": visit.key.id if visit.key else None,
                **visit.noted,
            }
            journal.tell(line)

    def _admit(self, visit: Visit) -> Entrance:
        scope, policy = visit.scope, self._policy
        path: str = scope["path"]
        if path[-1:] == "/" and len(path) > 1:
            path = scope["path"] = path[:-1]
        methods = self.directory.methods(path)
        entrance = visit.entrance = methods.get(scope["method"]) if methods else None
        if policy.hosts is not None and not self._is_ours(visit.headers.get(b"host", b"")):
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "this host name is not one that the service goes by: see `candor serve --allowed-host`",
            )
        if entrance is None or entrance.need != OPEN:
            self._check_key(visit, entrance)
        else:
            self._spend(self._of_peers, (visit.peer, OPEN), self._rate)
        if methods is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing at this path: see /docs")
        if entrance is None:
            allowed = ", ".join(sorted(methods))
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {allowed}", (b"allow", allowed.encode()))
        return entrance

    def _check_key(self, visit: Visit, entrance: Entrance | None) -> None:
        policy = self._policy
        if not policy.require_keys or (
            policy.open_invocations and entrance is not None and entrance.template == "/invocations"
        ):
            self._spend(self._of_peers, visit.peer, self._rate)
            return
        presented = _presented(visit.headers)
        key = self._keys.find(presented) if presented else None
        now = datetime.now(UTC)
        state = key.state(now) if key else "none of this service's" if presented else ""
        if key is None or state != "active":
            self._spend(self._of_peers, (visit.peer, "refused"), self._rate)
            detail = f"the API key is {state}" if state else "an API key is needed, in the header X-API-Key"
            raise Refusal(HTTPStatus.UNAUTHORIZED, detail, (b"www-authenticate", b'Bearer realm="candor"'))
        visit.key = key
        visit.scope["state"][CLIENT] = key.id
        self._spend(self._of_keys, key.id, self._rate if key.rate is None else key.rate / policy.workers)
        need = entrance.need if entrance else "any"
        if need != OPEN and not key.allows(need):
            raise Refusal(HTTPStatus.FORBIDDEN, f"the API key lacks the scope {need}")

    def _spend(self, buckets: Buckets, caller: Any, rate: float) -> None:
        wait = buckets.wait(caller, rate, time.monotonic()) if rate else 0.0
        if wait:
            seconds = str(math.ceil(wait))
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"more than {rate:g} requests a second; try again in {seconds} s",
                (b"retry-after", seconds.encode()),
            )

    def _is_ours(self, host: bytes) -> bool:
        # Only browsers can be led astray by a name, and they always send one.
        name = host[1:].partition(b"]")[0] if host.startswith(b"[") else host.partition(b":")[0]
        return not host or name.lower() in self._hosts


def _presented(headers: dict[bytes, bytes]) -> bytes:
    given = headers.get(b"x-api-key")
    if given is not None:
        return given
    scheme, _, rest = headers.get(b"authorization", b"").partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else b""
