"""A monitoring cycle: profiles, drift, performance, alerts, and a new model if an alert asks for one.

A step that cannot be taken does not keep the others from being taken: it is an alert of its own.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import FrameType

import msgspec

from feature_repo.errors import CandorError, InputError, UnavailableError
from feature_repo.home import Home, write_atomically
from monitoring import alerts, readings
from monitoring.alert_gauges import gauges
from monitoring.alert_sinks import Sink, deliver, make_sinks
from monitoring.monitor_settings import MonitorSettings, load_settings
from monitoring.period import Period
from monitoring.readings import Reading
from services import monitor_steps as steps
from services.monitor_cycle import Cycle
from services.turn import only_one
from training.promotion_record import signed
from validation.runs import history

Retrain = Callable[[str], str]
"""Trains and compares with the champion, for a reason; returns what came of it."""
_HOUR = timedelta(hours=1)
_STEPS = ("profiles", "drift", "performance", "gates", "alerts", "retrain")
_logger = logging.getLogger(__name__)


def run(home: Home, retrain: Retrain | None = None) -> Cycle:
    """Go through one cycle.

    Parameters
    ----------
    retrain : callable or None
        Called once, for all alerts that have begun and whose rules ask for it; None never retrains.

    Raises
    ------
    InputError
        If the settings are wrong.
    UnavailableError
        If another cycle is under way in this home, or what it found cannot be kept.
    """
    settings = load_settings(home)
    sinks = make_sinks(settings.sinks, home.root)
    with only_one(home.root / ".monitor.lock", "a monitoring cycle", *signed("", "")):
        cycle = Cycle(datetime.now(UTC), first_period(settings), home.reports / "monitor")
        reads: dict[str, Callable[[], Iterable[Reading]]] = {
            "profiles": lambda: steps.profiles(home, settings, cycle),
            "drift": lambda: steps.drift(home, cycle),
            "performance": lambda: steps.performance(home, settings, cycle),
            "gates": lambda: readings.of_gates(history(home.reports)),
        }
        found = [reading for name, step in reads.items() for reading in _taken(name, cycle, step)]
        teller = _Teller(home, settings, sinks, cycle)
        teller.tell([*found, *readings.of_steps(_STEPS, cycle.failed)])
        if retrain and (asking := teller.asking()):
            why = f"alert: {', '.join(sorted({alert.rule for alert in asking}))}"
            if _retrained(cycle, retrain, why):
                teller.mark_retrained(asking)
            if "retrain" in cycle.failed:
                teller.tell([*found, *readings.of_steps(_STEPS, cycle.failed)])
        try:
            write_atomically(cycle.page("alerts.prom"), gauges(cycle.alerts, cycle.failed, cycle.at))
        except OSError as error:
            raise UnavailableError(f"{cycle.folder} cannot be written: {error.strerror}") from None
        return cycle


def first_period(settings: MonitorSettings) -> Period:
    """Return the shortest time that is watched: so many days to the end of this hour, UTC."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR
    return Period(end - timedelta(days=settings.period.days[0]), end)


def watch(home: Home, every: timedelta, report: Callable[[Cycle], None], retrain: Retrain | None = None) -> None:
    """Go through a cycle now and again, each beginning `every` after the one before began, until asked to end.

    A cycle that cannot be gone through is logged, and the next one is tried. SIGTERM and SIGINT end it between cycles.
    """
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not ended.is_set():
            begun = time.monotonic()
            try:
                report(run(home, retrain))
            except CandorError as error:
                _logger.error("no monitoring cycle: %s", error)
            except Exception:
                _logger.exception("no monitoring cycle: it has a defect")
            ended.wait(max(begun + every.total_seconds() - time.monotonic(), 0))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Teller:
    """Holds readings against the rules and tells the sinks; what it knows is kept before anybody is told."""

    def __init__(self, home: Home, settings: MonitorSettings, sinks: dict[str, Sink], cycle: Cycle) -> None:
        self._path = home.root / "alerts.json"
        self._settings, self._sinks, self._cycle = settings, sinks, cycle
        try:
            self._book = alerts.read_book(self._path)
        except InputError as error:
            aside = self._path.with_name(f"alerts.damaged-{cycle.at:%Y%m%dT%H%M%S}.json")
            self._path.replace(aside)
            self._book = alerts.Book()
            cycle.failed["alerts"] = f"{error}; it is kept as {aside.name}, and what goes on is told once more"

    def tell(self, found: Sequence[Reading]) -> None:
        """Bring alerts up to date and tell of those that begin, go on for long, or are over."""
        cycle, rules = self._cycle, self._settings.rules
        cycle.told += alerts.update(self._book, found, rules, self._settings.alerts, list(self._sinks), cycle.at)
        cycle.alerts = sorted(self._book.alerts.values(), key=lambda one: (one.severity, one.rule))
        self._save()
        cycle.undelivered |= deliver(self._book, self._sinks, self._save)

    def asking(self) -> list[alerts.Alert]:
        """Return the alerts that are met, whose rules ask for a new model, and that have not had one."""
        rules = self._settings.rules
        return [
            one for one in self._cycle.firing if not one.retrained and one.rule in rules and rules[one.rule].retrain
        ]

    def mark_retrained(self, asked: Sequence[alerts.Alert]) -> None:
        """Remember that these alerts have had a new model, so that they do not have one in each cycle."""
        for one in asked:
            key = alerts.key_of(one)
            self._book.alerts[key] = msgspec.structs.replace(self._book.alerts[key], retrained=True)
        self._save()

    def _save(self) -> None:
        try:
            alerts.write_book(self._path, self._book)
        except OSError as error:
            raise UnavailableError(f"{self._path} cannot be written: {error.strerror}") from None


def _retrained(cycle: Cycle, retrain: Retrain, why: str) -> bool:
    """Ask for a new model, and return whether that is done with: where something was not there it is tried again."""

    def step() -> Iterable[Reading]:
        try:
            cycle.retrained = retrain(why)
        except UnavailableError:
            again.append(True)
            raise
        return ()

    again: list[bool] = []
    _taken("retrain", cycle, step)
    return not again


def _taken(name: str, cycle: Cycle, step: Callable[[], Iterable[Reading]]) -> list[Reading]:
    """Take a step, and return what it read, or note why it could not be taken."""
    try:
        return list(step())
    except CandorError as error:
        cycle.failed[name] = str(error)
    except OSError as error:
        cycle.failed[name] = f"{error.filename}: {error.strerror}"
    except Exception as error:
        _logger.exception("the step %s of a monitoring cycle has a defect", name)
        cycle.failed[name] = f"a defect, {type(error).__name__}: the log of the monitor tells more"
    return []
