"""What the online store knows of an applicant: plain data for the decision, the log and the replay."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

Scalar = float | int | bool | str
Status = Literal["PRESENT", "STALE", "MISSING"]
CLOCK_SKEW = 60  # seconds that another machine's clock may be ahead


class StoredView(msgspec.Struct, frozen=True, gc=False):
    """What the store knows of one applicant in one view.

    Parameters
    ----------
    status : {"PRESENT", "STALE", "MISSING"}
        STALE when older than the view's time to live, the limit itself still being fresh.
    event_timestamp : datetime or None
        When the values were true, UTC; None when MISSING.
    age_seconds : int or None
        Age on the clock that was read with, in whole seconds; None when MISSING.
    values : dict
        Feature name to value as stored, stale ones included; empty when MISSING.
    """

    status: Status
    event_timestamp: datetime | None
    age_seconds: int | None
    values: dict[str, Scalar | None]


class StoredFeatures(msgspec.Struct, frozen=True, gc=False):
    """What the store knows of one applicant, in the order of the plan."""

    applicant_id: str
    views: dict[str, StoredView]

    @property
    def is_known(self) -> bool:
        """Whether any view holds the applicant."""
        return any(view.status != "MISSING" for view in self.views.values())
