"""The plausibility check of one request: the contract's types, ranges and categories in plain Python.

It runs on the way to every decision, so it knows nothing of Great Expectations, pandas or Feast; the
suites of `validation.suites` ask the same of whole tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from feature_repo.contract import FeatureSpec, Kind

Rule = Literal["type", "finite", "range", "category"]
_EXPECTED: dict[Kind, str] = {
    "number": "must be a number",
    "count": "must be a whole number",
    "flag": "must be true or false",
    "category": "must be a text",
}
_USUAL: dict[Kind, type] = {"number": float, "count": int, "flag": bool, "category": str}
_LARGEST = sys.float_info.max


class Violation(msgspec.Struct, frozen=True):
    """One value that the contract does not allow.

    Parameters
    ----------
    feature : str
        Name of the feature.
    rule : {"type", "finite", "range", "category"}
        Rule that it breaks; a value breaks at most one, in this order.
    message : str
        What is expected, without the value itself.
    level : {"critical", "warning"}
        Level of the same rule in the suites.
    """

    feature: str
    rule: Rule
    message: str
    level: Literal["critical", "warning"] = "critical"


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


class Guard:
    """Check the values of one request against the contract.

    Parameters
    ----------
    specs : iterable of FeatureSpec
        Features to check; a value under any other name is not looked at.

    Examples
    --------
    >>> spec = FeatureSpec(name="credit_utilization", view="credit_bureau", kind="number",
    ...                    description="", unit="ratio", low=0, high=5)
    >>> guard = Guard([spec])
    >>> guard.check({"credit_utilization": 0.3})
    ()
    >>> guard.check({"credit_utilization": 7.0})[0].message
    'credit_utilization must be between 0 and 5 (ratio)'
    """

    def __init__(self, specs: Iterable[FeatureSpec]) -> None:
        self._sound: list[tuple[FeatureSpec, str, type, Any, Any, frozenset[str]]] = [
            (
                spec,
                spec.name,
                _USUAL[spec.kind],
                -_LARGEST if spec.low is None else spec.low,
                _LARGEST if spec.high is None else spec.high,
                frozenset(spec.categories),
            )
            for spec in specs
        ]

    def check(self, values: Mapping[str, object]) -> tuple[Violation, ...]:
        """Return what is wrong with a request's values, empty if nothing is.

        Parameters
        ----------
        values : mapping of str to object
            Python values by feature name. None and NaN mean that a value is missing, which is the
            model's business, not the guard's. A whole number may come as a float.

        Returns
        -------
        tuple of Violation
            In the order of the contract, at most one per feature.
        """
        violations = []
        for spec, name, usual, low, high, categories in self._sound:
            value: Any = values.get(name)
            if value is None:
                continue
            # Nearly every value is of its usual type and sound: what follows is for the others.
            if value.__class__ is usual and (value in categories if usual is str else low <= value <= high):
                continue
            if rule := _broken(spec, value):
                violations.append(Violation(name, rule, f"{name} {_expected(spec, rule)}"))
        return tuple(violations)


def _broken(spec: FeatureSpec, value: Any) -> Rule | None:
    if value != value:
        return None
    if spec.kind == "category":
        if not isinstance(value, str):
            return "type"
        return None if value in spec.categories else "category"
    if spec.kind == "flag":
        return None if isinstance(value, bool) else "type"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "type"
    if not -_LARGEST <= value <= _LARGEST:
        return "finite"
    if spec.kind == "count" and value != value // 1:
        return "type"
    below = spec.low is not None and value < spec.low
    above = spec.high is not None and value > spec.high
    return "range" if below or above else None


def _expected(spec: FeatureSpec, rule: Rule) -> str:
    if rule == "type":
        return _EXPECTED[spec.kind]
    if rule == "finite":
        return "must be finite"
    if rule == "category":
        return f"must be one of {', '.join(spec.categories)}"
    return range_rule(spec)
