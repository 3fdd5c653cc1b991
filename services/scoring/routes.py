"""The routes: each turns HTTP into a call of the service, and does nothing else."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from feature_repo.applicant_id import id_fault
from monitoring.decision_log import DecisionRecord
from services.scoring.errors import FieldProblem, NotReady, UnknownError
from services.scoring.exposition import CONTENT_TYPE, exposition
from services.scoring.many_routes import MANY
from services.scoring.metrics import Metrics
from services.scoring.notices.notice import Notice
from services.scoring.notices.render import MEDIA_TYPES, chosen_format, render
from services.scoring.problems import CLIENT
from services.scoring.replay import Replayed
from services.scoring.route_parts import UNAVAILABLE, json_answer, json_body, problem_answer, problems
from services.scoring.schemas import ApplicantFeatures, Decision, Health
from services.scoring.service import ScoringService

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="1 to 255 visible ASCII characters. The same request under the same key is answered with the "
        "first decision, and with Idempotency-Replayed: true.",
    ),
]
NoticeFormat = Annotated[
    str | None,
    QueryParameter(name="format", description="html, json or text; without it, the Accept header says which"),
]


@post(
    "/predict",
    status_code=200,
    tags=["decisions"],
    responses={200: ResponseSpec(Decision, False, "The decision")}
    | problems(
        s404="The store does not know the applicant, and the request brings no features",
        s409="The Idempotency-Key was used for another request",
        s413="The body is larger than 64 KiB",
        s415="The body is not announced as application/json",
        s422="The request is invalid; each error names its field",
        s503=UNAVAILABLE,
    ),
)
async def predict(
    scope: Scope, service: NamedDependency[ScoringService], idempotency_key: IdempotencyKey = None
) -> ASGIApp:
    """Decide on one loan request; the decision is in the log before it is answered."""
    answer = await service.decide(json_body(scope), client=scope["state"][CLIENT], key=idempotency_key)
    return json_answer(answer.body, *[(b"idempotency-replayed", b"true")] * answer.repeated)


def straight_to_predict(service: ScoringService) -> ASGIApp:
    """Return `predict` with what it takes: Litestar spends 25 µs on finding both out, for every request."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            keys = [value for name, value in scope["headers"] if name == b"idempotency-key"]
            if len(keys) > 1:
                raise FieldProblem(("Idempotency-Key", "Idempotency-Key: was given more than once"))
            answer = await predict.fn(scope, service, keys[0].decode("latin-1") if keys else None)
        except Exception as error:
            answer = problem_answer(error, scope)
        await answer(scope, receive, send)

    return call


@get(
    "/applicants/{applicant_id:str}/features",
    tags=["features"],
    responses=problems(s404="The store does not know the applicant", s422="The ID is invalid", s503=UNAVAILABLE),
)
async def applicant_features(
    applicant_id: FromPath[str], service: NamedDependency[ScoringService]
) -> ApplicantFeatures:
    """Tell what the store knows of an applicant, with event times and status."""
    fault = id_fault(applicant_id) or ("must be UTF-8" if "\ufffd" in applicant_id else "")
    if fault:
        raise FieldProblem(("applicant_id", f"applicant_id {fault}"))
    return await service.applicant(applicant_id)


@get(
    "/decisions/{decision_id:str}",
    tags=["decisions"],
    responses=problems(s404="The log does not hold the decision", s503=UNAVAILABLE),
)
async def decision_record(decision_id: FromPath[str], service: NamedDependency[ScoringService]) -> DecisionRecord:
    """Return the log's record of a decision: everything that it was made of."""
    return await service.decision(_decision_id(decision_id))


@post(
    "/decisions/{decision_id:str}/replay",
    status_code=200,
    tags=["decisions"],
    responses=problems(
        s404="The log does not hold the decision", s503="The log is not there, or the bundle that the decision cites"
    ),
)
async def replay_decision(decision_id: FromPath[str], service: NamedDependency[ScoringService]) -> Replayed:
    """Make a decision once more from its record and the bundle that it cites, and compare bit for bit."""
    return await service.replay(_decision_id(decision_id))


@get(
    "/decisions/{decision_id:str}/notice",
    tags=["decisions"],
    responses={200: ResponseSpec(Notice, False, "The notice; as text/html or text/plain where these are preferred")}
    | problems(
        s404="The log does not hold the decision",
        s422="There is no such format",
        s503="The log is not there, or the bundle that the decision cites, or the lender's details are wrong",
    ),
)
async def decision_notice(
    request: Request[Any, Any, Any],
    decision_id: FromPath[str],
    service: NamedDependency[ScoringService],
    form: NoticeFormat = None,
) -> Response[str]:
    """Return the notice that a decision calls for: adverse action, counter-offer, risk-based pricing, or none."""
    chosen = chosen_format(form, request.headers.get("accept", ""))
    notice = await service.notice(_decision_id(decision_id))
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Vary": "Accept"}
    return Response(render(notice, chosen), media_type=MEDIA_TYPES[chosen], headers=headers)


def _decision_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise UnknownError("a decision_id is a UUID") from None


@get(
    "/metrics",
    tags=["health"],
    responses={200: ResponseSpec(str, False, "Prometheus' text format", media_type="text/plain")},
)
async def prometheus(metrics: NamedDependency[Metrics]) -> Response[bytes]:
    """Tell Prometheus what all workers have counted."""
    return Response(exposition(metrics), headers={"Content-Type": CONTENT_TYPE})


@get("/health", tags=["health"])
async def health(service: NamedDependency[ScoringService]) -> Health:
    """Tell a person what the service stands on; 200 as long as it answers."""
    return await service.condition.health()


@get("/health/live", tags=["health"])
async def live() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "alive"}


@get("/health/ready", tags=["health"], responses=problems(s503="What is not there, by name"))
async def ready(service: NamedDependency[ScoringService]) -> Health:
    """Tell whether the service can decide."""
    found = await service.condition.health()
    faults = {name: result for name, result in found.checks.items() if result != "ok"}
    if faults:
        raise NotReady(faults)
    return found


HANDLERS = [
    predict,
    applicant_features,
    decision_record,
    replay_decision,
    decision_notice,
    *MANY,
    prometheus,
    health,
    live,
    ready,
]
