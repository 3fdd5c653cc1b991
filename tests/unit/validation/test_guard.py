from __future__ import annotations

import math
import subprocess
import sys
import time

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.contract import FeatureSpec
from tests.unit.validation.samples import AS_OF, spec
from validation.guard import Guard

SPECS = (
    spec("ratio", "number", low=0, high=5),
    spec("floor", "number", low=-1),
    spec("ceiling", "number", high=1e9),
    spec("free", "number"),
    spec("count", "count", low=0, high=100),
    spec("flag", "flag"),
    spec("home", "category", categories=("OWN", "RENT")),
)
GUARD = Guard(SPECS)

any_value = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 102),
    st.floats(),
    st.floats(-2, 7),
    st.sampled_from(["OWN", "RENT", "own", "", "5"]),
    st.text(max_size=3),
    st.sampled_from([10**400, -(10**400), 0.0, 5.0, 100.0, -1.0, 1e9, b"OWN", ["OWN"]]),
)


def naive(feature: FeatureSpec, value: object) -> str | None:
    """Say the same as the guard, one rule after the other."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    whole = isinstance(value, int) and not isinstance(value, bool)
    if feature.kind == "category":
        return "type" if not isinstance(value, str) else None if value in feature.categories else "category"
    if feature.kind == "flag":
        return None if isinstance(value, bool) else "type"
    if not whole and not isinstance(value, float):
        return "type"
    if abs(value) > sys.float_info.max:
        return "finite"
    if feature.kind == "count" and not whole and not value.is_integer():
        return "type"
    inside = (feature.low is None or value >= feature.low) and (feature.high is None or value <= feature.high)
    return None if inside else "range"


@given(st.dictionaries(st.sampled_from([feature.name for feature in SPECS] + ["unheard_of"]), any_value))
@settings(max_examples=500, deadline=None)
def test_it_says_what_a_naive_reading_of_the_contract_says(values):
    expected = [
        (feature.name, rule)
        for feature in SPECS
        if feature.name in values and (rule := naive(feature, values[feature.name]))
    ]
    assert [(violation.feature, violation.rule) for violation in GUARD.check(values)] == expected


def test_it_says_what_the_suite_of_a_table_says():
    from validation.evaluation import evaluate, findings
    from validation.suites import table_suite

    ratios = [-0.1, -0.0, 0.0, 4.999, 5.0, 5.001, math.inf, -math.inf, math.nan, 1e308]
    frame = pd.DataFrame(
        {
            "ratio": ratios,
            "floor": ratios,
            "ceiling": ratios,
            "free": ratios,
            "count": pd.array([-1, 0, 1, 99, 100, 101, 10**15, None, 50, 7], dtype="Int64"),
            "flag": pd.array([True, False, None] * 3 + [True], dtype="boolean"),
            "home": pd.array(["OWN", "RENT", None, "YURT", "", "own", "OWN", "OWN ", "RENT", None], dtype="string"),
        }
    )
    suite = table_suite("t", SPECS, as_of=AS_OF)
    suite.expectations = [
        e for e in suite.expectations if getattr(e, "column", "") in frame and "must" in e.meta["rule"]
    ]
    by_suite = {f.column: f.unexpected for f in findings("t", evaluate("t", frame, suite))}
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    by_guard: dict[str, int] = {}
    for row in rows:
        for violation in GUARD.check(row):
            by_guard[violation.feature] = by_guard.get(violation.feature, 0) + 1
    assert by_guard == by_suite
    assert by_suite.keys() == {"ratio", "floor", "ceiling", "free", "count", "home"}


def test_messages_name_the_feature_and_never_the_value():
    values = {"ratio": 77.125, "count": 3.5, "flag": "yes", "home": "YURT", "free": math.inf, "floor": -9}
    assert [violation.message for violation in GUARD.check(values)] == [
        "ratio must be between 0 and 5 (ratio)",
        "floor must be finite and at least -1 (ratio)",
        "free must be finite",
        "count must be a whole number",
        "flag must be true or false",
        "home must be one of OWN, RENT",
    ]


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_value_is_not_its_business(missing):
    assert GUARD.check({feature.name: missing for feature in SPECS}) == ()


def test_a_request_of_35_features_takes_less_than_20_microseconds():
    guard = Guard(
        [
            spec(f"{feature.name}_{i}", feature.kind, low=feature.low, high=feature.high, categories=feature.categories)
            for i in range(5)
            for feature in SPECS
        ]
    )
    sound = {"ratio": 1.5, "floor": 0.0, "ceiling": 2.0, "free": 3.0, "count": 4, "flag": True, "home": "OWN"}
    values = {f"{name}_{i}": value for i in range(5) for name, value in sound.items()}
    assert guard.check(values) == ()

    def seconds(repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            guard.check(values)
        return (time.perf_counter() - start) / repeats

    assert min(seconds(500) for _ in range(20)) < 20e-6


def test_it_brings_in_nothing_heavy():
    heavy = "{'great_expectations', 'pandas', 'numpy', 'feast', 'duckdb'}"
    code = f"import sys, validation.guard; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
