"""The time that monitoring watches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Period:
    """The time that is watched, and an equal one before it; wall clock, UTC."""

    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """What to call it in a report."""
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"

    @property
    def before(self) -> Period:
        """The period of the same length that ends where this begins."""
        return Period(self.start - (self.end - self.start), self.start)
