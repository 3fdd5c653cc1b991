"""A request for a decision: its shape follows from the contract, so that any feature can be given inline."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from feature_repo.applicant_id import id_fault
from feature_repo.contract import Contract, FeatureSpec, Kind
from feature_repo.errors import InputError
from feature_repo.stores.stored import Scalar
from services.scoring.errors import FieldProblem
from services.scoring.policy import Policy
from services.scoring.pricing import to_cents
from validation.guard import Guard

TOO_DEEP = "the body is nested too deeply"
_TYPES: dict[Kind, Any] = {"number": float, "count": int, "flag": bool, "category": str}
_AGE = FeatureSpec(
    name="age",
    view="request",
    kind="count",
    description="Age of the applicant; only says whether the applicant is of legal age, and no model reads it",
    unit="years",
    low=0,
    high=130,
)
_PURCHASE = frozenset({"applicant_id", "purchase_amount", "term_months"})
WITHOUT_A_MODEL = {
    "type": "object",
    "title": "PredictRequest",
    "description": "Any feature of the contract may be given too; they are listed once a model is in service.",
    "properties": {
        "applicant_id": {"type": "string"},
        "purchase_amount": {"type": "number"},
        "term_months": {"type": "integer"},
    },
    "required": ["applicant_id", "purchase_amount"],
}
_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_NAMED = re.compile(r"^Object (?:contains unknown|missing required) field `([^`]*)`$")


class LoanRequest(msgspec.Struct, frozen=True, gc=False):
    """A valid request.

    Parameters
    ----------
    amount : int
        Purchase to be financed, cents.
    given : dict
        Features given inline, None where the request says that there is no value; age is here as
        ``of_legal_age``. `purchase_amount` and `term_months` are always among them.
    brings_features : bool
        Whether `given` tells the model anything of the applicant, beyond the purchase.
    asked : dict
        The request as it came, for the log.
    """

    applicant_id: str
    amount: int
    term_months: int
    given: dict[str, Scalar | None]
    brings_features: bool
    asked: dict[str, Any]


class RequestReader:
    """Read requests by the contract and the policy of one bundle.

    Raises
    ------
    InputError
        If the contract does not know what is asked for: an amount and a term.
    """

    def __init__(self, contract: Contract, policy: Policy) -> None:
        specs = [spec for spec in contract.features if spec not in contract.on_demand]
        if not {"purchase_amount", "term_months"} <= {spec.name for spec in contract.request}:
            raise InputError(f"service {contract.service!r} has no purchase_amount and term_months in its request")
        self._policy = policy
        self._guard = Guard([*specs, _AGE])
        self._purchase_guard = Guard([spec for spec in specs if spec.name in _PURCHASE])
        self._has_legal_age = any(spec.name == "of_legal_age" for spec in specs)
        self._applicant_features = {s.name for s in specs if s.role == "model" and s not in contract.request}
        self._type = request_type([*specs, _AGE])
        self._decoder = msgspec.json.Decoder(self._type)

    def read(self, body: bytes) -> LoanRequest:
        """Read a JSON body.

        Raises
        ------
        FieldProblem
            If it is not JSON, or a field is unknown, missing, of another type or implausible.
        """
        try:
            asked = self._decoder.decode(body)
        except UnicodeDecodeError:
            raise FieldProblem(("", "the body is not UTF-8")) from None
        except RecursionError:
            raise FieldProblem(("", TOO_DEEP)) from None
        except msgspec.ValidationError as error:
            raise FieldProblem(_located(str(error))) from None
        except msgspec.DecodeError as error:
            raise FieldProblem(("", str(error))) from None
        return self._checked(msgspec.to_builtins(asked))  # without what is not set

    def _checked(self, asked: dict[str, Any]) -> LoanRequest:
        says_no_more = asked.keys() <= _PURCHASE  # as most do
        guard = self._purchase_guard if says_no_more else self._guard
        problems = [(item.feature, item.message) for item in guard.check(asked)]
        if fault := id_fault(asked["applicant_id"]):
            problems.append(("applicant_id", f"applicant_id {fault}"))
        given = {name: value for name, value in asked.items() if name not in ("applicant_id", "age")}
        if asked.get("age") is not None and self._has_legal_age:
            of_age = asked["age"] >= self._policy.legal.age
            if given.get("of_legal_age") not in (None, of_age):
                problems.append(("of_legal_age", "of_legal_age contradicts age"))
            given["of_legal_age"] = of_age
        if problems:
            raise FieldProblem(*problems)
        amount = to_cents(asked["purchase_amount"])
        term = asked.get("term_months")
        term = self._policy.request.default_term_months if term is None else term
        given |= {"purchase_amount": amount / 100, "term_months": term}
        brings = not says_no_more and any(
            value is not None and name in self._applicant_features for name, value in given.items()
        )
        return LoanRequest(asked["applicant_id"], amount, term, given, brings, asked)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a request body."""
        (schema,), parts = msgspec.json.schema_components([self._type], ref_template="#/$defs/{name}")
        return dict(parts["PredictRequest"]) if "$ref" in schema else dict(schema)


def request_type(specs: list[FeatureSpec]) -> type[msgspec.Struct]:
    """Return the type of a request body: an ID, an amount, and any feature that is not derived."""
    fields: list[Any] = [("applicant_id", Annotated[str, Meta(description="Join key of the applicant in the store")])]
    optional: list[Any] = []
    annotated: Any = Annotated  # built at run time, which no type checker follows
    for spec in specs:
        hints: dict[str, Any] = {"minimum": spec.low, "maximum": spec.high, "enum": list(spec.categories) or None}
        meta = Meta(
            description=f"{spec.description} ({spec.unit})",
            extra_json_schema={name: value for name, value in hints.items() if value is not None},
        )
        kind = annotated[_TYPES[spec.kind], meta]
        if spec.name == "purchase_amount":
            fields.append((spec.name, kind))
        else:
            optional.append((spec.name, kind | None | UnsetType, UNSET))
    return msgspec.defstruct("PredictRequest", fields + optional, kw_only=True, forbid_unknown_fields=True)


def _located(text: str) -> tuple[str, str]:
    """Split msgspec's message into field and message."""
    if named := _NAMED.match(text):
        verb = "is not a known field" if "unknown" in text else "is required"
        return named[1][:64], f"{named[1][:64]} {verb}"
    at = _AT.search(text)
    return (at[1][:64], f"{at[1][:64]}: {text[: at.start()]}") if at else ("", text)
