from __future__ import annotations

import json
from datetime import timedelta, timezone

import msgspec
import pytest

from tests.unit.validation.samples import AS_OF, BUREAU_SPECS, LOAN_SPECS, spec
from validation.asked import columns_of
from validation.suites import frame_suite, loans_suite, table_suite

SUITES = [
    table_suite("credit_bureau", BUREAU_SPECS, as_of=AS_OF),
    loans_suite(LOAN_SPECS, as_of=AS_OF),
    frame_suite(BUREAU_SPECS),
]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_every_expectation_says_how_grave_it_is_and_what_it_asks(suite):
    for expectation in suite.expectations:
        assert expectation.meta["level"] in ("critical", "warning")
        assert expectation.meta["level"] == expectation.severity.value
        assert expectation.meta["stage"] in ("schema", "values", "filled")
        assert expectation.meta["rule"].startswith(("must ", "should "))


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_no_expectation_is_asked_twice(suite):
    asked = [
        json.dumps([e["type"], e["kwargs"]], default=str, sort_keys=True) for e in suite.to_json_dict()["expectations"]
    ]
    assert len(asked) == len(set(asked))


def test_a_feature_added_to_the_contract_is_checked_without_further_ado():
    wider = table_suite("credit_bureau", [*BUREAU_SPECS, spec("savings", "number", low=0)], as_of=AS_OF)
    added = [e for e in wider.expectations if "savings" in columns_of(e)]
    assert sorted(e.expectation_type for e in added) == [
        "expect_column_to_exist",
        "expect_column_type_to_be",
        "expect_column_values_to_be_between",
        "expect_column_values_to_not_be_null",
    ]


def test_a_column_whose_nulls_have_a_meaning_need_not_be_filled():
    since = spec("months_since", "number", low=0)
    suite = table_suite("credit_bureau", [since], as_of=AS_OF)
    assert any(e.meta["stage"] == "filled" for e in suite.expectations)
    meant = msgspec.structs.replace(since, null_means="never")
    suite = table_suite("credit_bureau", [meant], as_of=AS_OF)
    assert not any(e.meta["stage"] == "filled" for e in suite.expectations)


def test_the_clock_is_told_in_utc_whatever_its_zone():
    local = AS_OF.astimezone(timezone(timedelta(hours=9)))
    rules = [e.meta["rule"] for e in table_suite("t", BUREAU_SPECS, as_of=local).expectations]
    assert "must not be in the future (2026-06-30T00:00:00Z)" in rules


def test_a_row_condition_counts_among_the_columns_that_are_read():
    conditional = [e for e in SUITES[1].expectations if "where 'defaulted' is null" in e.meta["rule"]]
    assert columns_of(*conditional) == {"outcome_observed_at", "defaulted"}
