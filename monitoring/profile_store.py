"""Profiles of logged decisions by hour and by day, kept beside the log and made from it.

An hour is one of `decided_at`, the wall clock in UTC, also in a home with a clock of its own: profiles tell when
decisions were made. Each is kept in cells: the decisions of one recommendation, arm, model version and score band.
Any segment, day or longer period is a merge of cells, so that each row is sketched once. The outcomes of a period
come from the log when it is asked for, as of then. How each decision comes to be counted once is told in
`profiling_run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from feature_repo.errors import InputError
from feature_repo.home import Home
from feature_repo.portfolios.swap import undisturbed
from monitoring.banding import with_bands
from monitoring.logged_inputs import HOUR, LoggedInputs
from monitoring.logged_profile import outcome_profile
from monitoring.profile_index import Index, read_cells, read_index, sweep
from monitoring.profiles import Profile, beside, merge
from monitoring.profiling_run import DAY, ProfilingRun, Updated
from monitoring.segments import Segment

__all__ = ["ProfiledDay", "Updated", "count", "days", "folder", "last_decision", "period", "update"]


@dataclass(frozen=True)
class ProfiledDay:
    """A day of which there are profiles; `complete` once it is over and merged."""

    day: date
    decisions: int
    complete: bool


def folder(home: Home) -> Path:
    """Return where a home keeps profiles of its decisions."""
    return home.profiles / "decisions"


def update(home: Home) -> Updated:
    """Profile what the log holds and the index does not, one day after the other, each kept when it is done.

    Another run on the same home is waited for.

    Raises
    ------
    UnavailableError
        If the log is not there.
    """
    place = folder(home)
    log = LoggedInputs(home.decision_log_url)
    try:
        with undisturbed(place):
            index = read_index(place)
            sweep(place, index)
            return ProfilingRun(place, index, log).all_days()
    finally:
        log.close()


def days(home: Home) -> list[ProfiledDay]:
    """Return the days of which there are profiles, in order."""
    index = read_index(folder(home))
    return [ProfiledDay(date.fromisoformat(name), day.rows, bool(day.file)) for name, day in sorted(index.days.items())]


def count(home: Home, start: datetime, end: datetime) -> int:
    """Return how many decisions of a period have been profiled.

    Parameters
    ----------
    start, end : datetime
        With a zone, on the hour in UTC.
    """
    start, end = _on_the_hour(start), _on_the_hour(end)
    return sum(
        hour.rows
        for name, day in read_index(folder(home)).days.items()
        for number, hour in day.hours.items()
        if start <= datetime.fromisoformat(name).replace(tzinfo=UTC) + int(number) * HOUR < end
    )


def last_decision(home: Home) -> datetime | None:
    """Return when the last decision that has been profiled was made, UTC; None if there is none."""
    made = [hour.last.decided_at for day in read_index(folder(home)).days.values() for hour in day.hours.values()]
    return max(made, default=None)


def period(home: Home, start: datetime, end: datetime, segment: Segment | None = None) -> Profile:
    """Return the profile of the decisions from `start` on and before `end`, as far as they have been profiled.

    Parameters
    ----------
    start, end : datetime
        With a zone, on the hour in UTC.
    segment : Segment or None
        Of these decisions alone; None for all.

    Returns
    -------
    Profile
        Features, PD, score and recommendation; features once more for each score band; and the outcome, of those that
        have one by now: early ones are mostly bad, since who repays is known last.

    Raises
    ------
    InputError
        If an instant is not on the hour, hours that are asked for are no longer kept, or there are no such decisions.
    """
    wanted = segment or Segment()
    start, end = _on_the_hour(start), _on_the_hour(end)
    place = folder(home)
    by_band: dict[str, Profile] = {}
    for file in _files(read_index(place), start, end):
        for cell, profile in read_cells(place, file).items():
            if wanted.holds(cell):
                band = cell.band or ""
                by_band[band] = merge([by_band[band], profile]) if band in by_band else profile
    if not by_band:
        raise InputError(f"no decisions were profiled between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC")
    log = LoggedInputs(home.decision_log_url)
    try:
        return beside([with_bands(by_band), *outcome_profile(log, start, end, wanted)])
    finally:
        log.close()


def _files(index: Index, start: datetime, end: datetime) -> list[str]:
    """Return the files that together hold a period, days where they are whole."""
    found: list[str] = []
    for name, day in sorted(index.days.items()):
        begins = datetime.fromisoformat(name).replace(tzinfo=UTC)
        if day.file and start <= begins and begins + DAY <= end:
            found.append(day.file)
            continue
        for number, hour in sorted(day.hours.items()):
            if start <= begins + int(number) * HOUR < end:
                if not hour.file:
                    raise InputError(f"the hours of {name} are no longer kept apart: ask for the whole day")
                found.append(hour.file)
    return found


def _on_the_hour(instant: datetime) -> datetime:
    moment = instant.astimezone(UTC)
    if moment != moment.replace(minute=0, second=0, microsecond=0):
        raise InputError(f"{instant}: profiles of decisions begin and end on the hour, UTC")
    return moment
