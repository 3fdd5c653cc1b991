"""Profiles straight from the decision log: of any window, and of the outcomes in it."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from monitoring.banding import with_bands
from monitoring.logged_inputs import LoggedInputs
from monitoring.profiles import Profile, ProfileBuilder, beside
from monitoring.segments import OUTCOME, Segment


def profile_window(log: LoggedInputs, start: datetime, end: datetime, segment: Segment) -> tuple[Profile | None, int]:
    """Profile the decisions of a segment from `start` on and before `end`, and count them.

    Parameters
    ----------
    start, end : datetime
        UTC.

    Returns
    -------
    Profile or None
        Features by score band too, PD, score, recommendation, and the outcome of those that have one; None if there are
        no such decisions.
    int
        Decisions.
    """
    builders: dict[str, ProfileBuilder] = {}
    rows = 0
    for page in log.pages(start, end, segment=segment):
        for cell in page.cells:
            builders.setdefault(cell.band or "", ProfileBuilder(page.first_at)).track(page.of(cell))
        rows += page.rows
    if not builders:
        return None, 0
    whole = with_bands({band: builder.view() for band, builder in builders.items()})
    return beside([whole, *outcome_profile(log, start, end, segment)]), rows


def outcome_profile(log: LoggedInputs, start: datetime, end: datetime, segment: Segment) -> list[Profile]:
    """Return the profile of the outcomes that the decisions of a segment have by now; none if none has one."""
    known = log.outcomes(start, end, segment)
    if not known:
        return []
    builder = ProfileBuilder(start)
    counts = [known.get("DEFAULTED", 0), known.get("REPAID", 0)]
    builder.track({OUTCOME: np.repeat(np.array(["true", "false"], object), counts)})
    return [builder.view()]
