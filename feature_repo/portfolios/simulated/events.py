"""Events on their way to the lender: most arrive in hours, some weeks later, some twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.portfolios.simulated.config import SimulationConfig
from feature_repo.portfolios.simulated.population import DAY, Floats, as_time

Events = dict[str, NDArray[Any]]

HOUR = np.timedelta64(3_600, "s")


def days(values: Floats) -> NDArray[np.timedelta64]:
    """Return days, with fractions, as whole seconds."""
    return np.round(values * 86_400).astype("m8[s]")


def deliver(
    events: Events,
    happened: str,
    config: SimulationConfig,
    rng: np.random.Generator,
    *,
    corrected: tuple[str, ...] = (),
    latest_days: int = 35,
) -> Events:
    """Add when each event was received, repeat some, and drop what had not arrived by the end.

    Parameters
    ----------
    events : dict of str to array, shape (n,)
        One kind of event.
    happened : str
        Column with the time of the event, datetime64[s].
    corrected : tuple of str
        Positive numbers of which half of the repeated events report a value about 10 % off the first.
    latest_days : int
        Longest delay of a late event.

    Returns
    -------
    dict of str to array
        The events with ``received_at``; a repeated event is always received after the first.
    """
    size = len(events[happened])
    late = rng.random(size) < config.late_share
    wait = np.where(late, rng.uniform(3, latest_days, size), rng.uniform(2 / 24, 10 / 24, size))
    received = events[happened] + days(wait)
    again = np.flatnonzero(rng.random(size) < config.resent_share)
    repeated = {name: values[again] for name, values in events.items()}
    wrong = rng.random(len(again)) < 0.5
    for name in corrected:
        factor = np.exp(rng.normal(0, 0.1, len(again)))
        repeated[name] = np.where(wrong, np.round(repeated[name] * factor, 2), repeated[name])
    repeated["received_at"] = received[again] + days(rng.uniform(0.5, 20, len(again)))
    everything = {**events, "received_at": received}
    everything = {name: np.concatenate([values, repeated[name]]) for name, values in everything.items()}
    arrived = everything["received_at"] <= as_time(config)
    return {name: values[arrived] for name, values in everything.items()}


def month_starts(months: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Return midnight, UTC, of the first day of each month as datetime64[s]."""
    return months.astype("M8[D]").astype("M8[s]")


def write_events(path: Path, events: Events, ids: dict[str, NDArray[np.str_]]) -> None:
    """Write events as Parquet, times as UTC instants in microseconds, NaN and NaT as null.

    Parameters
    ----------
    ids : dict of str to array of str
        The identifiers that an integer column points to: ``applicant`` is written as ``applicant_id``.
    """
    columns: dict[str, pa.Array] = {}
    for name, values in events.items():
        if name in ids:
            columns[f"{name}_id"] = pa.DictionaryArray.from_arrays(pa.array(values, pa.int32()), pa.array(ids[name]))
        elif values.dtype.kind == "M" and values.dtype != np.dtype("M8[D]"):
            columns[name] = pa.array(values.astype("M8[us]"), pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        else:
            columns[name] = pa.array(values, from_pandas=True)
    table = pa.table(columns)
    # Numbers hardly repeat: looking for repetitions would double the time.
    repeating = [
        field.name for field in table.schema if field.type == pa.string() or pa.types.is_dictionary(field.type)
    ]
    pq.write_table(table, path, use_dictionary=repeating, row_group_size=122_880)


def blank(values: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Return the values with a share of them missing (NaN)."""
    return np.where(rng.random(values.shape) < share, np.nan, values)


def whole_day(times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Return the midnight, UTC, at which the day of each instant begins."""
    return times - (times - np.datetime64(0, "s")) % DAY
