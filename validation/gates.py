"""Run a suite on a table and say, without showing anyone's data, whether it may pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import great_expectations as gx
import pandas as pd
import pyarrow as pa

from feature_repo.contract import FeatureSpec
from feature_repo.errors import GateError
from feature_repo.home import Home
from validation import data_docs
from validation.evaluation import evaluate, findings
from validation.results import Finding, GateResult
from validation.suites import columns_of, frame_suite, loans_suite, table_suite
from validation.tables import read_parquet, to_frame

LOANS = "loans"


def run_gate(
    name: str, data: pd.DataFrame | Path | str, suite: gx.ExpectationSuite, reports: Path, *, distinct: bool = False
) -> GateResult:
    """Validate a frame or Parquet files against a suite, and write the Data Docs page.

    Parameters
    ----------
    name : str
        Name of the gate, of its page and of the table in messages.
    data : pandas.DataFrame of shape (n_rows, n_columns), Path or str
        The frame, or path or glob of Parquet files, of which only the suite's columns are read.
    suite : great_expectations.ExpectationSuite
        Made by `validation.suites`.
    reports : Path
        Folder of reports; Data Docs go to ``data-docs/`` in it.
    distinct : bool
        Whether rows of files that are equal in all of the suite's columns count once.

    Returns
    -------
    GateResult
        Names, rules and counts, never a value of the data. Files that are not readable as Parquet
        are a critical finding.

    Raises
    ------
    InputError
        If no file is there.
    """
    try:
        wanted = columns_of(*suite.expectations)
        frame = data if isinstance(data, pd.DataFrame) else read_parquet(name, data, wanted, distinct=distinct)
    except duckdb.Error as error:
        # A conversion error quotes the value that it stumbled on.
        quotes = isinstance(error, duckdb.ConversionException)
        reason = "its files disagree on the type of a column" if quotes else str(error).splitlines()[0]
        rule = f"must be readable as Parquet ({reason})"
        unreadable = Finding(table=name, expectation="read_parquet", rule=rule, level="critical")
        result = GateResult(name=name, passed=False, rows=0, checked=0, failures=(unreadable,))
        data_docs.write(result, None, reports)
        return result
    validated = evaluate(name, frame, suite)
    found = findings(name, validated)
    failures = tuple(finding for finding in found if finding.level == "critical")
    result = GateResult(
        name=name,
        passed=not failures,
        rows=len(frame),
        checked=len(validated.results),
        failures=failures,
        warnings=tuple(finding for finding in found if finding.level == "warning"),
        note="" if len(frame) else "empty, nothing to check",
    )
    data_docs.write(result, validated, reports)
    return result


def check_sources(
    home: Home, tables: Mapping[str, Sequence[FeatureSpec]], *, allow_empty: Collection[str] = ()
) -> list[GateResult]:
    """Run the gates of a home's source tables, measured on the home's clock.

    A row of an applicant table that is there twice, because an event was pushed twice, counts once: it
    answers no question differently. A loan counts as often as it is there.

    Parameters
    ----------
    home : Home
        Its sources are read and its reports written.
    tables : mapping of str to sequence of FeatureSpec
        Feature columns by table; ``"loans"`` is the loans table, with the request's inputs.
    allow_empty : collection of str
        Tables that the portfolio does not fill and that may have no rows.

    Returns
    -------
    list of GateResult
        In the order of `tables`.

    Raises
    ------
    InputError
        If a table has no file.
    """
    # A clock set back by the user asks what was known then: later rows of the portfolio are no poison.
    state, now, outcomes_now = home.state(), home.now(), home.outcomes_now()
    as_of = max(now, state.as_of or now)
    outcomes_as_of = max(outcomes_now, state.outcomes_as_of or as_of)
    results = []
    for table, specs in tables.items():
        empty = table in allow_empty
        if table == LOANS:
            suite = loans_suite(specs, as_of=as_of, outcomes_as_of=outcomes_as_of, allow_empty=empty)
        else:
            suite = table_suite(table, specs, as_of=as_of, allow_empty=empty)
        results.append(run_gate(table, home.source_glob(table), suite, home.reports, distinct=table != LOANS))
    return results


def check_events(home: Home, table: str, events: pa.Table, specs: Sequence[FeatureSpec]) -> GateResult:
    """Run the gate of a source table on rows that are about to be appended to it.

    Parameters
    ----------
    home : Home
        Its reports are written.
    table : str
        The source table; the gate is called ``<table>_events``.
    events : pyarrow.Table of shape (n_events, n_columns)
        All columns of the table; instants with a time zone.
    specs : sequence of FeatureSpec
        Feature columns of the table.

    Returns
    -------
    GateResult
    """
    name = f"{table}_events"
    return run_gate(name, to_frame(events), table_suite(name, specs, as_of=home.now()), home.reports)


def check_frame(home: Home, frame: pd.DataFrame, specs: Sequence[FeatureSpec]) -> GateResult:
    """Run the gate of a training frame: one row per loan, with its outcome and every feature.

    Parameters
    ----------
    home : Home
        Its reports are written.
    frame : pandas.DataFrame of shape (n_loans, n_columns)
        Columns ``loan_id``, ``applicant_id``, ``event_timestamp``, ``defaulted`` and the features.
    specs : sequence of FeatureSpec
        The features.

    Returns
    -------
    GateResult
    """
    return run_gate("training_frame", frame, frame_suite(specs), home.reports)


def require_passed(results: Iterable[GateResult]) -> None:
    """Stop if a gate failed.

    Raises
    ------
    GateError
        One line with the first failure's table, column, rule, count and expectation, and the number
        of further failures.
    """
    failures = [finding for result in results for finding in result.failures]
    if failures:
        more = f"; and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise GateError(f"validation failed: {failures[0]}{more}")
