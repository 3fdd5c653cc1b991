from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import great_expectations as gx
import msgspec
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.contract import FeatureSpec
from feature_repo.errors import InputError
from tests.unit.validation.samples import AS_OF, spec
from validation.evaluation import evaluate, findings, validate
from validation.guard import Guard
from validation.guard_source import SUPPORTED
from validation.rules import Expectation, Suite, request_suite
from validation.suites import table_suite

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
    if not whole and (feature.kind == "count" or not isinstance(value, float)):
        return "type"
    if abs(value) > sys.float_info.max:
        return "finite"
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


# Whole numbers stay within 2^53: beyond it pandas compares them as floats, and Python exactly.
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.integers(-3, 5),
    st.floats(),
    st.floats(-3, 5),
    st.sampled_from(["OWN", "RENT", "own", "", "5", "3.0", "äö", math.nan, math.inf, -math.inf, -0.0]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
)
bounds = st.one_of(st.integers(-3, 5), st.floats(-3, 5))
sets = st.one_of(
    st.lists(st.sampled_from(["OWN", "RENT", "", "5"]), max_size=3), st.lists(st.sampled_from([0, 1, 2.5, 3]))
)
patterns = st.sampled_from(["^OWN$", "3", r"^-?\d+$", "", "T.*e", "inf"])
types = st.sampled_from(["float", "int", "bool", "str"])


@st.composite
def between(draw: Any) -> dict[str, Any]:
    low, high = draw(st.one_of(st.none(), bounds)), draw(st.one_of(st.none(), bounds))
    if low is None and high is None:
        low = 0
    if low is not None and high is not None and low > high:
        low, high = high, low
    return {"min_value": low, "max_value": high, "strict_min": draw(st.booleans()), "strict_max": draw(st.booleans())}


lengths = st.builds(lambda low, more: {"min_value": low, "max_value": low + more}, st.integers(0, 4), st.integers(0, 3))
ARGUMENTS: dict[str, Any] = {
    "expect_column_values_to_not_be_null": st.just({}),
    "expect_column_values_to_be_null": st.just({}),
    "expect_column_values_to_be_in_type_list": st.fixed_dictionaries({"type_list": st.lists(types, min_size=1)}),
    "expect_column_values_to_be_of_type": st.fixed_dictionaries({"type_": types}),
    "expect_column_values_to_be_between": between(),
    "expect_column_values_to_be_in_set": st.fixed_dictionaries({"value_set": sets}),
    "expect_column_values_to_not_be_in_set": st.fixed_dictionaries({"value_set": sets}),
    "expect_column_values_to_match_regex": st.fixed_dictionaries({"regex": patterns}),
    "expect_column_values_to_not_match_regex": st.fixed_dictionaries({"regex": patterns}),
    "expect_column_value_lengths_to_be_between": lengths,
    "expect_column_value_lengths_to_equal": st.fixed_dictionaries({"value": st.integers(0, 4)}),
}
skips = st.sampled_from(
    [{}, {"ignore_row_if": "both_values_are_missing"}, {"ignore_row_if": "either_value_is_missing"}]
)
PAIRS: dict[str, Any] = {
    "expect_column_pair_values_a_to_be_greater_than_b": st.builds(
        lambda skip, equal: skip | {"or_equal": equal}, skips, st.booleans()
    ),
    "expect_column_pair_values_to_be_equal": skips,
}


@st.composite
def cases(draw: Any) -> tuple[list[dict[str, Any]], dict[str, object]]:
    """Every kind twice, each on a column of its own or one that it shares; pairs over any two of the columns."""
    configurations: list[dict[str, Any]] = []
    values: dict[str, object] = {"c0": draw(scalars), "c1": draw(scalars)}
    for kind, arguments in [*ARGUMENTS.items()] * 2:
        column = draw(st.sampled_from([*values, f"c{len(values)}"][-2:]))
        values.setdefault(column, draw(scalars))
        configurations.append({"type": kind, "kwargs": {"column": column, **draw(arguments)}})
    for kind, arguments in [*PAIRS.items()] * 4:
        a, b = draw(st.permutations(list(values)))[:2]
        configurations.append({"type": kind, "kwargs": {"column_A": a, "column_B": b, **draw(arguments)}})
    for number, configuration in enumerate(configurations):
        configuration["meta"] = {"number": number}
    return configurations, values


def column_of(value: object) -> pd.Series[Any]:
    """A column of this one value, of the type that pandas gives it; a missing value has none."""
    missing = value is None or value != value
    return pd.Series([value], dtype=object) if missing else pd.Series([value])


def not_met_in_great_expectations(configurations: list[dict[str, Any]], values: dict[str, object]) -> list[int]:
    """Which expectations one row does not meet; of those of one column the first counts."""
    frame = pd.DataFrame({name: column_of(value) for name, value in values.items()})
    results = validate("row", frame, gx.ExpectationSuite(name="row", expectations=configurations).expectations)
    failed = sorted(evr.expectation_config.meta["number"] for evr in results if not evr.success)
    first: dict[object, int] = {}
    for number in failed:
        first.setdefault(configurations[number]["kwargs"].get("column", number), number)
    return sorted(first.values())


def test_every_supported_kind_is_compared():
    assert set(SUPPORTED) == {*ARGUMENTS, *PAIRS}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # pandas, when it compares NaN
@given(cases())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_one_row_is_judged_as_great_expectations_judges_it(case):
    configurations, values = case
    guard = Guard.of_suite(msgspec.convert({"name": "row", "expectations": configurations}, Suite))
    assert sorted(guard._unmet(values)) == not_met_in_great_expectations(configurations, values)


def test_the_suite_of_a_request_is_one_that_great_expectations_reads():
    written = msgspec.json.encode(request_suite(SPECS))
    read = gx.ExpectationSuite(**msgspec.json.decode(written))
    again = Guard.of_json(msgspec.json.encode(read.to_json_dict()))
    sound = {"ratio": 1.0, "home": "OWN", "count": 1, "flag": True, "free": 1e300, "floor": -1.0, "ceiling": 1e9}
    broken = {"ratio": 7.0, "home": "YURT", "count": 1.5, "flag": 1, "free": math.inf, "floor": -2, "ceiling": "x"}
    assert again.check(sound) == GUARD.check(sound) == ()
    assert again.check(broken) == GUARD.check(broken)
    assert len(again.check(broken)) == len(SPECS)


def one(kind: str, severity: str = "critical", **kwargs: Any) -> Suite:
    return msgspec.convert(
        {"name": "own", "expectations": [{"type": kind, "kwargs": kwargs, "severity": severity}]}, Suite
    )


BETWEEN, IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
PAIR = "expect_column_pair_values_a_to_be_greater_than_b"


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (one("expect_column_mean_to_be_between", column="a", min_value=0), "kind that cannot be asked of one request"),
        (one("expect_nothing", column="a"), "kind that cannot be asked"),
        (one("expect_table_row_count_to_equal", value=1), "kind that cannot be asked"),
        (one(BETWEEN, column="a", min_value=0, mostly=0.9), "mostly below 1"),
        (one(BETWEEN, column="a", min_value=0, row_condition="b > 1"), "row_condition"),
        (one(BETWEEN, column="a", min_value=0, parse_strings_as_datetimes=True), "'parse_strings_as_datetimes'"),
        (one(BETWEEN, column="a"), "min_value or max_value"),
        (one(BETWEEN, column="a", min_value=2, max_value=1), "min_value is above"),
        (one(BETWEEN, column="a", min_value="2026-01-01"), "min_value must be a finite number"),
        (one(BETWEEN, column="a", max_value=True), "max_value must be a finite number"),
        (one(BETWEEN, column="a", max_value=math.inf), "max_value must be a finite number"),
        (one(BETWEEN, min_value=0), "column must be a text"),
        (one(IN_SET, column="a", value_set=["x", 1]), "value_set"),
        (one(IN_SET, column="a", value_set=[True]), "value_set"),
        (one("expect_column_values_to_be_of_type", column="a", type_="datetime64"), "types must be among"),
        (one("expect_column_values_to_be_in_type_list", column="a", type_list=[]), "types must be among"),
        (one("expect_column_values_to_match_regex", column="a", regex="("), "regex|subpattern|parenthesis"),
        (one(PAIR, column_A="a", column_B="b", ignore_row_if="neither"), "ignore_row_if 'neither'"),
        (one(PAIR, column_A="a"), "column_B must be a text"),
    ],
)
def test_what_cannot_be_asked_of_one_request_is_refused_when_the_guard_is_made(suite, message):
    with pytest.raises(InputError, match=message) as error:
        Guard.of_suite(suite)
    assert "suite 'own', expectation 1" in str(error.value)


def test_mostly_1_and_arguments_of_none_ask_nothing():
    guard = Guard.of_suite(one(BETWEEN, column="a", min_value=0, max_value=None, mostly=1.0, row_condition=None))
    assert not guard.check({"a": 1})
    assert guard.check({"a": -1})


def test_text_of_a_suite_is_never_run():
    name = "a'); import os; os.abort(); ('"
    guard = Guard.of_suite(
        Suite(
            name="\"'\n",
            expectations=(
                Expectation(type=BETWEEN, kwargs={"column": name, "min_value": 0}),
                Expectation(type=IN_SET, kwargs={"column": "b", "value_set": [name, "\\'"]}),
            ),
        )
    )
    assert [violation.feature for violation in guard.check({name: -1, "b": "\\'"})] == [name]


def test_an_expectation_of_ones_own_is_told_with_its_kind_and_level():
    guard = Guard.of_suite(one(PAIR, severity="warning", column_A="inflow", column_B="wages", or_equal=True))
    (violation,) = guard.check({"inflow": 1.0, "wages": 2.0})
    assert (violation.feature, violation.rule, violation.level) == ("inflow", "pair", "warning")
    assert violation.message == "inflow column pair values a to be greater than b"
    (missing,) = guard.check({"inflow": None, "wages": 2.0})
    assert missing == violation
    assert guard.check({"inflow": math.nan}) == ()


def test_a_suite_that_is_no_suite_is_refused():
    with pytest.raises(InputError, match="cannot be read"):
        Guard.of_json(b'{"name": "x"}')


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


def test_it_brings_in_nothing_heavy():
    heavy = "{'great_expectations', 'pandas', 'numpy', 'feast', 'duckdb'}"
    code = f"import sys, validation.guard; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
