"""What is asked of a table in the light of its last good run: that it is still the same table, only grown.

The rules are on three frames: the whole table, the rows that became known since then (a bad day is
lost among two years of good ones), and a frame of days with the rows that became known on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import great_expectations.expectations as gxe
import pandas as pd

from feature_repo.contract import FeatureSpec
from validation.asked import CREATED
from validation.last_good import PROBABILITIES, ColumnProfile, Profile, rows_by_day
from validation.rules import Level, remarks
from validation.thresholds import Days, LastRun

ROWS, LEAST, MOST = "rows of a day", "least rows of the day", "most rows of the day"
_QUARTILES = PROBABILITIES[1:4]
_WEEK, _WEEKS = timedelta(days=7), 8


@dataclass(frozen=True)
class Part:
    """A frame and what is asked of it."""

    frame: pd.DataFrame
    expectations: Sequence[gxe.Expectation]


def changes(frame: pd.DataFrame, specs: Sequence[FeatureSpec], last: Profile, limits: LastRun) -> list[Part]:
    """Return what is asked of a table beside its suite.

    Parameters
    ----------
    frame : pandas.DataFrame of shape (n_rows, n_columns)
        The table, its instants in UTC and its numbers as float64.
    specs : sequence of FeatureSpec
        Features among its columns that are sound.
    last : Profile
        Of the last good run.

    Returns
    -------
    list of Part
        The whole table, the rows since and the days; none of a part with fewer rows than a rule needs.
    """
    if last.until is None or last.rows < limits.min_rows:
        return []
    parts = [Part(frame, [*_rows(last, limits)])]
    if len(frame) >= limits.min_rows:
        parts[0] = Part(frame, [*parts[0].expectations, *_columns(frame, specs, last, limits, "")])
    since = frame[frame[CREATED] > last.until]
    if len(since) >= limits.min_rows:
        parts.append(Part(since, [*_columns(since, specs, last, limits, " in rows since the last good run")]))
    return [part for part in [*parts, *_days(frame, last, limits.days)] if part.expectations]


def batch_changes(frame: pd.DataFrame, specs: Sequence[FeatureSpec], last: Profile, limits: LastRun) -> list[Part]:
    """Return what is asked of rows on their way into a table, as of those that came since its last good run."""
    if last.until is None or min(last.rows, len(frame)) < limits.min_rows:
        return []
    return [Part(frame, [*_columns(frame, specs, last, limits, "")])]


def _rows(last: Profile, limits: LastRun) -> Iterator[gxe.Expectation]:
    least, fewer, more = (
        round(last.rows * share)
        for share in (limits.rows.critical_below, limits.rows.warning_below, limits.rows.warning_above)
    )
    rule = f"must have {least:,} rows or more: the last good run had {last.rows:,}"
    yield gxe.ExpectTableRowCountToBeBetween(min_value=least, **_rule(rule))
    rule = f"should have {fewer:,} to {more:,} rows: the last good run had {last.rows:,}"
    yield gxe.ExpectTableRowCountToBeBetween(min_value=fewer, max_value=more, **_rule(rule, "warning"))


def _columns(
    frame: pd.DataFrame, specs: Sequence[FeatureSpec], last: Profile, limits: LastRun, where: str
) -> Iterator[gxe.Expectation]:
    for spec in specs:
        if (known := last.columns.get(spec.name)) is None:
            continue
        yield from _nulls(spec.name, known, limits, where)
        if frame[spec.name].notna().any():
            if not known.is_constant:
                yield gxe.ExpectColumnUniqueValueCountToBeBetween(
                    column=spec.name, min_value=2, **_rule(f"must not be one and the same value{where}")
                )
            yield from _quartiles(spec.name, known, limits, where)


def _nulls(column: str, known: ColumnProfile, limits: LastRun, where: str) -> Iterator[gxe.Expectation]:
    levels: dict[Level, float] = {"critical": limits.nulls.critical_rise, "warning": limits.nulls.warning_rise}
    for level, rise in levels.items():
        most = known.nulls + rise
        if most < 1:
            rule = f"must be null in at most {most:.1%} of the rows{where}: {known.nulls:.1%} at the last good run"
            yield gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=1 - most, **_rule(rule, level))


def _quartiles(column: str, known: ColumnProfile, limits: LastRun, where: str) -> Iterator[gxe.Expectation]:
    """Ask that the quartiles stay within so many spreads, and within a factor if all are above zero."""
    if not known.quantiles:
        return
    low, *quartiles, high = known.quantiles
    if not (spread := quartiles[2] - quartiles[0] or high - low):
        return
    by = limits.quartiles
    levels: dict[Level, tuple[float, float]] = {
        "critical": (by.critical_spreads, by.critical_factor),
        "warning": (by.warning_spreads, by.warning_factor),
    }
    were = ", ".join(f"{value:,.6g}" for value in quartiles)
    for level, (spreads, factor) in levels.items():
        ranges = []
        for value in quartiles:
            least, most = value - spreads * spread, value + spreads * spread
            if quartiles[0] > 0:
                least, most = max(least, value / factor), min(most, value * factor)
            ranges.append([least, most])
        rule = f"must have quartiles{where} within {spreads:g} spreads and {factor:g} times the last good run's {were}"
        yield gxe.ExpectColumnQuantileValuesToBeBetween(
            column=column,
            quantile_ranges={"quantiles": list(_QUARTILES), "value_ranges": ranges},
            **_rule(rule, level),
        )


def _days(frame: pd.DataFrame, last: Profile, limits: Days) -> Iterator[Part]:
    """Ask that days which the last good run knew keep their rows, and that new ones are like the weeks before."""
    now = rows_by_day(frame[CREATED])
    known = {day: count for day, count in last.days.items() if count >= limits.min_rows}
    if known:
        days = pd.DataFrame(
            {
                ROWS: [now.get(day, 0) for day in known],
                LEAST: [count * limits.critical_below for count in known.values()],
                MOST: [count * limits.critical_above for count in known.values()],
            }
        )
        rule = "must be {} {:.0%} of what the last good run had of the same day; a row is a day"
        yield Part(
            days,
            [
                _not_less(ROWS, LEAST, rule.format("at least", limits.critical_below), "critical"),
                _not_less(MOST, ROWS, rule.format("at most", limits.critical_above), "critical"),
            ],
        )
    assert last.until is not None
    new = [date.fromisoformat(day) for day in now][:-1]  # the last day may not be over
    least = {day: _least(day, last, now) for day in new if day >= last.until.date()}
    weekly = {day: count for day, count in least.items() if count >= limits.min_rows}
    if weekly:
        days = pd.DataFrame(
            {
                ROWS: [now[day.isoformat()] for day in weekly],
                LEAST: [count * limits.new_warning_below for count in weekly.values()],
            }
        )
        rule = f"should be at least {limits.new_warning_below:.0%} of the least of eight such weekdays; a row is a day"
        yield Part(days, [_not_less(ROWS, LEAST, rule, "warning")])


def _least(day: date, last: Profile, now: dict[str, int]) -> int:
    """Return the least rows of the same weekday in the weeks before, known to the last good run or now."""
    before = [(day - week * _WEEK).isoformat() for week in range(1, _WEEKS + 1)]
    return min(last.days.get(one, now.get(one, 0)) for one in before)


def _not_less(column: str, than: str, rule: str, level: Level) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=column, column_B=than, or_equal=True, **_rule(rule, level)
    )


def _rule(rule: str, level: Level = "critical") -> dict[str, object]:
    noted = remarks(rule if level == "critical" else rule.replace("must", "should", 1), level=level)
    noted["meta"]["since_last_run"] = True
    return noted
