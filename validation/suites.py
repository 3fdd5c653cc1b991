"""Great Expectations suites derived from the contract: what a table must look like to be let in.

Every expectation carries the ``meta`` that `validation.rules` describes. Its stage says when it is run: ``"schema"``
expectations first, and a column that fails one is not looked at further; ``"filled"`` ones only where a column holds
any value at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.expectations.row_conditions import Column

from feature_repo.contract import FeatureSpec, Kind
from validation import asked
from validation.asked import APPLICANT, CREATED, EVENT, STORED_TYPES, UTC_TIMESTAMP
from validation.rules import Level, remarks
from validation.thresholds import References

# Columns that reading a source adds; no column of the contract has a blank in its name.
KNOWN_ELSEWHERE, COPIES = "applicant known elsewhere", "copies of the row"
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


def table_suite(
    table: str,
    specs: Sequence[FeatureSpec],
    *,
    as_of: datetime,
    allow_empty: bool = False,
    oldest: datetime | None = None,
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
    oldest : datetime or None
        Earliest event that is still served; None asks for no fresh row.

    Returns
    -------
    great_expectations.ExpectationSuite
        Columns and their types, keys, times, uniqueness, freshness, ranges and categories.
    """
    types = {APPLICANT: "string", EVENT: UTC_TIMESTAMP, CREATED: UTC_TIMESTAMP}
    types |= {spec.name: STORED_TYPES[spec.kind] for spec in specs}
    return gx.ExpectationSuite(
        name=table,
        expectations=[
            *asked.columns(types),
            asked.row_count(allow_empty),
            *asked.key(APPLICANT),
            *asked.times(as_of),
            *([asked.fresh(oldest)] if oldest else []),
            asked.unique([APPLICANT, EVENT, CREATED]),
            *asked.values(specs),
            *asked.filled(specs),
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
            *asked.columns(types),
            asked.row_count(allow_empty),
            *asked.key("loan_id"),
            *asked.key(APPLICANT),
            *(asked.not_null(spec.name) for spec in request if spec.kind != "category"),
            *asked.times(as_of),
            asked.unique(["loan_id", CREATED]),
            *asked.values(request),
            asked.not_after(observed, last_outcome, "must not be after the instant up to which outcomes are known"),
            asked.ordered(EVENT, observed),
            gxe.ExpectColumnValuesToNotBeNull(
                column=observed,
                row_condition=Column("defaulted").is_not_null(),
                **remarks("must say when the outcome was observed where 'defaulted' is known"),
            ),
            gxe.ExpectColumnValuesToBeNull(
                column=observed,
                row_condition=Column("defaulted").is_null(),
                **remarks("must be null where 'defaulted' is null"),
            ),
        ],
    )


def references(limits: References) -> Iterator[gxe.Expectation]:
    """Ask that the applicants of a table, as it was read, are known in the tables that it refers to.

    Parameters
    ----------
    limits : References
        In which share of rows; the column is `KNOWN_ELSEWHERE`.
    """
    levels: dict[Level, float] = {"critical": limits.critical_below, "warning": limits.warning_below}
    for level, share in levels.items():
        rule = f"{'must' if level == 'critical' else 'should'} be true of at least {share:.0%} of the rows"
        yield asked.true_in(KNOWN_ELSEWHERE, share, rule, level)


def delivered_once() -> gxe.Expectation:
    """Ask that no row is there twice, in a table in which such rows count once: `COPIES` says how often."""
    return gxe.ExpectColumnValuesToBeBetween(
        column=COPIES, max_value=1, **remarks("should be 1; equal rows count once", level="warning")
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
    names = [*keys, *(spec.name for spec in specs), *([label] if label else [])]
    expectations = [asked.exists(column) for column in names]
    expectations += [
        gxe.ExpectColumnValuesToBeInTypeList(
            column=spec.name, type_list=FRAME_TYPES[spec.kind], **remarks(f"must hold a {spec.kind}", stage="schema")
        )
        for spec in specs
    ]
    expectations += [
        asked.row_count(allow_empty=False),
        *(asked.not_null(key) for key in keys),
        asked.unique(keys),
        *asked.values(specs),
        *asked.filled(specs),
    ]
    if label:
        expectations += [
            asked.not_null(label),
            gxe.ExpectColumnValuesToBeInSet(column=label, value_set=[0, 1], **remarks("must be 0 or 1")),
        ]
    return gx.ExpectationSuite(name=name, expectations=expectations)
