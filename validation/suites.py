"""Great Expectations suites derived from the contract: what a table must look like to be let in.

Every expectation carries ``meta``:

``level``
    ``"critical"`` closes the gate, ``"warning"`` is only reported.
``stage``
    ``"schema"`` expectations are run first; a column that fails one is not looked at further.
    ``"filled"`` ones apply only to a column that holds any value at all.
``rule``
    The same in words, for the one line that a user reads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.expectations.row_conditions import Column

from feature_repo.contract import FeatureSpec, Kind
from validation.rules import range_rule

Level = Literal["critical", "warning"]
Stage = Literal["schema", "values", "filled"]

APPLICANT, EVENT, CREATED = "applicant_id", "event_timestamp", "created_timestamp"
UTC_TIMESTAMP = "datetime64[us, UTC]"
STORED_TYPES: dict[Kind, str] = {"number": "float64", "count": "Int64", "flag": "boolean", "category": "string"}
FRAME_TYPES: dict[Kind, list[str]] = {
    "number": ["float64", "float32", "int64", "Int64Dtype", "Float64Dtype"],
    "count": ["int64", "Int64Dtype", "int32", "float64", "float32", "Float64Dtype"],
    "flag": ["bool", "BooleanDtype"],
    "category": ["str", "StringDtype", "CategoricalDtype"],
}
_REQUEST = (
    FeatureSpec(name="purchase_amount", view="request", kind="number", description="", unit="currency", low=0.01),
    FeatureSpec(name="term_months", view="request", kind="count", description="", unit="months", low=1),
    FeatureSpec(name="loan_purpose", view="request", kind="category", description="", unit="category"),
)
FIRST_PLAUSIBLE_EVENT = datetime(1970, 1, 2, tzinfo=UTC)


def table_suite(
    table: str, specs: Sequence[FeatureSpec], *, as_of: datetime, allow_empty: bool = False
) -> gx.ExpectationSuite:
    """Return the suite of one source table of applicants.

    Parameters
    ----------
    table : str
        Name of the table, also of the suite.
    specs : sequence of FeatureSpec
        Its feature columns, protected ones included.
    as_of : datetime
        The home's clock, with a zone; nothing can have become known after it.
    allow_empty : bool
        Whether a table without rows is in order, for portfolios that do not fill it.

    Returns
    -------
    great_expectations.ExpectationSuite
        Columns and their types, keys, times, uniqueness, ranges and categories.
    """
    types = {APPLICANT: "string", EVENT: UTC_TIMESTAMP, CREATED: UTC_TIMESTAMP}
    types |= {spec.name: STORED_TYPES[spec.kind] for spec in specs}
    return gx.ExpectationSuite(
        name=table,
        expectations=[
            *_columns(types),
            _row_count(allow_empty),
            *_key(APPLICANT),
            *_times(as_of),
            _unique([APPLICANT, EVENT, CREATED]),
            *_plausible(specs),
            *_filled(specs),
        ],
    )


def loans_suite(
    specs: Sequence[FeatureSpec],
    *,
    as_of: datetime,
    outcomes_as_of: datetime | None = None,
    name: str = "loans",
    allow_empty: bool = False,
) -> gx.ExpectationSuite:
    """Return the suite of the loans table: requests, when they were made and how they ended.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        The inputs of a request, for their ranges and categories. Whatever they say, a loan has a
        positive amount and a positive term, and may have a purpose.
    as_of : datetime
        The home's clock, with a zone.
    outcomes_as_of : datetime or None
        Until when outcomes were observed; None means `as_of`.

    Returns
    -------
    great_expectations.ExpectationSuite
        What `table_suite` asks, but one row per loan and instant at which it became known, and an
        outcome that is either wholly there (``defaulted`` and ``outcome_observed_at``, not before the
        application) or wholly absent.
    """
    request = tuple(({spec.name: spec for spec in _REQUEST} | {spec.name: spec for spec in specs}).values())
    types = {"loan_id": "string", APPLICANT: "string", EVENT: UTC_TIMESTAMP, CREATED: UTC_TIMESTAMP}
    types |= {spec.name: STORED_TYPES[spec.kind] for spec in request}
    types |= {"defaulted": "boolean", "outcome_observed_at": UTC_TIMESTAMP}
    observed = "outcome_observed_at"
    last_outcome = outcomes_as_of or as_of
    return gx.ExpectationSuite(
        name=name,
        expectations=[
            *_columns(types),
            _row_count(allow_empty),
            *_key("loan_id"),
            *_key(APPLICANT),
            *(_not_null(spec.name) for spec in request if spec.kind != "category"),
            *_times(as_of),
            _unique(["loan_id", CREATED]),
            *_plausible(request),
            _not_after(observed, last_outcome, "must not be after the instant up to which outcomes are known"),
            _ordered(EVENT, observed),
            gxe.ExpectColumnValuesToNotBeNull(
                column=observed,
                row_condition=Column("defaulted").is_not_null(),
                **_rule("must say when the outcome was observed where 'defaulted' is known"),
            ),
            gxe.ExpectColumnValuesToBeNull(
                column=observed,
                row_condition=Column("defaulted").is_null(),
                **_rule("must be null where 'defaulted' is null"),
            ),
        ],
    )


def frame_suite(
    specs: Sequence[FeatureSpec],
    *,
    keys: Sequence[str] = ("loan_id", APPLICANT, EVENT),
    label: str | None = "defaulted",
    name: str = "training_frame",
) -> gx.ExpectationSuite:
    """Return the suite of a training frame: one row per decision, all features of the contract.

    A frame in memory has lost the exact types of storage (a count with nulls is a float there), so
    types are checked for what a model could read, ranges and categories as strictly as in a table.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        Feature columns of the frame.
    keys : sequence of str
        Columns that are never null and together identify a row; a join that multiplies rows shows here.
    label : str or None
        Column that holds the outcome, 0 or 1 and never null; None for a frame without one.

    Returns
    -------
    great_expectations.ExpectationSuite
    """
    columns = [*keys, *(spec.name for spec in specs), *([label] if label else [])]
    expectations = [_exists(column) for column in columns]
    expectations += [
        gxe.ExpectColumnValuesToBeInTypeList(
            column=spec.name, type_list=FRAME_TYPES[spec.kind], **_rule(f"must hold a {spec.kind}", stage="schema")
        )
        for spec in specs
    ]
    expectations += [
        _row_count(allow_empty=False),
        *(_not_null(key) for key in keys),
        _unique(list(keys)),
        *_plausible(specs),
        *_filled(specs),
    ]
    if label:
        expectations += [
            _not_null(label),
            gxe.ExpectColumnValuesToBeInSet(column=label, value_set=[0, 1], **_rule("must be 0 or 1")),
        ]
    return gx.ExpectationSuite(name=name, expectations=expectations)


def columns_of(*expectations: gxe.Expectation) -> set[str]:
    """Return every column that expectations read, those of a row condition included."""
    columns: set[str] = set()
    for expectation in expectations:
        kwargs = expectation.configuration.kwargs
        columns |= {kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs}
        columns |= set(kwargs.get("column_list", ()))
        if condition := kwargs.get("row_condition"):
            columns.add(condition["column"]["name"])
    return columns


def _rule(rule: str, *, level: Level = "critical", stage: Stage = "values") -> dict[str, Any]:
    return {"severity": level, "meta": {"level": level, "stage": stage, "rule": rule}}


def _exists(column: str) -> gxe.Expectation:
    return gxe.ExpectColumnToExist(column=column, **_rule("must be a column of the table", stage="schema"))


def _columns(types: dict[str, str]) -> Iterator[gxe.Expectation]:
    for column, dtype in types.items():
        yield _exists(column)
        yield gxe.ExpectColumnTypeToBe(column=column, type_=dtype, **_rule(f"must be {_sql(dtype)}", stage="schema"))


def _sql(dtype: str) -> str:
    names = {"float64": "DOUBLE", "Int64": "BIGINT", "boolean": "BOOLEAN", "string": "VARCHAR"}
    return names.get(dtype, "TIMESTAMP WITH TIME ZONE in microseconds")


def _row_count(allow_empty: bool) -> gxe.Expectation:
    least = 0 if allow_empty else 1
    return gxe.ExpectTableRowCountToBeBetween(min_value=least, **_rule(f"must have at least {least} row"))


def _not_null(column: str) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToNotBeNull(column=column, **_rule("must not be null"))


def _key(column: str) -> Iterator[gxe.Expectation]:
    yield _not_null(column)
    yield gxe.ExpectColumnValuesToNotBeInSet(column=column, value_set=[""], **_rule("must not be empty"))


def _unique(columns: list[str]) -> gxe.Expectation:
    return gxe.ExpectCompoundColumnsToBeUnique(
        column_list=columns, ignore_row_if="any_value_is_missing", **_rule("must be unique together")
    )


def _times(as_of: datetime) -> Iterator[gxe.Expectation]:
    yield _not_null(EVENT)
    yield _not_null(CREATED)
    yield _ordered(EVENT, CREATED)
    yield _not_after(CREATED, as_of, "must not be in the future")
    yield gxe.ExpectColumnValuesToBeBetween(
        column=EVENT,
        min_value=FIRST_PLAUSIBLE_EVENT,
        **_rule("should be a real instant, not a placeholder of 1970 or before", level="warning"),
    )


def _ordered(earlier: str, later: str) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=later,
        column_B=earlier,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        **_rule(f"must not be before {earlier}"),
    )


def _not_after(column: str, instant: datetime, rule: str) -> gxe.Expectation:
    last = instant.astimezone(UTC)
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, max_value=last, **_rule(f"{rule} ({last:%Y-%m-%dT%H:%M:%SZ})")
    )


def _plausible(specs: Sequence[FeatureSpec]) -> Iterator[gxe.Expectation]:
    for spec in specs:
        if spec.categories:
            allowed = list(spec.categories)
            yield gxe.ExpectColumnValuesToBeInSet(
                column=spec.name, value_set=allowed, **_rule(f"must be one of {', '.join(allowed)}")
            )
        elif spec.kind in ("number", "count"):
            # The largest finite double stands for a missing bound: this is what refuses infinities.
            low = -sys.float_info.max if spec.low is None else spec.low
            high = sys.float_info.max if spec.high is None else spec.high
            yield gxe.ExpectColumnValuesToBeBetween(
                column=spec.name, min_value=low, max_value=high, **_rule(range_rule(spec))
            )


def _filled(specs: Sequence[FeatureSpec]) -> Iterator[gxe.Expectation]:
    rule = _rule("should be filled in at least half of the rows", level="warning", stage="filled")
    for spec in specs:
        if not spec.null_means:
            yield gxe.ExpectColumnValuesToNotBeNull(column=spec.name, mostly=0.5, **rule)
