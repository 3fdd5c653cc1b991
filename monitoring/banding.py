"""Profiles that know their columns by score band too, which is what drift within bands is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from monitoring.plain_columns import plain_series
from monitoring.profiles import Profile, ProfileBuilder, beside, merge, profile_frame, renamed
from monitoring.segments import BANDS, OUTPUTS, PD, band_numbers, banded


def with_bands(by_band: Mapping[str, Profile]) -> Profile:
    """Return one profile of all rows, with every feature once more for each score band.

    Parameters
    ----------
    by_band : mapping of str to Profile
        By name of `BANDS`; at least one.
    """
    parts = [by_band[band] for band in BANDS if band in by_band]
    features = [
        renamed(
            by_band[band], {name: banded(name, band) for name in by_band[band].get_columns() if name not in OUTPUTS}
        )
        for band in BANDS
        if band in by_band
    ]
    return beside([merge(parts), *features])


def profile_scored(frame: pd.DataFrame, *, dataset_timestamp: datetime | None = None) -> Profile:
    """Profile rows of which some have a PD, by score band too.

    Parameters
    ----------
    frame : pandas.DataFrame of shape (n_rows, n_columns)
        At least one row; with the PD, 0..1, in the column that `segments.PD` names, if there is one.
    dataset_timestamp : datetime or None
        The instant that the data stand for, with a zone; None means now.

    Raises
    ------
    InputError
        As `profile_frame` does.
    """
    whole = profile_frame(frame, dataset_timestamp=dataset_timestamp)
    if PD not in frame:
        return whole
    columns = {str(name): plain_series(frame[name]) for name in frame if name not in OUTPUTS}
    pd_ = plain_series(frame[PD])
    numbers = np.where(np.isnan(pd_), -1, band_numbers(pd_))
    parts = [whole]
    for number, band in enumerate(BANDS):
        rows = numbers == number
        if rows.any():
            builder = ProfileBuilder(dataset_timestamp or datetime.now(UTC))
            builder.track({banded(name, band): column[rows] for name, column in columns.items()})
            parts.append(builder.view())
    return beside(parts)
