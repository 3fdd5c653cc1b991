"""How much a table may differ before its gate warns or closes: numbers of a file, none of the code."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Factor = Annotated[float, Meta(gt=1)]
_PATH = Path(__file__).with_name("thresholds.toml")


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; an unknown key is a mistake."""


class Quarantine(_Section, frozen=True, kw_only=True):
    """Share of a table's rows that may be set aside."""

    max_share: Share


class References(_Section, frozen=True, kw_only=True):
    """Share of rows whose applicant is known elsewhere, from `min_rows` rows on."""

    min_rows: Count
    warning_below: Share
    critical_below: Share


class Rows(_Section, frozen=True, kw_only=True):
    """Rows of a table over those of the last good run."""

    critical_below: Share
    warning_below: Share
    warning_above: Factor


class Nulls(_Section, frozen=True, kw_only=True):
    """By how much the share of nulls of a column may rise."""

    warning_rise: Share
    critical_rise: Share


class Quartiles(_Section, frozen=True, kw_only=True):
    """By how many spreads, and by what factor, the quartiles of a column may move."""

    warning_spreads: Annotated[float, Meta(gt=0)]
    warning_factor: Factor
    critical_spreads: Annotated[float, Meta(gt=0)]
    critical_factor: Factor


class Swapped(_Section, frozen=True, kw_only=True):
    """When two columns look swapped: both moved, and towards each other."""

    own_spreads: Annotated[float, Meta(gt=0)]
    times_nearer: Factor


class Constant(_Section, frozen=True, kw_only=True):
    """Rows of other values that must have been expected before one value alone is a fault."""

    expected_others: Count


class Days(_Section, frozen=True, kw_only=True):
    """Rows that became known on one day over those of the last good run."""

    min_rows: Count
    critical_below: Share
    critical_above: Factor


class LastRun(_Section, frozen=True, kw_only=True):
    """What is compared with the last good run, from `min_rows` rows on."""

    min_rows: Count
    rows: Rows
    nulls: Nulls
    quartiles: Quartiles
    swapped: Swapped
    constant: Constant
    days: Days


class Thresholds(_Section, frozen=True, kw_only=True):
    """The whole file."""

    quarantine: Quarantine
    references: References
    last_run: LastRun


@lru_cache(maxsize=1)
def thresholds() -> Thresholds:
    """Return the thresholds of ``validation/thresholds.toml``."""
    return msgspec.toml.decode(_PATH.read_bytes(), type=Thresholds)
