"""A run that brings profiles up to what the log holds, each decision counted exactly once.

A decision is named by its place in the log: `decided_at`, then `decision_id`. What the index says of an hour is: `rows`
of its decisions are in this file, none of them after `last`. That is written in one step, with the file's name, so
that whoever dies leaves the state before or the one after. Decisions may become visible out of order, as with several
workers on PostgreSQL: then the log holds more than `rows` of them up to `last`. So an hour is left alone only if the
log holds exactly `rows` of it. Decisions after `last` are added only if it holds exactly `rows` up to there: those in
the file are among them, so that they are the same. Else the hour is made anew. No snapshot, no clock and no sequence
of the database is relied upon, and a log that was restored, filled in later or had decisions taken out is profiled as
it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path

from monitoring.log_reader import Mark
from monitoring.logged_inputs import HOUR, HourInLog, LoggedInputs
from monitoring.profile_index import Cells, Day, Hour, Index, read_cells, write_cells, write_index
from monitoring.profiles import Profile, ProfileBuilder, merge
from monitoring.segments import Segment

HOURS_KEPT = timedelta(days=60)
"""How long the hours of a day are kept beside the day that they were merged to."""
DAY = timedelta(days=1)
_TOGETHER = 8  # hours merged at once: fewer take longer, more take memory


@dataclass(frozen=True)
class Updated:
    """What a run did: hours that were made or added to, and by how many more decisions are counted than before."""

    hours: int
    decisions: int


class ProfilingRun:
    """One run over all days of a log.

    Parameters
    ----------
    place : Path
        Folder of the index and its files; nobody else writes there meanwhile.
    index : Index
        As it is there.
    log : LoggedInputs
    """

    def __init__(self, place: Path, index: Index, log: LoggedInputs) -> None:
        self._place = place
        self._index = index
        self._log = log
        self._there = {path.name for path in place.glob("*")}
        self._now = datetime.now(UTC)

    def all_days(self) -> Updated:
        """Profile what the index does not have, one day after the other, each kept when it is done."""
        logged = self._log.hours()
        by_day = {day.isoformat(): list(hours) for day, hours in groupby(logged, key=lambda hour: hour.date())}
        before = self._counted()
        for gone in self._index.days.keys() - by_day.keys():
            del self._index.days[gone]
        hours = 0
        for name, of_day in by_day.items():
            known = self._index.days.setdefault(name, Day())
            self._let_go(name, known)
            stale = [hour for hour in of_day if not self._is_all(known, hour, logged[hour])]
            is_over = _begin(name) + DAY <= self._now
            if stale or len(known.hours) != len(of_day) or (is_over and known.file not in self._there):
                self._index.days[name] = self._day(name, known, of_day, set(stale), is_over)
                write_index(self._place, self._index)
                hours += len(stale)
        return Updated(hours, self._counted() - before)

    def _counted(self) -> int:
        return sum(day.rows for day in self._index.days.values())

    def _let_go(self, name: str, day: Day) -> None:
        if day.file in self._there and self._is_long_over(name):
            for hour in day.hours.values():
                hour.file = ""

    def _is_long_over(self, name: str) -> bool:
        return self._now - _begin(name) - DAY > HOURS_KEPT

    def _is_all(self, day: Day, hour: datetime, logged: HourInLog) -> bool:
        known = day.hours.get(f"{hour:%H}")
        if known is None or (known.file or day.file) not in self._there:
            return False
        return known.rows == logged.rows and known.last.decided_at == logged.last_at

    def _day(self, name: str, known: Day, hours: list[datetime], stale: set[datetime], is_over: bool) -> Day:
        if self._is_long_over(name):
            return self._whole_day(name, hours)
        whole: dict[Segment, list[Profile]] = {}
        made: dict[str, Hour] = {}
        for beginning in hours:
            hour = known.hours.get(f"{beginning:%H}")
            if hour is None or beginning in stale or hour.file not in self._there:
                hour, cells = self._hour(beginning, hour)
            else:
                cells = read_cells(self._place, hour.file) if is_over else {}
            if hour:
                made[f"{beginning:%H}"] = hour
            for cell, profile in cells.items() if is_over else ():
                parts = whole.setdefault(cell, [])
                parts.append(profile)
                if len(parts) == _TOGETHER:
                    whole[cell] = [merge(parts)]
        return Day(made, self._write(name, {cell: merge(parts) for cell, parts in whole.items()}) if whole else "")

    def _whole_day(self, name: str, hours: list[datetime]) -> Day:
        """Profile a day whose hours are not kept any more, at once."""
        made: dict[str, Hour] = {}
        cells: dict[Segment, ProfileBuilder] = {}
        for beginning in hours:
            rows, last = self._track(beginning, None, cells)
            if last:
                made[f"{beginning:%H}"] = Hour(rows, last, "")
        return Day(made, self._write(name, {cell: builder.view() for cell, builder in cells.items()}) if cells else "")

    def _hour(self, beginning: datetime, known: Hour | None) -> tuple[Hour | None, Cells]:
        """Profile an hour, or what came to it; None if the log holds nothing of it any more."""
        before, after, cells = 0, None, Cells()
        if known and known.file in self._there and self._log.count(beginning, known.last) == known.rows:
            before, after, cells = known.rows, known.last, read_cells(self._place, known.file)
        fresh: dict[Segment, ProfileBuilder] = {}
        rows, last = self._track(beginning, after, fresh)
        if last is None:
            return None, {}
        for cell, builder in fresh.items():
            cells[cell] = merge([cells[cell], builder.view()]) if cell in cells else builder.view()
        return Hour(before + rows, last, self._write(f"{beginning:%Y-%m-%dT%H}", cells)), cells

    def _track(
        self, beginning: datetime, after: Mark | None, cells: dict[Segment, ProfileBuilder]
    ) -> tuple[int, Mark | None]:
        """Add the decisions of an hour after a mark to their cells, and return how many and the last."""
        rows, last = 0, after
        for page in self._log.pages(beginning, beginning + HOUR, after):
            for cell in page.cells:
                cells.setdefault(cell, ProfileBuilder(beginning)).track(page.of(cell))
            rows, last = rows + page.rows, page.last
        return rows, last

    def _write(self, name: str, cells: Cells) -> str:
        file = write_cells(self._place, name, cells)
        self._there.add(file)
        return file


def _begin(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
