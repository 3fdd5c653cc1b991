"""What was answered over time: approvals, APR, what the guard objected to, views that were absent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from monitoring.logged_results import Results
from monitoring.performance_report import APR_EDGES, APR_TIERS, Mix
from monitoring.period import Period


@dataclass
class _Sums:
    decisions: int = 0
    approved: int = 0
    reviewed: int = 0
    declined: int = 0
    failed_guard: int = 0
    absent: dict[str, int] = field(default_factory=dict)
    apr: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(APR_TIERS), np.int64))
    apr_sum: float = 0.0

    def add(self, page: Results, rows: NDArray[np.bool_]) -> None:
        """Count some rows of a page."""
        self.decisions += int(rows.sum())
        approved = rows & (page.recommendation == "APPROVED")
        self.approved += int(approved.sum())
        self.reviewed += int((rows & (page.recommendation == "MANUAL_REVIEW")).sum())
        self.declined += int((rows & (page.recommendation == "DECLINED")).sum())
        self.failed_guard += int((rows & ~page.passed_guard).sum())
        for view, absent in page.absent.items():
            self.absent[view] = self.absent.get(view, 0) + int((rows & absent).sum())
        rates = page.apr[approved]
        tiers = np.searchsorted(APR_EDGES, rates, side="left")
        self.apr += np.bincount(tiers, minlength=len(APR_TIERS))
        self.apr_sum += float(rates.sum())

    def to_mix(self, name: str) -> Mix:
        """Return the counts under a name."""
        return Mix(
            name=name,
            decisions=self.decisions,
            approved=self.approved,
            reviewed=self.reviewed,
            declined=self.declined,
            failed_guard=self.failed_guard,
            absent=dict(sorted(self.absent.items())),
            apr=tuple(self.apr.tolist()),
            mean_apr=self.apr_sum / self.approved if self.approved else None,
        )


class MixTally:
    """Counts of pages by month of the wall clock, and within given periods.

    Parameters
    ----------
    *periods : Period
    """

    def __init__(self, *periods: Period) -> None:
        self._periods = [(period, _Sums()) for period in periods]
        self._months: dict[str, _Sums] = {}

    def add(self, page: Results) -> None:
        """Count a page."""
        month = page.decided_at.astype("datetime64[M]").astype(str)
        for name in np.unique(month).tolist():
            self._months.setdefault(name, _Sums()).add(page, month == name)
        for period, sums in self._periods:
            sums.add(page, (page.decided_at >= _plain(period.start)) & (page.decided_at < _plain(period.end)))

    def months(self) -> tuple[Mix, ...]:
        """Return what was answered by month, the earliest first."""
        return tuple(sums.to_mix(name) for name, sums in sorted(self._months.items()))

    def periods(self) -> tuple[Mix, ...]:
        """Return what was answered within each period."""
        return tuple(sums.to_mix(period.name) for period, sums in self._periods)


def _plain(instant: datetime) -> np.datetime64:
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")
