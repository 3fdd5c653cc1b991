"""What the contract asks of single values, as plain Great Expectations configurations.

They are data, so that the scoring service reads them without Great Expectations: the suites of tables and frames
(`validation.suites`) and the guard of a request (`validation.guard`) are made from the same ones. Beside type,
arguments and severity each carries ``meta``:

``level``
    ``"critical"`` closes a gate, ``"warning"`` is only reported.
``stage``
    When `validation.evaluation` runs it.
``rule``
    The same in words, for the one line that a person reads.
``code``
    Name of the rule in a decision's violations.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from feature_repo.contract import FeatureSpec, Kind

Level = Literal["critical", "warning"]
Stage = Literal["schema", "values", "filled"]
Code = Literal["type", "finite", "range", "category", "null", "pattern", "length", "pair"]

LARGEST = sys.float_info.max
REQUEST = "request"
_TYPES: dict[Kind, tuple[list[str], str]] = {
    "number": (["float", "int"], "must be a number"),
    "count": (["int"], "must be a whole number"),
    "flag": (["bool"], "must be true or false"),
    "category": (["str"], "must be a text"),
}


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation in Great Expectations' own JSON; what the guard has no use for is not kept.

    Parameters
    ----------
    type : str
        Kind, for example ``"expect_column_values_to_be_between"``.
    kwargs, meta : dict
        Its arguments, and what is noted beside them.
    severity : {"critical", "warning", "info"}
        A critical one closes a gate.
    """

    type: str
    kwargs: dict[str, Any]
    meta: dict[str, Any] | None = None
    severity: Literal["critical", "warning", "info"] = "critical"


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A named list of expectations, as Great Expectations writes it."""

    name: str
    expectations: tuple[Expectation, ...]


def remarks(
    rule: str, *, level: Level = "critical", stage: Stage = "values", code: Code | None = None
) -> dict[str, Any]:
    """Return severity and meta of an expectation, as keyword arguments."""
    meta = {"level": level, "stage": stage, "rule": rule} | ({"code": code} if code else {})
    return {"severity": level, "meta": meta}


def request_suite(specs: Iterable[FeatureSpec]) -> Suite:
    """Return what is asked of the values of one request: type, finiteness, range or category of each feature.

    Parameters
    ----------
    specs : iterable of FeatureSpec
        Features of the contract; of each, the expectations are in the order in which they are judged.
    """
    return Suite(name=REQUEST, expectations=tuple(found for spec in specs for found in _of_value(spec)))


def plausible(spec: FeatureSpec) -> Expectation | None:
    """Return the range or the categories of one feature; None for a flag."""
    if spec.categories:
        return _category(spec)
    return _range(spec) if spec.kind in ("number", "count") else None


def range_rule(spec: FeatureSpec) -> str:
    """Say a numeric feature's plausible range in words, for example ``must be between 0 and 5 (ratio)``."""
    low, high = (None if bound is None else f"{bound:,.12g}" for bound in (spec.low, spec.high))
    if low is None and high is None:
        return "must be finite"
    if high is None:
        return f"must be finite and at least {low} ({spec.unit})"
    if low is None:
        return f"must be finite and at most {high} ({spec.unit})"
    return f"must be between {low} and {high} ({spec.unit})"


def _of_value(spec: FeatureSpec) -> list[Expectation]:
    types, rule = _TYPES[spec.kind]
    arguments = {"column": spec.name, "type_list": types}
    found = [
        Expectation(type="expect_column_values_to_be_in_type_list", kwargs=arguments, **remarks(rule, code="type"))
    ]
    if spec.kind == "category":
        return [*found, _category(spec)]
    if spec.kind == "flag":
        return found
    found.append(_between(spec.name, -LARGEST, LARGEST, remarks("must be finite", code="finite")))
    return found if spec.low is None and spec.high is None else [*found, _range(spec)]


def _category(spec: FeatureSpec) -> Expectation:
    allowed = list(spec.categories)
    return Expectation(
        type="expect_column_values_to_be_in_set",
        kwargs={"column": spec.name, "value_set": allowed},
        **remarks(f"must be one of {', '.join(allowed)}", code="category"),
    )


def _range(spec: FeatureSpec) -> Expectation:
    # The largest finite double stands for a missing bound: this is what refuses infinities.
    low = -LARGEST if spec.low is None else spec.low
    high = LARGEST if spec.high is None else spec.high
    return _between(spec.name, low, high, remarks(range_rule(spec), code="range"))


def _between(column: str, low: float, high: float, noted: dict[str, Any]) -> Expectation:
    kwargs = {"column": column, "min_value": low, "max_value": high}
    return Expectation(type="expect_column_values_to_be_between", kwargs=kwargs, **noted)
