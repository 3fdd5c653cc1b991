"""Profiles of training data, decisions and features, and their comparison."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from feature_repo.errors import InputError
from feature_repo.home import Home, write_atomically
from monitoring.decision_log import DecisionLog, DecisionRecord
from monitoring.drift import DriftReport, compare
from monitoring.profiles import profile_frame, read_profile, summaries, write_profile

_START = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)


def profile(home: Home, source: str, start: datetime | None, end: datetime | None, out: Path) -> int:
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

    Raises
    ------
    InputError
        If there is nothing to profile.
    """
    if source == "training":
        reference = home.profiles / "training.bin"
        if not reference.exists():
            raise InputError("no model is in service in this home yet: run `candor train`, then `candor promote`")
        write_atomically(out, reference.read_bytes())
        return max((summary.n for summary in summaries(read_profile(out)).values()), default=0)
    window = (start or _START, end or _END)
    frame = decisions(home, *window) if source == "decisions" else latest_features(home, *window)
    if frame.empty:
        raise InputError(f"no {source} between {window[0]:%Y-%m-%d} and {window[1]:%Y-%m-%d}")
    write_profile(profile_frame(frame), out)
    return len(frame)


def decisions(home: Home, start: datetime, end: datetime) -> pd.DataFrame:
    """Return the feature values and PD of logged decisions, one row a decision, as the model saw them."""
    log = DecisionLog(home.decision_log_url)
    try:
        return pd.DataFrame([_row(record) for record in log.rows(start, end)])
    finally:
        log.close()


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


def drift(reference: Path, current: Path, *, html: Path | None, report: Path | None) -> DriftReport:
    """Compare two profile files and write what was asked for."""
    result = compare(summaries(read_profile(reference)), summaries(read_profile(current)))
    if html:
        write_atomically(html, result.to_html().encode())
    if report:
        write_atomically(report, result.to_json())
    return result


def _row(record: DecisionRecord) -> dict[str, Any]:
    values = {name: value for source in record.features.values() for name, value in source.values.items()}
    return values | {"default_probability": record.pd}
