"""The routes that take many at once: decisions in a batch, and what became of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp, Scope

from feature_repo.errors import InputError
from monitoring.outcomes import Outcome, Taken
from services.scoring.errors import FieldProblem
from services.scoring.loan_request import TOO_DEEP
from services.scoring.problems import input_problem, request_id
from services.scoring.route_parts import UNAVAILABLE, json_answer, json_body, no_key, problems
from services.scoring.schemas import Decision, Problem
from services.scoring.service import ScoringService

MOST = 1000
LARGEST_BODY = 4 * 1024 * 1024


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one request of a batch: a decision with status 200, or a problem with its own."""

    status: int
    decision: Decision | None = None
    problem: Problem | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """The answers to a batch, in the order of its requests."""

    results: tuple[BatchItem, ...]


class OutcomesAnswer(msgspec.Struct, frozen=True):
    """What was done with each outcome, in the order given."""

    results: tuple[Taken, ...]


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    requests: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MOST)]


class _Outcomes(msgspec.Struct, forbid_unknown_fields=True):
    outcomes: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MOST)]


class _Item(msgspec.Struct, omit_defaults=True):
    status: int
    decision: msgspec.Raw | None = None
    problem: msgspec.Raw | None = None


_batch = msgspec.json.Decoder(_Batch)
_outcomes = msgspec.json.Decoder(_Outcomes)
_outcome = msgspec.json.Decoder(Outcome)


@post(
    "/predict/batch",
    status_code=200,
    request_max_body_size=LARGEST_BODY,
    tags=["decisions"],
    responses={200: ResponseSpec(BatchAnswer, False, "A decision or a problem for each request")}
    | problems(
        s413="The body is larger than 4 MiB",
        s415="The body is not announced as application/json",
        s422='The body is not {"requests": [...]} with 1 to 1,000 requests',
        s503=UNAVAILABLE,
    ),
)
async def predict_batch(request: Request[Any, Any, Any], service: NamedDependency[ScoringService]) -> ASGIApp:
    """Decide on up to 1,000 requests, each as on a single one; all decisions are in the log before any is answered."""
    no_key(request.scope)
    bodies = [bytes(raw) for raw in read_body(_batch, json_body(request.scope)).requests]
    made = items(await service.decide_many(bodies), request.scope)
    return json_answer(msgspec.json.encode({"results": made}))


@post(
    "/outcomes",
    status_code=200,
    request_max_body_size=LARGEST_BODY,
    tags=["outcomes"],
    responses={200: ResponseSpec(OutcomesAnswer, False, "What was done with each outcome")}
    | problems(
        s413="The body is larger than 4 MiB",
        s415="The body is not announced as application/json",
        s422='The body is not {"outcomes": [...]} with 1 to 1,000 outcomes',
        s503="The log is not there; try again",
    ),
)
async def store_outcomes(request: Request[Any, Any, Any], service: NamedDependency[ScoringService]) -> ASGIApp:
    """Take up to 1,000 repayment outcomes; one that is refused does not keep the others back."""
    given: list[Outcome | str] = []
    for raw in read_body(_outcomes, json_body(request.scope)).outcomes:
        try:
            given.append(_outcome.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            given.append(str(error))
        except RecursionError:
            given.append(TOO_DEEP)
    taken = iter(await service.store_outcomes([one for one in given if isinstance(one, Outcome)]))
    results = [next(taken) if isinstance(one, Outcome) else Taken("refused", "", one) for one in given]
    return json_answer(msgspec.json.encode({"results": results}))


def items(made: Sequence[bytes | InputError], scope: Scope) -> list[Any]:
    """Return what many decisions are answered with, as `BatchItem` has it."""
    found: list[_Item] = []
    for one in made:
        if isinstance(one, InputError):
            status, body = input_problem(one, request_id(scope))
            found.append(_Item(status, problem=msgspec.Raw(body)))
        else:
            found.append(_Item(200, decision=msgspec.Raw(one)))
    return found


def read_body(decoder: Any, body: bytes) -> Any:
    """Return what a decoder makes of a body.

    Raises
    ------
    FieldProblem
        If it makes nothing of it.
    """
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:
        raise FieldProblem(("", "the body is not UTF-8")) from None
    except RecursionError:
        raise FieldProblem(("", TOO_DEEP)) from None
    except msgspec.DecodeError as error:
        raise FieldProblem(("", str(error))) from None


def many_of(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a body that holds a list under `name`."""
    items = {"type": "array", "minItems": 1, "maxItems": MOST, "items": schema}
    return {"type": "object", "properties": {name: items}, "required": [name], "additionalProperties": False}


def outcome_schema() -> dict[str, Any]:
    """Return the JSON Schema of one outcome."""
    _, parts = msgspec.json.schema_components([Outcome], ref_template="#/$defs/{name}")
    return dict(parts["Outcome"])


MANY = [predict_batch, store_outcomes]
