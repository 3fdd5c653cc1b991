"""What a gate found, in counts and rules and without a single value of the data."""

from __future__ import annotations

import msgspec

from validation.rules import Level


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation that was not met.

    Parameters
    ----------
    table : str
        Table or gate.
    column : str
        Column concerned, or several joined by ``+``; empty for the table as a whole.
    expectation : str
        Kind of expectation, as Great Expectations names it.
    rule : str
        What was expected, in words.
    level : {"critical", "warning"}
        A critical finding closes the gate.
    unexpected, of : int
        Rows that break the rule, and rows examined; both 0 where rows are not what is counted.
    observed : str
        What was found, for rules about types, counts or many rows at once.
    since_last_run : bool
        Whether it is a change since the last good run, which may be meant.
    """

    table: str
    expectation: str
    rule: str
    level: Level
    column: str = ""
    unexpected: int = 0
    of: int = 0
    observed: str = ""
    since_last_run: bool = False

    def __str__(self) -> str:
        where = f"{self.table}.{self.column}" if self.column else self.table
        if self.of:
            found = f": {self.unexpected:,} of {self.of:,} rows break this"
        else:
            found = f": found {self.observed}" if self.observed else ""
        return f"{where} {self.rule}{found} ({self.expectation})"


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate says about one table.

    Parameters
    ----------
    name : str
        Name of the gate.
    passed : bool
        Whether no critical expectation failed.
    rows : int
        Rows examined.
    checked : int
        Expectations evaluated; those on a column that is missing or of the wrong type are not.
    failures, warnings : tuple of Finding
        Critical findings, and the others.
    note : str
        What a reader should know, for example that the table is empty.
    quarantined : int
        Rows that this run set aside; they are not among `rows`.
    quarantine : str
        Path of the file that holds them, from the home's folder; empty if there are none.
    """

    name: str
    passed: bool
    rows: int
    checked: int
    failures: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    note: str = ""
    quarantined: int = 0
    quarantine: str = ""


def in_rows(count: int) -> str:
    """Say a number of rows: ``1 row``, ``1,000 rows``."""
    return f"{count:,} row{'' if count == 1 else 's'}"
