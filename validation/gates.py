"""Run suites on tables and frames, keep what they say, and stop what may not pass. No one's data is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import great_expectations as gx
import msgspec
import pandas as pd
import pyarrow as pa
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult

from feature_repo.contract import FeatureSpec
from feature_repo.errors import GateError
from feature_repo.home import Home
from validation import data_docs, last_good
from validation.asked import columns_of
from validation.change import Part, batch_changes
from validation.evaluation import More, evaluate
from validation.own_suites import check_names, of_rows, own_expectations
from validation.quarantine import set_aside
from validation.results import GateResult, in_rows
from validation.rules import REQUEST
from validation.runs import Run, new_run
from validation.source_gate import LOANS, Judged, SourceTable, judge_source, result_of, rows_at_fault, unreadable
from validation.suites import frame_suite, table_suite
from validation.tables import read_parquet, to_frame
from validation.thresholds import thresholds

__all__ = [
    "LOANS",
    "SourceTable",
    "check_events",
    "check_frame",
    "check_sources",
    "require_passed",
    "run_gate",
    "run_gate_setting_aside",
]
FRAME = "training_frame"
_NAMED = 5  # of what was set aside, told by name


def check_sources(
    home: Home,
    tables: Mapping[str, SourceTable],
    *,
    origin: str = "",
    quarantine: bool = False,
    compare: bool = True,
) -> list[GateResult]:
    """Run the gates of a home's source tables, measured on the home's clock.

    A table that passes becomes the last good one of its origin. Where single rows are all that is wrong with any
    table, and they are few enough, they can be set aside and the rest passes. A table that is stopped keeps
    every row, and so do the others then.

    Parameters
    ----------
    home : Home
        Its sources are read, its reports written.
    tables : mapping of str to SourceTable
        What each promises; ``"loans"`` is the loans table.
    origin : str
        Where the tables come from, such as a portfolio; runs of one origin are compared with each other.
    quarantine : bool
        Whether rows are set aside; the caller then holds the lock of the sources (`undisturbed`).
    compare : bool
        Whether tables are compared with their last good run. Without it, what is there is the next one's measure.

    Returns
    -------
    list of GateResult
        In the order of `tables`.

    Raises
    ------
    InputError
        If a table has no file, or a suite of the user's is not one.
    """
    check_names(home, [*tables, FRAME, REQUEST])
    run, at = new_run()
    judged = {name: judge_source(home, name, table, origin, compare=compare) for name, table in tables.items()}
    stopped = any(not one.result.passed and one.faulty is None for one in judged.values())
    for name, one in judged.items():
        if one.faulty is None:
            continue
        if quarantine and not stopped:
            judged[name] = _set_aside(home, name, tables[name], one, origin, run, compare)
        elif not stopped:
            note = f"{in_rows(len(one.faulty))} can be set aside: candor validate --quarantine"
            judged[name] = Judged(msgspec.structs.replace(one.result, note=note), one.validated)
    for name, one in judged.items():
        data_docs.write_page(one.result, one.validated, home.reports)
        if one.profile is not None:
            last_good.write(home, name, one.profile)
    results = [one.result for one in judged.values()]
    data_docs.finish(Run(run=run, at=at, results=tuple(results)), home.reports)
    return results


def check_events(
    home: Home, table: str, events: pa.Table, specs: Sequence[FeatureSpec], origin: str = "", *, compare: bool = True
) -> GateResult:
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
    origin : str
        Where the table comes from: enough events are held against its last good run.
    compare : bool
        Whether they are.

    Returns
    -------
    GateResult
        What the table's suite asks of single rows, that of the user included.
    """
    name = f"{table}_events"
    frame = to_frame(events)
    suite = table_suite(name, specs, as_of=home.now())
    suite.expectations += of_rows(own_expectations(home, table, frame.columns))
    last = last_good.read(home, table, origin) if compare else None

    def like_before(compared: pd.DataFrame, unsound: set[str]) -> Sequence[Part]:
        return () if last is None or unsound else batch_changes(compared, specs, last, thresholds().last_run)

    return _report(home.reports, name, frame, suite, like_before)


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
    suite = frame_suite(specs)
    suite.expectations += own_expectations(home, FRAME, frame.columns)
    return _report(home.reports, FRAME, frame, suite)


def run_gate(name: str, data: pd.DataFrame | Path | str, suite: gx.ExpectationSuite, reports: Path) -> GateResult:
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
    if isinstance(data, pd.DataFrame):
        return _report(reports, name, data, suite)
    try:
        frame = read_parquet(name, data, columns_of(*suite.expectations))
    except duckdb.Error as error:
        return _finish(unreadable(name, error), None, reports)
    return _report(reports, name, frame, suite)


def run_gate_setting_aside(
    name: str, frame: pd.DataFrame, suite: gx.ExpectationSuite, reports: Path, *, key: str, of: int
) -> tuple[GateResult, dict[str, str]]:
    """Validate a frame whose rows are kept elsewhere, set the few aside that are at fault, and write the page.

    Parameters
    ----------
    name, suite, reports
        As for `run_gate`.
    frame : pandas.DataFrame of shape (n_rows, n_columns)
    key : str
        Column by which rows belong together: with one of them all are set aside.
    of : int
        Rows of which no more than a hundredth (``max_share`` of `thresholds.toml`) may be at fault.

    Returns
    -------
    GateResult
        Of the rows that are left, where all others could be set aside; what these broke are warnings then.
    dict of str to str
        Values of `key` that were set aside, each with the rules that its rows break.
    """
    validated = evaluate(name, frame, suite)
    result = result_of(name, frame, validated)
    not_met = None if result.passed else rows_at_fault(name, frame, suite, result, of=of)
    if not not_met:
        return _finish(result, validated, reports), {}
    refused: dict[str, list[str]] = {}
    for rule, labels in not_met:
        for label in labels:
            rules = refused.setdefault(str(frame.at[label, key]), [])
            if rule not in rules:
                rules.append(rule)
    is_left = ~frame[key].astype(str).isin(refused)
    left = frame[is_left]
    again = evaluate(name, left, suite)
    found = result_of(name, left, again)
    was = tuple(msgspec.structs.replace(finding, level="warning") for finding in result.failures)
    found = msgspec.structs.replace(
        found,
        warnings=was + found.warnings,
        quarantined=int((~is_left).sum()),
        note=f"{in_rows(int((~is_left).sum()))} left out, of {', '.join(list(refused)[:_NAMED])}"
        + ("" if len(refused) <= _NAMED else f" and {len(refused) - _NAMED:,} more"),
    )
    return _finish(found, again, reports), {one: "; ".join(rules) for one, rules in refused.items()}


def require_passed(results: Iterable[GateResult], accept: str = "candor validate --accept") -> None:
    """Stop if a gate failed.

    Parameters
    ----------
    accept : str
        What lets a change since the last good run pass; told if nothing else is wrong.

    Raises
    ------
    GateError
        One line with the first failure's table, column, rule, count and expectation, and the number
        of further failures.
    """
    results = list(results)
    failures = [finding for result in results for finding in result.failures]
    if failures:
        more = f"; and {len(failures) - 1} more" if len(failures) > 1 else ""
        meant = f"; if a change is meant: {accept}" if all(one.since_last_run for one in failures) else ""
        raise GateError(f"validation failed: {failures[0]}{more}{meant}")


def _set_aside(
    home: Home, name: str, table: SourceTable, before: Judged, origin: str, run: str, compare: bool
) -> Judged:
    """Move faulty rows out of a table and judge what is left; what was wrong with them is a warning then."""
    assert before.faulty is not None
    rows, path = set_aside(home, name, before.faulty, run)
    again = judge_source(home, name, table, origin, compare=compare)
    place = str(path.relative_to(home.root))
    note = f"{in_rows(rows)} set aside in {place}"
    found = tuple(msgspec.structs.replace(finding, level="warning") for finding in before.result.failures)
    result = msgspec.structs.replace(
        again.result, warnings=found + again.result.warnings, quarantined=rows, quarantine=place, note=note
    )
    return Judged(result, again.validated, again.profile)


def _report(
    reports: Path, name: str, frame: pd.DataFrame, suite: gx.ExpectationSuite, more: More | None = None
) -> GateResult:
    validated = evaluate(name, frame, suite, more) if more else evaluate(name, frame, suite)
    return _finish(result_of(name, frame, validated), validated, reports)


def _finish(result: GateResult, validated: ExpectationSuiteValidationResult | None, reports: Path) -> GateResult:
    run, at = new_run()
    data_docs.write_page(result, validated, reports)
    data_docs.finish(Run(run=run, at=at, results=(result,)), reports)
    return result
