"""The gate of one source table: what is read, what is asked, and which rows could be set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import great_expectations as gx
import pandas as pd
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult

from feature_repo.contract import FeatureSpec
from feature_repo.home import Home
from validation import last_good
from validation.asked import CREATED, columns_of
from validation.change import Part, changes
from validation.evaluation import as_compared, evaluate, findings, rows_not_met
from validation.last_good import Profile, profile_of
from validation.own_suites import is_of_rows, own_expectations
from validation.quarantine import faulty_rows
from validation.results import Finding, GateResult
from validation.suites import COPIES, KNOWN_ELSEWHERE, delivered_once, loans_suite, references, table_suite
from validation.tables import Reading, read_parquet
from validation.thresholds import thresholds

LOANS = "loans"
FIRST_RUN = "no earlier good run of this portfolio to compare with"
_UNIQUE = "expect_compound_columns_to_be_unique"


@dataclass(frozen=True)
class SourceTable:
    """What a source table promises.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        Feature columns; of the loans table the inputs of a request.
    allow_empty : bool
        Whether it may have no rows, because the portfolio does not fill it.
    ttl : timedelta or None
        Age beyond which a row is not served; the newest row must be younger. None asks for no age.
    refers_to : tuple of str
        Tables in one of which its applicants are expected.
    """

    specs: Sequence[FeatureSpec]
    allow_empty: bool = False
    ttl: timedelta | None = None
    refers_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What a gate says of a table.

    Parameters
    ----------
    validated : great_expectations.core.ExpectationSuiteValidationResult or None
        None where nothing could be read.
    profile : Profile or None
        Of a table that passed.
    faulty : pandas.DataFrame or None
        Rows that can be set aside so that the table passes; None where there are none, or nothing is gained by it.
    """

    result: GateResult
    validated: ExpectationSuiteValidationResult | None = None
    profile: Profile | None = None
    faulty: pd.DataFrame | None = None


def judge_source(home: Home, name: str, table: SourceTable, origin: str, *, compare: bool) -> Judged:
    """Validate a source table, measured on the home's clock; nothing is written.

    A row of an applicant table that is there twice, because an event was pushed twice, counts once: it
    answers no question differently. A loan counts as often as it is there.

    Parameters
    ----------
    origin : str
        Where its rows come from; only a good run of the same origin is compared with.
    compare : bool
        Whether it is compared at all.

    Raises
    ------
    InputError
        If the table has no file, or a suite of the user's is not one.
    """
    files = last_good.files_of(home, name)
    suite = _suite(home, name, table)
    columns = sorted(columns_of(*suite.expectations) - {KNOWN_ELSEWHERE, COPIES})
    suite.expectations += own_expectations(home, name, columns)
    elsewhere = tuple(home.source_glob(other) for other in table.refers_to)
    reading = Reading("" if name == LOANS else COPIES, KNOWN_ELSEWHERE, elsewhere)
    try:
        frame = read_parquet(name, home.source_glob(name), columns, reading)
    except duckdb.Error as error:
        return Judged(unreadable(name, error))
    if name != LOANS:
        suite.expectations.append(delivered_once())
    if KNOWN_ELSEWHERE in frame and len(frame) >= thresholds().references.min_rows:
        suite.expectations += references(thresholds().references)
    last = last_good.read(home, name, origin) if compare else None

    def since(compared: pd.DataFrame, unsound: set[str]) -> Sequence[Part]:
        if last is None or unsound & {"", CREATED} or CREATED not in compared:
            return ()
        specs = [spec for spec in table.specs if spec.name not in unsound and spec.name in compared]
        return changes(compared, specs, last, thresholds().last_run)

    validated = evaluate(name, frame, suite, since)
    note = "" if last or not len(frame) or not compare else FIRST_RUN
    result = result_of(name, frame, validated, note)
    if result.passed:
        return Judged(result, validated, profile_of(frame, table.specs, origin, files))
    return Judged(result, validated, faulty=_faulty(name, frame, suite, result, columns))


def result_of(
    name: str, frame: pd.DataFrame, validated: ExpectationSuiteValidationResult, note: str = ""
) -> GateResult:
    """Return what a validated frame comes to."""
    found = findings(name, validated)
    failures = tuple(finding for finding in found if finding.level == "critical")
    return GateResult(
        name=name,
        passed=not failures,
        rows=len(frame),
        checked=len(validated.results),
        failures=failures,
        warnings=tuple(finding for finding in found if finding.level == "warning"),
        note=note if len(frame) else "empty, nothing to check",
    )


def unreadable(name: str, error: duckdb.Error) -> GateResult:
    """Return the result of files that could not be read."""
    # A conversion error quotes the value that it stumbled on.
    quotes = isinstance(error, duckdb.ConversionException)
    reason = "its files disagree on the type of a column" if quotes else str(error).splitlines()[0]
    rule = f"must be readable as Parquet ({reason})"
    found = Finding(table=name, expectation="read_parquet", rule=rule, level="critical")
    return GateResult(name=name, passed=False, rows=0, checked=0, failures=(found,))


def _suite(home: Home, name: str, table: SourceTable) -> gx.ExpectationSuite:
    # A clock set back by the user asks what was known then: later rows of the portfolio are no poison.
    state, now, outcomes_now = home.state(), home.now(), home.outcomes_now()
    as_of = max(now, state.as_of or now)
    if name == LOANS:
        outcomes_as_of = max(outcomes_now, state.outcomes_as_of or as_of)
        return loans_suite(table.specs, as_of=as_of, outcomes_as_of=outcomes_as_of, allow_empty=table.allow_empty)
    oldest = now - table.ttl if table.ttl else None
    return table_suite(name, table.specs, as_of=as_of, allow_empty=table.allow_empty, oldest=oldest)


def _faulty(
    name: str, frame: pd.DataFrame, suite: gx.ExpectationSuite, result: GateResult, columns: Sequence[str]
) -> pd.DataFrame | None:
    """Return the rows to set aside if single rows are all that is wrong, and they are few enough."""
    not_met = rows_at_fault(name, frame, suite, result, of=len(frame))
    if not_met is None:
        return None
    keys = {
        f"{_place(one)[0]} {one.meta['rule']}": one.column_list
        for one in _broken(suite, result)
        if one.expectation_type == _UNIQUE
    }
    return faulty_rows(frame[list(columns)], not_met, keys)


def rows_at_fault(
    name: str, frame: pd.DataFrame, suite: gx.ExpectationSuite, result: GateResult, *, of: int
) -> list[tuple[str, list[Any]]] | None:
    """Return the rules that rows break, each with their labels; None unless single rows are all that is wrong.

    Parameters
    ----------
    of : int
        Rows of which no more than the share of `thresholds.toml` may be at fault.
    """
    most = thresholds().quarantine.max_share * of
    broken = _broken(suite, result)
    counted = {_place(one) for one in broken if is_of_rows(one)}
    failed = {(finding.column, finding.expectation, finding.rule) for finding in result.failures}
    if failed - counted or any(not 0 < finding.unexpected <= most for finding in result.failures):
        return None
    not_met = rows_not_met(name, as_compared(frame), broken)
    return not_met if len({label for _, labels in not_met for label in labels}) <= most else None


def _broken(suite: gx.ExpectationSuite, result: GateResult) -> list[gx.expectations.Expectation]:
    failed = {(finding.column, finding.expectation, finding.rule) for finding in result.failures}
    return [one for one in suite.expectations if _place(one) in failed]


def _place(expectation: gx.expectations.Expectation) -> tuple[str, str, str]:
    """Return the column, kind and rule of an expectation, as a finding names them."""
    kwargs = expectation.configuration.kwargs
    column = kwargs.get("column") or kwargs.get("column_A") or "+".join(kwargs.get("column_list", ()))
    return column, expectation.expectation_type, expectation.meta["rule"]
