"""What is counted of the service. A request pays for a few additions; text is made when Prometheus asks.

Every worker counts for itself and leaves its figures in a folder that all share, so that whichever of
them is asked answers for all: each series has the label ``worker``, and ``sum without (worker)`` is the service.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from monitoring.decision_record import DecisionRecord

Stage = Literal["features", "decide", "log", "total"]
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histograms, seconds."""
_logger = logging.getLogger(__name__)


class Histogram(msgspec.Struct):
    """Durations, counted by the bound that they do not exceed.

    Parameters
    ----------
    counts : list of int
        One for each bound, and one for what exceeds them all.
    total : float
        Seconds.
    """

    counts: list[int]
    total: float = 0.0

    @classmethod
    def empty(cls) -> Histogram:
        """Return one that has seen nothing."""
        return cls([0] * (len(_BOUNDS) + 1))

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return cumulative counts by bound, as Prometheus has them."""
        found: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self.counts, strict=True):
            so_far += count
            found.append((bound, so_far))
        return found


Labels = tuple[str, ...]
Counts = list[tuple[Labels, float]]


class Figures(msgspec.Struct, frozen=True):
    """The figures of one worker: counters and gauges by labels, histograms by one label."""

    worker: int
    counters: dict[str, Counts]
    gauges: dict[str, Counts]
    stages: dict[str, Histogram]
    requests: dict[str, Histogram]


class Metrics:
    """Count what one worker does.

    Parameters
    ----------
    folder : Path or None
        Where workers leave their figures for each other; None for one alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.worker = os.getpid()
        self.stages: dict[Stage, Histogram] = {
            "features": Histogram.empty(),
            "decide": Histogram.empty(),
            "log": Histogram.empty(),
            "total": Histogram.empty(),
        }
        self._requests: dict[str, Histogram] = {}
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._decisions: Counter[tuple[str, str]] = Counter()
        self._views: Counter[tuple[str, str]] = Counter()
        self._violations: Counter[tuple[str, str]] = Counter()
        self.gauges: Callable[[], Mapping[str, Counts]] = dict

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Parameters
        ----------
        route : str
            Template of the path.
        """
        self._answers[method, route, status] += 1
        histogram = self._requests.get(route)
        if histogram is None:
            histogram = self._requests[route] = Histogram.empty()
        histogram.add(seconds)

    def took(self, stage: Stage, seconds: float) -> None:
        """Count how long one stage of a decision, or of a batch, took."""
        self.stages[stage].add(seconds)

    def decided(self, record: DecisionRecord) -> None:
        """Count a decision that is in the log."""
        self._decisions[record.recommendation, record.model_version] += 1
        for name, view in record.views.items():
            if view.status != "PRESENT":
                self._views[name, view.status] += 1
        for violation in record.guard.violations:
            self._violations[violation.feature, violation.rule] += 1

    def figures(self) -> Figures:
        """Return the figures as they stand."""
        counted: dict[str, Counter[Any]] = {
            "http_requests": self._answers,
            "decisions": self._decisions,
            "absent_views": self._views,
            "guard_violations": self._violations,
        }
        return Figures(
            worker=self.worker,
            counters={
                name: [(tuple(map(str, labels)), count) for labels, count in counter.items()]
                for name, counter in counted.items()
            },
            gauges=dict(self.gauges()),
            stages={str(stage): histogram for stage, histogram in self.stages.items()},
            requests=self._requests,
        )

    def publish(self) -> None:
        """Leave the figures where the other workers find them."""
        if self._folder is None:
            return
        partial = self._folder / f".{self.worker}.partial"
        try:
            partial.write_bytes(msgspec.json.encode(self.figures()))
            partial.replace(self._folder / f"{self.worker}.json")
        except OSError as error:
            _logger.warning("figures not published: %s", error.strerror)

    def everybodys(self) -> Iterator[Figures]:
        """Yield the figures of this worker, and what the others left; of one that ended, the counts only."""
        yield self.figures()
        for path in sorted(self._folder.glob("[0-9]*.json")) if self._folder else ():
            if path.stem == str(self.worker):
                continue
            try:
                left = msgspec.json.decode(path.read_bytes(), type=Figures)
            except (OSError, msgspec.DecodeError) as error:
                _logger.warning("figures of worker %s not read: %s", path.stem, type(error).__name__)
                continue
            yield left if _is_alive(left.worker) else msgspec.structs.replace(left, gauges={})


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
