"""The SageMaker container contract over the same decision.

References
----------
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from services.scoring.many_routes import LARGEST_BODY, MOST, BatchItem, items, read_body
from services.scoring.problems import CLIENT
from services.scoring.route_parts import UNAVAILABLE, json_answer, json_body, no_key, problems
from services.scoring.routes import ready
from services.scoring.schemas import Decision
from services.scoring.service import ScoringService


class Predictions(msgspec.Struct, frozen=True):
    """The answers to many requests, in their order."""

    predictions: tuple[BatchItem, ...]


class _Instances(msgspec.Struct):
    instances: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MOST)]


class _Keys(msgspec.Struct):
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_ANSWER: Any = Decision | Predictions
_instances = msgspec.json.Decoder(_Instances)
_keys = msgspec.json.Decoder(_Keys)


@get("/ping", tags=["sagemaker"], responses=problems(s503="What is not there, by name"))
async def ping(service: NamedDependency[ScoringService]) -> dict[str, str]:
    """Tell SageMaker whether the service can decide."""
    await ready.fn(service)
    return {"status": "ok"}


@post(
    "/invocations",
    status_code=200,
    request_max_body_size=LARGEST_BODY,
    tags=["sagemaker"],
    responses={200: ResponseSpec(_ANSWER, False, "The decision, or a list of them")}
    | problems(
        s404="The store does not know the applicant, and the request brings no features",
        s413="The body is larger than 4 MiB",
        s415="The body is not announced as application/json",
        s422="The request is invalid; each error names its field",
        s503=UNAVAILABLE,
    ),
)
async def invocations(request: Request[Any, Any, Any], service: NamedDependency[ScoringService]) -> ASGIApp:
    """Decide on one request as `/predict` does, or on ``{"instances": [...]}`` of up to 1,000."""
    no_key(request.scope)
    body = json_body(request.scope)
    if not _is_many(body):
        answer = await service.decide(body, client=request.scope["state"][CLIENT])
        return json_answer(answer.body)
    bodies = [bytes(raw) for raw in read_body(_instances, body).instances]
    made = items(await service.decide_many(bodies), request.scope)
    return json_answer(msgspec.json.encode({"predictions": made}))


def _is_many(body: bytes) -> bool:
    try:
        return _keys.decode(body).instances is not msgspec.UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # what is wrong with it, the way of a single request says


SAGEMAKER = [ping, invocations]
