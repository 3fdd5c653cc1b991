"""Suites against frames in Great Expectations, with counts for results and never values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from validation.asked import columns_of
from validation.change import Part
from validation.results import Finding
from validation.suites import COPIES, KNOWN_ELSEWHERE

EXISTENCE, COLUMN_SET = "expect_column_to_exist", "expect_table_columns_to_match_set"
_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}
_WITH_ROWS = {"result_format": "COMPLETE", "partial_unexpected_count": 0, "include_unexpected_rows": False}
_HIDDEN = "not shown"
# What is observed of these is a type, a count, or drawn from many rows; of others it may be one row's value.
_MAY_BE_SHOWN = {
    EXISTENCE,
    COLUMN_SET,
    "expect_column_max_to_be_between:event_timestamp",
    "expect_column_mean_to_be_between",
    "expect_column_median_to_be_between",
    "expect_column_proportion_of_non_null_values_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_quantile_values_to_be_between",
    "expect_column_stdev_to_be_between",
    "expect_column_type_to_be",
    "expect_column_unique_value_count_to_be_between",
    "expect_column_values_to_be_in_type_list",
    "expect_column_values_to_be_of_type",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_table_row_count_to_be_between",
    "expect_table_row_count_to_equal",
}
More = Callable[[pd.DataFrame, set[str]], Sequence[Part]]


def evaluate(
    name: str, frame: pd.DataFrame, suite: gx.ExpectationSuite, more: More = lambda frame, unsound: ()
) -> ExpectationSuiteValidationResult:
    """Validate a frame: its columns and types first, then the values of the sound columns.

    Parameters
    ----------
    name : str
        Name of the run and of the data in Data Docs.
    frame : pandas.DataFrame of shape (n_rows, n_columns)
        Columns that the suite does not name are ignored.
    suite : great_expectations.ExpectationSuite
        Made by `validation.suites`: its expectations say in their meta when they are run.
    more : callable
        Given the frame with its numbers as floats and the columns that are not sound, returns what else to ask.

    Returns
    -------
    great_expectations.core.ExpectationSuiteValidationResult
        Without samples of unexpected values and without the text of exceptions, which may quote some.
    """
    stages: dict[str, list[Any]] = {"schema": [], "values": [], "filled": []}
    for expectation in suite.expectations:
        stages[expectation.meta["stage"]].append(expectation)

    ours = [column for column in (COPIES, KNOWN_ELSEWHERE) if column in frame]
    bare = frame.drop(columns=ours) if ours else frame  # pandas copies also where nothing is dropped
    missing = columns_of(*stages["schema"]) - set(bare.columns)
    schema = [
        one
        for one in stages["schema"]
        if one.expectation_type == EXISTENCE
        or not (missing if one.expectation_type == COLUMN_SET else columns_of(one) & missing)
    ]
    # Loading a frame hashes it, which costs more than all checks; exact types show without rows.
    results = validate(name, bare if "object" in bare.dtypes.map(str).to_list() else bare.iloc[:0], schema)
    unsound = {evr.expectation_config.kwargs.get("column", "") for evr in results if not evr.success}

    del bare
    frame = as_compared(frame)
    filled = {column for column in frame.columns if frame[column].notna().any()} - unsound
    values = [one for one in stages["values"] if not columns_of(one) & unsound and (len(frame) or not columns_of(one))]
    results += validate(name, frame, values + [one for one in stages["filled"] if columns_of(one) <= filled])
    for part in more(frame, unsound):
        results += _graded(name, part)

    met = sum(bool(evr.success) for evr in results)
    return ExpectationSuiteValidationResult(
        success=met == len(results),
        results=results,
        suite_name=suite.name,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": met,
            "unsuccessful_expectations": len(results) - met,
            "success_percent": 100 * met / len(results),
        },
        meta={
            "great_expectations_version": gx.__version__,
            "run_id": {"run_name": name, "run_time": datetime.now(UTC).isoformat()},
            "batch_spec": {"data_asset_name": name},
        },
    )


def _graded(name: str, part: Part) -> list[ExpectationValidationResult]:
    """Validate a part; what is asked at two levels is asked at the graver one only where the softer is not met."""
    softer = {_asked(one.configuration) for one in part.expectations if one.meta["level"] == "warning"}
    first: list[Any] = []
    graver: list[Any] = []
    for one in part.expectations:
        is_graver = one.meta["level"] == "critical" and _asked(one.configuration) in softer
        (graver if is_graver else first).append(one)
    results = validate(name, part.frame, first)
    not_met = {_asked(evr.expectation_config) for evr in results if not evr.success}
    return results + validate(name, part.frame, [one for one in graver if _asked(one.configuration) in not_met])


def _asked(configuration: Any) -> tuple[str, str]:
    return configuration.type, configuration.kwargs.get("column", "")


def as_compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with nullable integers as floats: Great Expectations compares those as a whole."""
    whole = [column for column, dtype in frame.dtypes.items() if isinstance(dtype, pd.Int64Dtype)]
    return frame.astype(dict.fromkeys(whole, "float64")) if whole else frame


def findings(table: str, validated: ExpectationSuiteValidationResult) -> list[Finding]:
    """Return what was not met, in the order of the suite's stages; of one rule at two levels the graver.

    Parameters
    ----------
    table : str
        Name under which the findings are reported.
    validated : great_expectations.core.ExpectationSuiteValidationResult
        As returned by `evaluate`.
    """
    found = [_finding(table, evr) for evr in validated.results if not evr.success]
    grave = {(one.column, one.expectation) for one in found if one.level == "critical"}
    return [one for one in found if one.level == "critical" or (one.column, one.expectation) not in grave]


def validate(name: str, frame: pd.DataFrame, expectations: Sequence[Any]) -> list[ExpectationValidationResult]:
    """Return what Great Expectations says of each expectation, without a value of the frame."""
    results = _results(name, frame, expectations, _COUNTS_ONLY)
    for evr in results:
        config = evr.expectation_config
        if not evr.success and not evr.result and config.type != EXISTENCE:
            evr.exception_info = {"raised_exception": True, "exception_message": "could not be evaluated"}
        if isinstance(observed := evr.result.get("observed_value"), np.generic):
            evr.result["observed_value"] = observed.item()  # the renderer of Data Docs reads numbers of NumPy wrongly
        if not {config.type, f"{config.type}:{config.kwargs.get('column')}"} & _MAY_BE_SHOWN:
            evr.result = {key: _HIDDEN if key == "observed_value" else value for key, value in evr.result.items()}
            evr.result.pop("details", None)
    return results


def rows_not_met(name: str, frame: pd.DataFrame, expectations: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Return, for each expectation of single rows, its rule and the labels of the rows that do not meet it."""
    return [
        (f"{_column(evr)} {evr.expectation_config.meta['rule']}", list(evr.result["unexpected_index_list"]))
        for evr in _results(name, frame, expectations, _WITH_ROWS)
    ]


def _results(
    name: str, frame: pd.DataFrame, expectations: Sequence[Any], form: dict[str, Any]
) -> list[ExpectationValidationResult]:
    if not expectations:
        return []
    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    validated = batch.validate(gx.ExpectationSuite(name=name, expectations=list(expectations)), result_format=form)
    results: list[ExpectationValidationResult] = validated.results
    return results


def _finding(table: str, evr: ExpectationValidationResult) -> Finding:
    config, result = evr.expectation_config, evr.result
    return Finding(
        table=table,
        column=_column(evr),
        expectation=config.type,
        rule=config.meta["rule"],
        level=config.meta["level"],
        unexpected=result.get("unexpected_count", 0),
        of=result.get("element_count", 0),
        observed=_observed(config.type, result),
        since_last_run=bool(config.meta.get("since_last_run")),
    )


def _column(evr: ExpectationValidationResult) -> str:
    about = evr.expectation_config.kwargs
    return about.get("column") or about.get("column_A") or "+".join(about.get("column_list", ()))


def _observed(kind: str, result: dict[str, Any]) -> str:
    observed = result.get("observed_value", "")
    if kind == COLUMN_SET:
        return ", ".join(result["details"]["mismatched"].get("unexpected", ()))
    if isinstance(observed, dict) and "values" in observed:
        return ", ".join(f"{value:,.6g}" for value in observed["values"])
    return "" if observed == _HIDDEN else str(observed)
