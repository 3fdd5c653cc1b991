"""What a source table looked like when it last passed its gate: a small profile, kept as JSON in the home's reports.

A profile belongs to an *origin*, the portfolio that the table came from: another portfolio is no change of this one. It
holds shares, quartiles and counts of rows, and neither a smallest nor a largest value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
import pandas as pd

from feature_repo.contract import FeatureSpec
from feature_repo.errors import InputError
from feature_repo.home import Home, write_atomically
from validation.asked import CREATED

FOLDER = "last-good"
_KEPT = timedelta(weeks=8)
PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column of n rows.

    Parameters
    ----------
    nulls : float
        Share of rows without a value, 0..1.
    common : float
        Share of its values that are the most common one, 0..1; of numbers, the median. 1 where it holds none.
    quantiles : tuple of float
        At `PROBABILITIES`; empty for a column that holds no number.
    """

    nulls: float
    common: float
    quantiles: tuple[float, ...] = ()

    @property
    def spread(self) -> float:
        """The interquartile range, or half of the middle 90 % if that is more; 0 without numbers."""
        if not self.quantiles:
            return 0.0
        lowest, low, _, high, highest = self.quantiles
        return max(high - low, (highest - lowest) / 2)

    @property
    def quartiles(self) -> tuple[float, ...]:
        """The three quartiles; empty without numbers."""
        return self.quantiles[1:4]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A table that passed.

    Parameters
    ----------
    rows : int
        Rows that count: of equal ones, where these count once, one.
    until : datetime or None
        When its newest row became known, UTC; None for a table without rows.
    files : dict of str to tuple of int
        Its files, by their path in the table's folder, with size in bytes and time of change in nanoseconds.
    columns : dict of str to ColumnProfile
        The features.
    days : dict of str to int
        Rows that became known on each of the last days before that of `until`, by ISO date in UTC.
    """

    origin: str
    rows: int
    until: datetime | None
    files: dict[str, tuple[int, int]]
    columns: dict[str, ColumnProfile]
    days: dict[str, int]


def profile_of(
    frame: pd.DataFrame, specs: Sequence[FeatureSpec], origin: str, files: dict[str, tuple[int, int]]
) -> Profile:
    """Profile a table that passed.

    Parameters
    ----------
    frame : pandas.DataFrame of shape (n_rows, n_columns)
        As `validation.tables.read_source` gives it.
    """
    until = frame[CREATED].max() if len(frame) else None
    columns = {}
    for spec in specs:
        values = frame[spec.name].dropna()
        quantiles = quantiles_of(values) if spec.kind in ("number", "count") else ()
        usual = quantiles[2] if quantiles else values.mode().iloc[0] if len(values) else None
        columns[spec.name] = ColumnProfile(
            nulls=1 - len(values) / len(frame) if len(frame) else 0.0,
            common=float((values == usual).mean()) if len(values) else 1.0,
            quantiles=quantiles,
        )
    days = rows_by_day(frame[CREATED])
    last = until.date() if until is not None else None
    kept = {day: n for day, n in days.items() if last and timedelta(0) < last - date.fromisoformat(day) <= _KEPT}
    return Profile(
        origin=origin,
        rows=len(frame),
        until=until.to_pydatetime() if until is not None else None,
        files=files,
        columns=columns,
        days=kept,
    )


def quantiles_of(values: pd.Series[float]) -> tuple[float, ...]:
    """Return the quantiles of numbers at `PROBABILITIES`, linear between two of them; empty for no number."""
    numbers = values.dropna().astype("float64")
    return tuple(numbers.quantile(list(PROBABILITIES)).tolist()) if len(numbers) else ()


def rows_by_day(created: pd.Series[pd.Timestamp]) -> dict[str, int]:
    """Count instants by their day in UTC, in order."""
    counts = created.dt.floor("D").value_counts().sort_index()
    return {f"{day:%Y-%m-%d}": int(count) for day, count in counts.items()}


def files_of(home: Home, table: str) -> dict[str, tuple[int, int]]:
    """Return the files of a source table as they are now; two equal answers mean that none was written between them."""
    folder = home.sources / table
    found = {}
    for path in sorted(folder.rglob("*.parquet")):
        stat = path.stat()
        found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns)
    return found


def read(home: Home, table: str, origin: str) -> Profile | None:
    """Return the profile of the table's last good run of this origin, None if there was none.

    Raises
    ------
    InputError
        If it cannot be read; the message names the file.
    """
    path = _path(home, table, origin)
    try:
        profile = msgspec.json.decode(path.read_bytes(), type=Profile)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is damaged ({error}); delete it, to compare with nothing once") from None
    return profile if profile.origin == origin else None


def write(home: Home, table: str, profile: Profile) -> None:
    """Keep a profile as that of the table's last good run."""
    path = _path(home, table, profile.origin)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(profile)))


def _path(home: Home, table: str, origin: str) -> Path:
    return home.reports / FOLDER / (re.sub(r"[^A-Za-z0-9._-]+", "-", origin) or "tables") / f"{table}.json"
