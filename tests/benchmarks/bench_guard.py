"""The guard of a request: what a suite compiled to one function costs, beside Great Expectations on one row.

``python -m tests.benchmarks guard``; the promise is at most 10 microseconds for 40 expectations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import great_expectations as gx
import msgspec
import pandas as pd

from feature_repo.contract import FeatureSpec
from feature_repo.home import Home
from feature_repo.registry import request_specs, table_specs
from validation.evaluation import validate
from validation.guard import Guard
from validation.rules import Suite, request_suite

PROMISED = 40


def run() -> list[dict[str, Any]]:
    """Return microseconds a request: of 40 expectations, of the whole contract, and where every value is wrong."""
    home = Home.resolve()
    specs = [spec for specs in table_specs(home).values() for spec in specs] + list(request_specs(home))
    whole = request_suite(specs)
    forty = Suite(name=whole.name, expectations=whole.expectations[:PROMISED])
    sound, wrong = ({spec.name: value(spec) for spec in specs} for value in (_sound, _wrong))
    begun = time.perf_counter()
    guard = Guard.of_suite(whole)
    made = time.perf_counter() - begun
    few = Guard.of_suite(forty)
    assert guard.check(sound) == ()
    assert len(guard.check(wrong)) == len(specs)
    row = pd.DataFrame([sound])
    expectations = gx.ExpectationSuite(**msgspec.to_builtins(forty)).expectations
    slow = _least(lambda: validate("row", row, expectations), 1, 5)
    return [
        _row("compiled, all met", forty, us := _least(lambda: few.check(sound)), slow / us),
        _row("compiled, the whole contract, all met", whole, _least(lambda: guard.check(sound))),
        _row("compiled, the whole contract, every value wrong", whole, _least(lambda: guard.check(wrong))),
        _row("Great Expectations, one row", forty, slow),
        _row("to compile it, once a bundle", whole, made * 1e6),
    ]


def _row(name: str, suite: Suite, us: float, faster: float | None = None) -> dict[str, Any]:
    return {"name": name, "expectations": len(suite.expectations), "us": us, "times faster": faster}


def _least(work: Callable[[], object], number: int = 2000, repeats: int = 25) -> float:
    """Return the microseconds of one call in the quickest of several rounds: the machine is shared."""
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        for _ in range(number):
            work()
        spent.append((time.perf_counter() - begun) / number * 1e6)
    return min(spent)


def _sound(spec: FeatureSpec) -> object:
    if spec.kind in ("category", "flag"):
        return spec.categories[0] if spec.categories else True
    value = spec.low if spec.low is not None else 0.0
    return int(value) + 1 if spec.kind == "count" else value + 0.5


def _wrong(spec: FeatureSpec) -> object:
    return {"category": "no such value", "flag": 2, "count": -1, "number": float("inf")}[spec.kind]
