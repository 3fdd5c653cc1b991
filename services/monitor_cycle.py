"""What one monitoring cycle did and found."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from monitoring.alerts import Alert, Notice
from monitoring.drift import DriftReport
from monitoring.performance_report import PerformanceReport
from monitoring.period import Period


@dataclass
class Cycle:
    """What one cycle did and found.

    Parameters
    ----------
    at : datetime
        Wall clock, UTC.
    period : Period
        The time that was watched.
    folder : Path
        Where its pages go.
    decisions, profiled : int
        Decisions of the period, and decisions that were profiled anew.
    alerts : list of Alert
        All that are not over, critical ones first.
    told : list of Notice
        What was new to tell.
    failed : dict of str to str
        Steps that could not be taken, and why.
    undelivered : dict of str to str
        Sinks that could not be told, and why.
    retrained : str
        What came of a new model; empty if none was trained.
    pages : dict of str to Path
        What was written, by file name.
    """

    at: datetime
    period: Period
    folder: Path
    decisions: int = 0
    profiled: int = 0
    drift: DriftReport | None = None
    performance: PerformanceReport | None = None
    alerts: list[Alert] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    undelivered: dict[str, str] = field(default_factory=dict)
    retrained: str = ""
    pages: dict[str, Path] = field(default_factory=dict)

    @property
    def firing(self) -> list[Alert]:
        """The alerts that are met in this cycle; of the others the last reading said that they are not, or nothing."""
        return [alert for alert in self.alerts if alert.met == self.at]

    @property
    def exit_code(self) -> int:
        """1 if it could not do all of its work, 3 if a critical alert is met, else 0."""
        if self.failed or self.undelivered:
            return 1
        return 3 if any(alert.severity == "critical" for alert in self.firing) else 0

    def page(self, name: str) -> Path:
        """Return where a page is to be written, which is told among `pages`."""
        self.pages[name] = self.folder / name
        return self.pages[name]

    def to_json(self) -> dict[str, Any]:
        """Return the promised object; drift and performance are in the files that it names."""
        return {
            "at": self.at.isoformat(),
            "period": {"start": self.period.start.isoformat(), "end": self.period.end.isoformat()},
            "decisions": self.decisions,
            "profiled": self.profiled,
            "alerts": [{"firing": alert in self.firing} | msgspec.to_builtins(alert) for alert in self.alerts],
            "told": msgspec.to_builtins(self.told),
            "failed": self.failed,
            "undelivered": self.undelivered,
            "retrained": self.retrained,
            "pages": {name: str(path) for name, path in self.pages.items()},
        }
