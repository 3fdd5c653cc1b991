"""Single expectations as the suites ask them, each with its level, its stage and its rule in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from feature_repo.contract import FeatureSpec, Kind
from validation.rules import Expectation, Level, plausible, remarks

APPLICANT, EVENT, CREATED = "applicant_id", "event_timestamp", "created_timestamp"
UTC_TIMESTAMP = "datetime64[us, UTC]"
STORED_TYPES: dict[Kind, str] = {"number": "float64", "count": "Int64", "flag": "boolean", "category": "string"}
FIRST_PLAUSIBLE_EVENT = datetime(1970, 1, 2, tzinfo=UTC)
_SQL_TYPES = {"float64": "DOUBLE", "Int64": "BIGINT", "boolean": "BOOLEAN", "string": "VARCHAR"}


def made(expectation: Expectation) -> gxe.Expectation:
    """Return a plain expectation as one of Great Expectations."""
    configuration = ExpectationConfiguration(
        type=expectation.type,
        kwargs=dict(expectation.kwargs),
        meta=dict(expectation.meta or {}),
        severity=expectation.severity,
    )
    return configuration.to_domain_obj()


def columns_of(*expectations: gxe.Expectation) -> set[str]:
    """Return every column that expectations read, those of a row condition included."""
    columns: set[str] = set()
    for expectation in expectations:
        kwargs = expectation.configuration.kwargs
        columns |= {kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs}
        columns |= set(kwargs.get("column_list", ()))
        columns |= _named_in(kwargs.get("row_condition"))
    return columns


def exists(column: str) -> gxe.Expectation:
    """Ask for a column."""
    return gxe.ExpectColumnToExist(column=column, **remarks("must be a column of the table", stage="schema"))


def columns(types: dict[str, str]) -> Iterator[gxe.Expectation]:
    """Ask for columns of exact types, by pandas' names, and for no others."""
    for column, dtype in types.items():
        yield exists(column)
        rule = f"must be {_SQL_TYPES.get(dtype, 'TIMESTAMP WITH TIME ZONE in microseconds')}"
        yield gxe.ExpectColumnTypeToBe(column=column, type_=dtype, **remarks(rule, stage="schema"))
    yield gxe.ExpectTableColumnsToMatchSet(
        column_set=list(types),
        exact_match=True,
        **remarks("should have no column that the contract does not know", level="warning", stage="schema"),
    )


def row_count(allow_empty: bool) -> gxe.Expectation:
    """Ask for a row at least, unless a table may be empty."""
    least = 0 if allow_empty else 1
    return gxe.ExpectTableRowCountToBeBetween(min_value=least, **remarks(f"must have at least {least} row"))


def not_null(column: str) -> gxe.Expectation:
    """Ask for a value in every row."""
    return gxe.ExpectColumnValuesToNotBeNull(column=column, **remarks("must not be null"))


def key(column: str) -> Iterator[gxe.Expectation]:
    """Ask for a text that is not empty in every row."""
    yield not_null(column)
    yield gxe.ExpectColumnValuesToNotBeInSet(column=column, value_set=[""], **remarks("must not be empty"))


def unique(names: Sequence[str]) -> gxe.Expectation:
    """Ask that no two rows share all these columns."""
    return gxe.ExpectCompoundColumnsToBeUnique(
        column_list=list(names), ignore_row_if="any_value_is_missing", **remarks("must be unique together")
    )


def times(as_of: datetime) -> Iterator[gxe.Expectation]:
    """Ask that every row was known no earlier than it was true, and by `as_of`."""
    yield not_null(EVENT)
    yield not_null(CREATED)
    yield ordered(EVENT, CREATED)
    yield not_after(CREATED, as_of, "must not be in the future")
    yield gxe.ExpectColumnValuesToBeBetween(
        column=EVENT,
        min_value=FIRST_PLAUSIBLE_EVENT,
        **remarks("should be a real instant, not a placeholder of 1970 or before", level="warning"),
    )


def ordered(earlier: str, later: str) -> gxe.Expectation:
    """Ask that one instant is not before another, where both are known."""
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=later,
        column_B=earlier,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        **remarks(f"must not be before {earlier}"),
    )


def not_after(column: str, instant: datetime, rule: str) -> gxe.Expectation:
    """Ask that no instant of a column is later than this one."""
    last = instant.astimezone(UTC)
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, max_value=last, **remarks(f"{rule} ({last:%Y-%m-%dT%H:%M:%SZ})")
    )


def fresh(oldest: datetime) -> gxe.Expectation:
    """Ask that the newest row is no older than this instant: before it, no value would be served."""
    first = oldest.astimezone(UTC)
    rule = f"must have a row within its view's time to live, so from {first:%Y-%m-%dT%H:%M:%SZ} on"
    return gxe.ExpectColumnMaxToBeBetween(column=EVENT, min_value=first, **remarks(rule))


def true_in(column: str, share: float, rule: str, level: Level) -> gxe.Expectation:
    """Ask that a flag is true in a share of rows."""
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True], mostly=share, **remarks(rule, level=level))


def values(specs: Iterable[FeatureSpec]) -> Iterator[gxe.Expectation]:
    """Ask of each feature the range or the categories that the contract gives it."""
    for spec in specs:
        if expectation := plausible(spec):
            yield made(expectation)


def filled(specs: Iterable[FeatureSpec]) -> Iterator[gxe.Expectation]:
    """Ask that a column that holds any value at all is half filled, unless null has a meaning."""
    rule = remarks("should be filled in at least half of the rows", level="warning", stage="filled")
    for spec in specs:
        if not spec.null_means:
            yield gxe.ExpectColumnValuesToNotBeNull(column=spec.name, mostly=0.5, **rule)


def _named_in(condition: Any) -> set[str]:
    """Return the columns that a row condition names, however it is nested; one written as text names none here."""
    if isinstance(condition, list):
        return {name for part in condition for name in _named_in(part)}
    if not isinstance(condition, dict):
        return set()
    column = condition.get("column")
    named = {str(column["name"])} if isinstance(column, dict) else set()
    return named.union(*(_named_in(part) for part in condition.values()))
