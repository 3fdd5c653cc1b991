"""A suite turned into the source text of one Python function, which judges the values of one request.

It says what Great Expectations says of pandas columns that hold that one value each; `tests/unit/validation` holds one
against the other. Of a missing value, None or NaN, nothing but nullness is asked; a pair is skipped only when both are
missing, unless its expectation says otherwise; what cannot be compared is not met. A kind, an argument or a value that
is not understood is refused when the function is made, never skipped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from feature_repo.errors import InputError
from validation.rules import Code, Expectation, Suite

_CLASSES: dict[str, type] = {"float": float, "int": int, "bool": bool, "str": str}
_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")
_SKIPS = {"both_values_are_missing": "and", "either_value_is_missing": "or"}
_NOT_NULL = "expect_column_values_to_not_be_null"
_HEAD = """def unmet(tests, v):
    for index, is_met in tests:
        try:
            if not is_met(v):
                return index
        except TypeError:
            return index
"""


def function_source(suite: Suite) -> tuple[str, dict[str, Any]]:
    """Return the source that defines ``check(values)``, which returns the indices of expectations not met.

    Parameters
    ----------
    suite : Suite
        Expectations of single values and of pairs. Of those of one column the first that is not met counts.

    Returns
    -------
    source : str
        Python. Column names and numbers are literals in it; all else is reached by the names of `names`.
    names : dict
        The globals to run it in.

    Raises
    ------
    InputError
        If an expectation cannot be asked of one request: an unknown kind, an aggregate, `mostly` below
        1, a row condition, or an argument that is not known here.
    """
    names: dict[str, Any] = {}
    columns: dict[str, list[tuple[int, str, str]]] = {}
    pairs: list[str] = []
    for index, expectation in enumerate(suite.expectations):
        kind = expectation.type
        try:
            if kind in _PAIRS:
                pairs += _pair(index, expectation)
            elif kind in _SINGLE:
                arguments, _, write = _SINGLE[kind]
                kwargs = _kwargs(expectation, ("column", *arguments))
                columns.setdefault(_text(kwargs, "column"), []).append((index, kind, write(index, kwargs, names)))
            else:
                raise ValueError("is of a kind that cannot be asked of one request")
        except (ValueError, re.error) as error:
            raise InputError(f"suite {suite.name!r}, expectation {index + 1} ({kind}): {error}") from None
    tests = [_tests(place, found) for place, found in enumerate(columns.values())]
    singles = [line for place, (name, found) in enumerate(columns.items()) for line in _column(place, name, found)]
    body = [" get = values.get", " found = []", *singles, *pairs, " return found", ""]
    return "\n".join([_HEAD, *tests, "def check(values):", *body]), names


def code_of(kind: str) -> Code:
    """Return the code of the rules of a kind, where an expectation brings none of its own."""
    return _SINGLE[kind][1] if kind in _SINGLE else "pair"


def _tests(place: int, tests: Sequence[tuple[int, str, str]]) -> str:
    made = [f"({index}, lambda v: {test})" for index, kind, test in tests if kind != _NOT_NULL]
    return f"tests_{place} = ({''.join(f'{one}, ' for one in made)})"


def _column(place: int, column: str, tests: Sequence[tuple[int, str, str]]) -> list[str]:
    asked = [(index, test) for index, kind, test in tests if kind != _NOT_NULL]
    nulls = [index for index, kind, _ in tests if kind == _NOT_NULL]
    lines = [f" v = get({column!r})", " if v is None or v != v:"]
    lines.append(f"  found.append({nulls[0]})" if nulls else "  pass")
    if asked:
        lines += [" else:", "  try:"]
        lines += [
            f"   {'elif' if number else 'if'} not ({test}): found.append({index})"
            for number, (index, test) in enumerate(asked)
        ]
        lines += ["  except TypeError:", f"   found.append(unmet(tests_{place}, v))"]
    return lines


def _pair(index: int, expectation: Expectation) -> list[str]:
    arguments, compare = _PAIRS[expectation.type]
    kwargs = _kwargs(expectation, ("column_A", "column_B", "ignore_row_if", *arguments))
    skip = kwargs.get("ignore_row_if", "both_values_are_missing")
    if skip not in _SKIPS:
        raise ValueError(f"ignore_row_if {skip!r} is not one of {', '.join(_SKIPS)}")
    sign = ">=" if kwargs.get("or_equal") else compare
    return [
        f" a, b = get({_text(kwargs, 'column_A')!r}), get({_text(kwargs, 'column_B')!r})",
        " no_a, no_b = a is None or a != a, b is None or b != b",
        f" if not (no_a {_SKIPS[skip]} no_b):",
        "  try:",
        f"   if no_a or no_b or not a {sign} b: found.append({index})",
        f"  except TypeError: found.append({index})",
    ]


def _kwargs(expectation: Expectation, known: Sequence[str]) -> dict[str, Any]:
    """Return the arguments that are given, if they are known and hold for every row."""
    kwargs = {name: value for name, value in expectation.kwargs.items() if value is not None}
    if kwargs.pop("mostly", 1) != 1:
        raise ValueError("mostly below 1 is a share of rows, and a request is one")
    for name in ("row_condition", "condition_parser"):
        if name in kwargs:
            raise ValueError(f"{name} cannot be asked of one request")
    if unknown := [name for name in kwargs if name not in known]:
        raise ValueError(f"argument {unknown[0]!r} is not known here")
    return kwargs


def _text(kwargs: dict[str, Any], name: str) -> str:
    if not isinstance(kwargs.get(name), str):
        raise ValueError(f"{name} must be a text")
    return str(kwargs[name])


def _number(kwargs: dict[str, Any], name: str) -> float | int | None:
    value = kwargs.get(name)
    if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
        raise ValueError(f"{name} must be a finite number")
    return value


def _between(of: str, kwargs: dict[str, Any]) -> str:
    low, high = _number(kwargs, "min_value"), _number(kwargs, "max_value")
    if low is None and high is None:
        raise ValueError("min_value or max_value is needed")
    if low is not None and high is not None and low > high:
        raise ValueError("min_value is above max_value")
    below = f"{low!r} {'<' if kwargs.get('strict_min') else '<='} " if low is not None else ""
    above = f" {'<' if kwargs.get('strict_max') else '<='} {high!r}" if high is not None else ""
    return f"{below}{of}{above}"


def _range(_: int, kwargs: dict[str, Any], __: dict[str, Any]) -> str:
    return _between("v", kwargs)


def _length(_: int, kwargs: dict[str, Any], __: dict[str, Any]) -> str:
    return _between("len(str(v))", kwargs)


def _exact_length(_: int, kwargs: dict[str, Any], __: dict[str, Any]) -> str:
    if (value := _number(kwargs, "value")) is None:
        raise ValueError("value is needed")
    return f"len(str(v)) == {value!r}"


def _types(index: int, kwargs: dict[str, Any], names: dict[str, Any]) -> str:
    listed = kwargs["type_list"] if "type_list" in kwargs else [kwargs.get("type_")]
    if not isinstance(listed, list) or not listed or (unknown := [one for one in listed if one not in _CLASSES]):
        raise ValueError(f"types must be among {', '.join(_CLASSES)}, not {unknown[0] if listed else 'none'!r}")
    classes = tuple(_CLASSES[one] for one in listed)
    names[f"types_{index}"] = frozenset(classes)
    # A subclass, as numpy's float64 of float; to Python a flag is a whole number, in a column it is none.
    names[f"is_of_{index}"] = lambda v: isinstance(v, classes) and (bool in classes or not isinstance(v, bool))
    return f"v.__class__ in types_{index} or is_of_{index}(v)"


def _set(index: int, kwargs: dict[str, Any], names: dict[str, Any]) -> str:
    values = kwargs.get("value_set")
    if not isinstance(values, list) or not (
        all(isinstance(one, str) for one in values) or all(type(one) in (int, float) for one in values)
    ):
        raise ValueError("value_set must be a list of texts or of numbers")
    names[f"set_{index}"] = frozenset(values)
    return f"v in set_{index}"


def _pattern(index: int, kwargs: dict[str, Any], names: dict[str, Any]) -> str:
    names[f"search_{index}"] = re.compile(_text(kwargs, "regex")).search
    return f"search_{index}(v if v.__class__ is str else str(v))"


def _not(write: _Write) -> _Write:
    return lambda index, kwargs, names: f"not {write(index, kwargs, names)}"


_Write = Callable[[int, dict[str, Any], dict[str, Any]], str]
_SINGLE: dict[str, tuple[tuple[str, ...], Code, _Write]] = {
    _NOT_NULL: ((), "null", lambda *_: "True"),
    "expect_column_values_to_be_null": ((), "null", lambda *_: "False"),
    "expect_column_values_to_be_in_type_list": (("type_list",), "type", _types),
    "expect_column_values_to_be_of_type": (("type_",), "type", _types),
    "expect_column_values_to_be_between": (_BOUNDS, "range", _range),
    "expect_column_values_to_be_in_set": (("value_set",), "category", _set),
    "expect_column_values_to_not_be_in_set": (("value_set",), "category", _not(_set)),
    "expect_column_values_to_match_regex": (("regex",), "pattern", _pattern),
    "expect_column_values_to_not_match_regex": (("regex",), "pattern", _not(_pattern)),
    "expect_column_value_lengths_to_be_between": (_BOUNDS, "length", _length),
    "expect_column_value_lengths_to_equal": (("value",), "length", _exact_length),
}
_PAIRS: dict[str, tuple[tuple[str, ...], str]] = {
    "expect_column_pair_values_a_to_be_greater_than_b": (("or_equal",), ">"),
    "expect_column_pair_values_to_be_equal": ((), "=="),
}
SUPPORTED = (*_SINGLE, *_PAIRS)
