"""One suite against one frame in Great Expectations, with counts for results and never values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import great_expectations as gx
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

from validation.results import Finding
from validation.suites import columns_of

EXISTENCE = "expect_column_to_exist"
_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}


def evaluate(name: str, frame: pd.DataFrame, suite: gx.ExpectationSuite) -> ExpectationSuiteValidationResult:
    """Validate a frame: its columns and types first, then the values of the sound columns.

    Parameters
    ----------
    name : str
        Name of the run and of the data in Data Docs.
    frame : pandas.DataFrame of shape (n_rows, n_columns)
        Columns that the suite does not name are ignored.
    suite : great_expectations.ExpectationSuite
        Made by `validation.suites`: its expectations say in their meta when they are run.

    Returns
    -------
    great_expectations.core.ExpectationSuiteValidationResult
        Without samples of unexpected values and without the text of exceptions, which may quote some.
    """
    stages: dict[str, list[Any]] = {"schema": [], "values": [], "filled": []}
    for expectation in suite.expectations:
        stages[expectation.meta["stage"]].append(expectation)

    missing = columns_of(*stages["schema"]) - set(frame.columns)
    schema = [e for e in stages["schema"] if e.expectation_type == EXISTENCE or not columns_of(e) & missing]
    # Loading a frame hashes it, which costs more than all checks; exact types show without rows.
    results = validate(name, frame if "object" in frame.dtypes.map(str).to_list() else frame.iloc[:0], schema)
    unsound = {evr.expectation_config.kwargs["column"] for evr in results if not evr.success}

    # Great Expectations compares nullable integers one by one, and floats as a whole.
    whole = [column for column, dtype in frame.dtypes.items() if isinstance(dtype, pd.Int64Dtype)]
    frame = frame.astype(dict.fromkeys(whole, "float64"))
    filled = {column for column in frame.columns if frame[column].notna().any()} - unsound
    values = [e for e in stages["values"] if not columns_of(e) & unsound and (len(frame) or not columns_of(e))]
    results += validate(name, frame, values + [e for e in stages["filled"] if columns_of(e) <= filled])

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


def findings(table: str, validated: ExpectationSuiteValidationResult) -> list[Finding]:
    """Return what was not met, in the order of the suite's stages.

    Parameters
    ----------
    table : str
        Name under which the findings are reported.
    validated : great_expectations.core.ExpectationSuiteValidationResult
        As returned by `evaluate`.
    """
    return [_finding(table, evr) for evr in validated.results if not evr.success]


def validate(name: str, frame: pd.DataFrame, expectations: list[Any]) -> list[ExpectationValidationResult]:
    """Return what Great Expectations says of each expectation, without a value of the frame."""
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
    validated = batch.validate(gx.ExpectationSuite(name=name, expectations=expectations), result_format=_COUNTS_ONLY)
    for evr in validated.results:
        if not evr.success and not evr.result and evr.expectation_config.type != EXISTENCE:
            evr.exception_info = {"raised_exception": True, "exception_message": "could not be evaluated"}
    results: list[ExpectationValidationResult] = validated.results
    return results


def _finding(table: str, evr: ExpectationValidationResult) -> Finding:
    config, result = evr.expectation_config, evr.result
    about = config.kwargs
    return Finding(
        table=table,
        column=about.get("column") or about.get("column_A") or "+".join(about.get("column_list", ())),
        expectation=config.type,
        rule=config.meta["rule"],
        level=config.meta["level"],
        unexpected=result.get("unexpected_count", 0),
        of=result.get("element_count", 0),
        observed=str(result.get("observed_value", "")),
    )
