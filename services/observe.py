"""Profiles of training data, decisions and features, and their comparison."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd

from feature_repo.errors import InputError
from feature_repo.home import Home, write_atomically
from monitoring.drift import DriftReport, compare
from monitoring.drift_gauges import gauges
from monitoring.logged_inputs import LoggedInputs
from monitoring.logged_profile import profile_window
from monitoring.profiles import Profile, profile_frame, read_profile, summaries, write_profile
from monitoring.profiles.visual import comparison_page, constraints_page
from monitoring.segments import Segment
from monitoring.thresholds import Thresholds, load_thresholds

_START = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)
_NICEST = 19


@dataclass(frozen=True)
class DriftPages:
    """Files to write of a comparison; None for what nobody asked for.

    Parameters
    ----------
    html, report : Path or None
        The comparison as a page, and as JSON.
    gauges : Path or None
        For Prometheus, in the format of its text file collector.
    viz, constraints : Path or None
        whylogs' own two reports.
    """

    html: Path | None = None
    report: Path | None = None
    gauges: Path | None = None
    viz: Path | None = None
    constraints: Path | None = None


def give_way() -> None:
    """Let whoever answers requests have this machine's processors first, as long as this process lives."""
    os.nice(_NICEST)


def profile(
    home: Home, source: str, start: datetime | None, end: datetime | None, out: Path, segment: Segment | None = None
) -> int:
    """Write a profile and return how many rows it holds.

    Parameters
    ----------
    home : Home
    source : {"training", "decisions", "features"}
        The last training frame, logged decisions, or the latest row of each applicant in the
        source tables.
    start, end : datetime or None
        UTC; decisions, or feature rows, from `start` on and before `end`.
    out : Path
        File to write.
    segment : Segment or None
        Of these decisions alone.

    Raises
    ------
    InputError
        If there is nothing to profile.
    """
    if source == "training":
        write_atomically(out, reference(home).read_bytes())
        return max((summary.n for summary in summaries(read_profile(out)).values()), default=0)
    window = (start or _START, end or _END)
    if source == "decisions":
        found, rows = _decisions(home, *window, segment or Segment())
    else:
        frame = latest_features(home, *window)
        found, rows = None if frame.empty else profile_frame(frame), len(frame)
    if found is None:
        raise InputError(f"no {source} between {window[0]:%Y-%m-%d} and {window[1]:%Y-%m-%d}")
    write_profile(found, out)
    return rows


def latest_features(home: Home, start: datetime, end: datetime) -> pd.DataFrame:
    """Return the latest row of each applicant in each source table, joined on the applicant."""
    if not home.sources.is_dir():
        raise InputError(f"{home.sources} is empty: run `candor ingest` first")
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    frame = pd.DataFrame()
    for folder in sorted(path for path in home.sources.iterdir() if path.name != "loans"):
        table = connection.execute(
            """select * exclude (event_timestamp, created_timestamp) from read_parquet($glob)
               where event_timestamp >= $start and event_timestamp < $end
               qualify row_number() over (
                   partition by applicant_id order by event_timestamp desc, created_timestamp desc) = 1""",
            {"glob": home.source_glob(folder.name), "start": start, "end": end},
        ).df()
        frame = table if frame.empty else frame.merge(table, on="applicant_id", how="outer")
    return frame.drop(columns="applicant_id", errors="ignore")


def thresholds(home: Home, given: Path | None = None) -> Thresholds:
    """Return the project's thresholds, changed by the home's ``thresholds.toml`` if there is one, and by a file given.

    Raises
    ------
    InputError
        If a file is not there or names what is no threshold.
    """
    own = home.root / "thresholds.toml"
    return load_thresholds(*([own] if own.exists() else []), *([given] if given else []))


def reference(home: Home) -> Path:
    """Return the profile of the data that the model in service was trained on.

    Raises
    ------
    InputError
        If no model is in service.
    """
    path = home.profiles / "training.bin"
    if not path.exists():
        raise InputError("no model is in service in this home yet: run `candor train`, then `candor promote`")
    return path


def drift(
    reference: Path, current: Path, limits: Thresholds, previous: Path | None = None, pages: DriftPages | None = None
) -> DriftReport:
    """Compare two profile files, and with that of the period before, and write what was asked for.

    Raises
    ------
    InputError
        If a file is no profile, or they have nothing in common.
    """
    before, now = read_profile(reference), read_profile(current)
    result = compare(
        summaries(before),
        summaries(now),
        limits,
        previous=summaries(read_profile(previous)) if previous else None,
        reference_name=reference.stem,
        current_name=current.stem,
        previous_name=previous.stem if previous else "",
    )
    if pages:
        write_drift(result, before, now, pages)
    return result


def write_drift(result: DriftReport, reference: Profile, current: Profile, pages: DriftPages) -> None:
    """Write what was asked for of a comparison, each file in one step."""
    if pages.html:
        write_atomically(pages.html, result.to_html().encode())
    if pages.report:
        write_atomically(pages.report, result.to_json())
    if pages.gauges:
        write_atomically(pages.gauges, gauges(result, datetime.now(UTC)))
    if pages.viz:
        write_atomically(pages.viz, comparison_page(reference, current).encode())
    if pages.constraints:
        write_atomically(pages.constraints, constraints_page(reference, current).encode())


def _decisions(home: Home, start: datetime, end: datetime, segment: Segment) -> tuple[Profile | None, int]:
    log = LoggedInputs(home.decision_log_url)
    try:
        return profile_window(log, start, end, segment)
    finally:
        log.close()
