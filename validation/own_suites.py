"""Expectations written by hand, beside those of the contract: plain Great Expectations suites in a home.

``CANDOR_HOME/suites/<gate>.json`` is a suite in Great Expectations' own JSON, as `ExpectationSuite.to_json_dict` gives
it: ``{"name": ..., "expectations": [{"type": ..., "kwargs": {...}, "severity": "warning"}]}``. The gate is a source
table, whose events are then held against what it asks of single rows too, ``training_frame``, or ``request``, which
goes into the next bundle's guard. A critical expectation that is not met closes the gate; severity ``warning`` or
``info`` only reports. ``meta.rule`` may say it in words.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import great_expectations.expectations as gxe
import msgspec
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    ColumnPairMapExpectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from feature_repo.contract import FeatureSpec
from feature_repo.errors import InputError
from feature_repo.home import Home
from validation.asked import columns_of
from validation.guard import Guard
from validation.rules import REQUEST, Expectation, Suite, remarks, request_suite

FOLDER = "suites"


def own_expectations(home: Home, gate: str, columns: Collection[str]) -> list[gxe.Expectation]:
    """Return what a user asks of a gate beyond the contract.

    Parameters
    ----------
    columns : collection of str
        Columns that there are.

    Returns
    -------
    list of great_expectations.expectations.Expectation
        With the meta that `validation.rules` describes.

    Raises
    ------
    InputError
        If the file is no suite, or an expectation is of an unknown kind, has wrong arguments or reads an unknown
        column; the message names file, number and kind.
    """
    path = home.root / FOLDER / f"{gate}.json"
    return [_made(path, number, one, columns) for number, one in enumerate(_read(path), start=1)]


def check_names(home: Home, gates: Collection[str]) -> None:
    """Refuse a file for a gate that there is not, which nothing would ever read.

    Raises
    ------
    InputError
        Naming it.
    """
    for path in sorted((home.root / FOLDER).glob("*.json")):
        if path.stem not in gates:
            raise InputError(f"{path}: there is no gate {path.stem!r} (there are: {', '.join(gates)})")


def of_rows(expectations: Sequence[gxe.Expectation]) -> list[gxe.Expectation]:
    """Return the expectations that single rows meet or do not, whatever the others are."""
    return [one for one in expectations if is_of_rows(one)]


def is_of_rows(expectation: gxe.Expectation) -> bool:
    """Whether an expectation is one of single rows: no aggregate, and of all rows."""
    kinds = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
    return isinstance(expectation, kinds) and getattr(expectation, "mostly", 1) == 1


def guard_suite(home: Home, specs: Sequence[FeatureSpec]) -> bytes:
    """Return the suite of a request for a bundle: what the contract asks, then what ``suites/request.json`` does.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        Every feature of the contract.

    Returns
    -------
    bytes
        Great Expectations' JSON.

    Raises
    ------
    InputError
        As `own_expectations`, or if an expectation cannot be asked of one request.
    """
    path, suite = home.root / FOLDER / f"{REQUEST}.json", request_suite(specs)
    own = tuple(_read(path))
    own_expectations(home, REQUEST, [spec.name for spec in specs])
    try:
        Guard.of_suite(Suite(name=REQUEST, expectations=own))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return msgspec.json.encode(msgspec.structs.replace(suite, expectations=suite.expectations + own))


def _read(path: Path) -> Sequence[Expectation]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Suite).expectations
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is no Great Expectations suite ({error})") from None


def _made(path: Path, number: int, one: Expectation, columns: Collection[str]) -> gxe.Expectation:
    place = f"{path}, expectation {number} ({one.type})"
    given = {name: value for name, value in one.kwargs.items() if value is not None and value is not False}
    arguments = ", ".join(f"{name} {value!r}" for name, value in given.items() if not name.startswith("column"))
    said = (one.meta or {}).get("rule") or f"must meet {one.type}{f' ({arguments})' if arguments else ''}"
    noted: dict[str, Any] = remarks(said, level="critical" if one.severity == "critical" else "warning")
    noted["meta"] = {**(one.meta or {}), **noted["meta"]}
    try:
        configuration = ExpectationConfiguration(type=one.type, kwargs=dict(one.kwargs), **noted)
        expectation = configuration.to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as error:
        raise InputError(f"{place}: {' '.join(str(error).split())}") from None
    if unknown := columns_of(expectation) - set(columns):
        raise InputError(f"{place}: there is no column {', '.join(sorted(unknown))}")
    return expectation
