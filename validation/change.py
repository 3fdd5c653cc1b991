"""What is asked of a table in the light of its last good run: that it is still the same table, only grown.

The rules are on three frames: the whole table, the rows that became known since then (a bad day is
lost among two years of good ones), and a frame of days with the rows that became known on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import great_expectations.expectations as gxe
import pandas as pd

from feature_repo.contract import FeatureSpec
from validation.asked import CREATED
from validation.last_good import PROBABILITIES, ColumnProfile, Profile, quantiles_of, rows_by_day
from validation.rules import Level, remarks
from validation.thresholds import Days, LastRun, Quartiles, Swapped

ROWS, LEAST, MOST = "rows of a day", "least rows of the day", "most rows of the day"


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
    parts = _like(frame, specs, last, limits, "", [*_rows(last, limits)])
    since = frame[frame[CREATED] > last.until]
    if len(since) < len(frame):
        parts += _like(since, specs, last, limits, " in rows since the last good run")
    return [*parts, *_days(frame, last, limits.days)]


def batch_changes(frame: pd.DataFrame, specs: Sequence[FeatureSpec], last: Profile, limits: LastRun) -> list[Part]:
    """Return what is asked of rows on their way into a table, as of those that came since its last good run."""
    return _like(frame, specs, last, limits, "") if last.rows >= limits.min_rows else []


def _like(
    frame: pd.DataFrame,
    specs: Sequence[FeatureSpec],
    last: Profile,
    limits: LastRun,
    where: str,
    also: Sequence[gxe.Expectation] = (),
) -> list[Part]:
    """Return what is asked of the columns of a frame, nothing if it has few rows, and what is asked of it anyway."""
    if len(frame) < limits.min_rows:
        return [Part(frame, also)] if also else []
    return [
        Part(frame, [*also, *_columns(frame, specs, last, limits, where)]),
        *_swapped(frame, specs, last, limits.swapped, where),
    ]


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
        if filled := int(frame[spec.name].notna().sum()):
            if (1 - known.common) * filled >= limits.constant.expected_others:
                yield gxe.ExpectColumnUniqueValueCountToBeBetween(
                    column=spec.name, min_value=2, **_rule(f"must not be one and the same value{where}")
                )
            yield from _quartiles(spec.name, known, limits.quartiles, where)


def _nulls(column: str, known: ColumnProfile, limits: LastRun, where: str) -> Iterator[gxe.Expectation]:
    levels: dict[Level, float] = {"critical": limits.nulls.critical_rise, "warning": limits.nulls.warning_rise}
    for level, rise in levels.items():
        most = known.nulls + rise
        if most < 1:
            rule = f"must be null in at most {most:.1%} of the rows{where}: {known.nulls:.1%} at the last good run"
            yield gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=1 - most, **_rule(rule, level))


def _quartiles(column: str, known: ColumnProfile, by: Quartiles, where: str) -> Iterator[gxe.Expectation]:
    """Ask that the quartiles stay within so many spreads, and within a factor if all are above zero."""
    if not known.spread:
        return
    levels: dict[Level, tuple[float, float]] = {
        "critical": (by.critical_spreads, by.critical_factor),
        "warning": (by.warning_spreads, by.warning_factor),
    }
    were = ", ".join(f"{value:,.6g}" for value in known.quartiles)
    for level, (spreads, factor) in levels.items():
        ranges = []
        for value in known.quartiles:
            least, most = value - spreads * known.spread, value + spreads * known.spread
            if known.quartiles[0] > 0:
                least, most = max(least, value / factor), min(most, value * factor)
            ranges.append([least, most])
        rule = f"must have quartiles{where} within {spreads:g} spreads and {factor:g} times the last good run's {were}"
        yield gxe.ExpectColumnQuantileValuesToBeBetween(
            column=column,
            quantile_ranges={"quantiles": list(PROBABILITIES[1:4]), "value_ranges": ranges},
            **_rule(rule, level),
        )


def _swapped(
    frame: pd.DataFrame, specs: Sequence[FeatureSpec], last: Profile, limits: Swapped, where: str
) -> Iterator[Part]:
    """Ask that no two columns are much nearer to each other's quartiles of the last good run than to their own."""
    known = {spec.name: last.columns[spec.name] for spec in specs if spec.name in last.columns}
    now = {name: quantiles_of(frame[name])[1:4] for name, column in known.items() if column.spread}
    for a, b in combinations([name for name, quartiles in now.items() if quartiles], 2):
        own = _distance(now[a], known[a]) + _distance(now[b], known[b])
        crossed = _distance(now[a], known[b]) + _distance(now[b], known[a])
        if own > limits.own_spreads and crossed * limits.times_nearer < own:
            pair = pd.DataFrame({f"{a} as {b}": [crossed], "each as itself": [own]})
            rule = f"must not look like {b}, and {b} like {a}{where}: the last good run had them the other way round"
            yield Part(pair, [_not_less(f"{a} as {b}", "each as itself", rule, "critical")])


def _distance(quartiles: Sequence[float], known: ColumnProfile) -> float:
    """Return by how many spreads quartiles are away from those of a column."""
    return max(abs(value - was) for value, was in zip(quartiles, known.quartiles, strict=True)) / known.spread


def _days(frame: pd.DataFrame, last: Profile, limits: Days) -> Iterator[Part]:
    """Ask that days which the last good run knew keep their rows."""
    now = rows_by_day(frame[CREATED])
    known = {day: count for day, count in last.days.items() if count >= limits.min_rows}
    if not known:
        return
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


def _not_less(column: str, than: str, rule: str, level: Level) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=column, column_B=than, or_equal=True, **_rule(rule, level)
    )


def _rule(rule: str, level: Level = "critical") -> dict[str, object]:
    noted = remarks(rule if level == "critical" else rule.replace("must", "should", 1), level=level)
    noted["meta"]["since_last_run"] = True
    return noted
