"""Alerts: which rules are met, told once when they begin, again after long, and when they are over.

Each notice is kept until every sink has taken it, so that a webhook that is down for a night, or a cycle that is
killed, loses none: it may be told twice, with the same ID. What is kept for a sink is bounded, and what is dropped is
counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import write_atomically
from monitoring.monitor_settings import AlertSettings, Rule, Severity
from monitoring.readings import Reading

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Kind = Literal["begins", "goes on", "is over"]
MOST_KEPT = 1000
FORGOTTEN = timedelta(days=28)
"""After so long without a reading an alert is over: as long as the longest time that is watched."""
_IN_A_LINE = 3


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that is met, or was not long ago.

    Parameters
    ----------
    rule, subject : str
        Which rule, and of what: a feature, a band, a view.
    value : float
        Of the reading when it was last met.
    words : str
        What was found then.
    since, met, told : datetime
        When it began, when it was last met, when it was last told; wall clock, UTC.
    quiet_since : datetime or None
        Since when readings have said that it is not met; None if the last one did not, or there was none.
    retrained : bool
        Whether it led to a retraining already.
    """

    rule: str
    subject: str
    severity: Severity
    value: float
    words: str
    runbook: str
    since: Instant
    met: Instant
    told: Instant
    quiet_since: Instant | None = None
    retrained: bool = False


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one subject, and since when."""

    subject: str
    value: float
    words: str
    since: Instant


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink is told in a cycle of one rule's alerts, of all that begin, go on, or are over.

    Parameters
    ----------
    id : str
        The same each time that it is told, so that a receiver can tell a repetition.
    kind : {"begins", "goes on", "is over"}
    at : datetime
        Wall clock, UTC.
    """

    id: str
    kind: Kind
    at: Instant
    rule: str
    severity: Severity
    findings: tuple[Finding, ...]
    runbook: str

    def line(self) -> str:
        """Return it as a line for people."""
        told = "; ".join(one.words for one in self.findings[:_IN_A_LINE])
        more = f"; and {len(self.findings) - _IN_A_LINE} more" if len(self.findings) > _IN_A_LINE else ""
        return f"{self.severity} alert {self.rule} {self.kind}: {told}{more}. What to do: {self.runbook}"


class Book(msgspec.Struct, kw_only=True):
    """What is known of alerts between cycles.

    Parameters
    ----------
    alerts : dict of str to Alert
        Those that are not over.
    waiting : dict of str to list of Notice
        What each sink has not yet taken, the oldest first.
    dropped : dict of str to int
        How many notices were given up for each sink: it refused them, or more than a thousand waited.
    """

    alerts: dict[str, Alert] = {}
    waiting: dict[str, list[Notice]] = {}
    dropped: dict[str, int] = {}


def key_of(alert: Alert) -> str:
    """Return the name that an alert has in the book."""
    return f"{alert.rule}/{alert.subject}"


def read_book(path: Path) -> Book:
    """Read what is known of alerts; nothing, where no cycle ever ran.

    Raises
    ------
    InputError
        If the file is damaged.
    UnavailableError
        If it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Book)
    except FileNotFoundError:
        return Book()
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def write_book(path: Path, book: Book) -> None:
    """Keep what is known of alerts, in one step."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(book)))


def update(
    book: Book,
    readings: Iterable[Reading],
    rules: Mapping[str, Rule],
    settings: AlertSettings,
    sinks: Sequence[str],
    at: datetime,
) -> list[Notice]:
    """Hold readings against rules, bring the book up to date, and return what is new to tell.

    An alert is over when readings have said for the quiet hours that it is not met. Where there is no reading, because
    a step failed or there were too few decisions, nothing is known and it goes on; until it is forgotten, since a
    feature that is gone would never be read again.

    Parameters
    ----------
    sinks : sequence of str
        Names of those that are to be told.
    at : datetime
        Wall clock, UTC.
    """
    met: dict[str, tuple[str, Rule, Reading]] = {}
    quiet: set[str] = set()
    for reading in readings:
        for name, rule in rules.items():
            if rule.reading == reading.name:
                is_met = rule.enabled and rule.is_met(reading.value)
                met |= {f"{name}/{reading.subject}": (name, rule, reading)} if is_met else {}
                quiet |= set() if is_met else {f"{name}/{reading.subject}"}
    changed: dict[tuple[str, Kind], list[Alert]] = {}
    for key, (name, rule, reading) in met.items():
        known = book.alerts.get(key)
        is_due = known is not None and _is_due(known, settings, at)
        alert = book.alerts[key] = Alert(
            rule=name,
            subject=reading.subject,
            severity=rule.severity,
            value=reading.value,
            words=reading.words,
            runbook=rule.runbook,
            since=min(known.since, at) if known else at,
            met=at,
            told=min(known.told, at) if known and not is_due else at,
            retrained=known.retrained if known else False,
        )
        if known is None or is_due:
            changed.setdefault((name, "goes on" if known else "begins"), []).append(alert)
    for key in [key for key in book.alerts if key not in met]:
        alert = book.alerts[key] = _not_met(book.alerts[key], key in quiet, at)
        if _is_over(alert, settings, at):
            changed.setdefault((alert.rule, "is over"), []).append(book.alerts.pop(key))
    notices = [_notice(kind, at, of) for (_, kind), of in changed.items()]
    _queue(book, notices, sinks)
    return notices


def _queue(book: Book, notices: list[Notice], sinks: Sequence[str]) -> None:
    for gone in book.waiting.keys() - set(sinks):
        del book.waiting[gone]
    for sink in sinks:
        waiting = book.waiting.setdefault(sink, [])
        waiting += notices
        if excess := max(len(waiting) - MOST_KEPT, 0):
            del waiting[:excess]
            book.dropped[sink] = book.dropped.get(sink, 0) + excess


def _not_met(alert: Alert, is_quiet: bool, at: datetime) -> Alert:
    """Return an alert after a cycle in which it was not met, or nothing was known of it."""
    since = min(alert.quiet_since or at, at) if is_quiet else None
    return msgspec.structs.replace(alert, quiet_since=since, met=min(alert.met, at))


def _is_over(alert: Alert, settings: AlertSettings, at: datetime) -> bool:
    is_quiet = alert.quiet_since is not None and at - alert.quiet_since >= timedelta(hours=settings.quiet_hours)
    return is_quiet or at - alert.met >= FORGOTTEN


def _is_due(alert: Alert, settings: AlertSettings, at: datetime) -> bool:
    return settings.remind_hours > 0 and at - alert.told >= timedelta(hours=settings.remind_hours)


def _notice(kind: Kind, at: datetime, of: Sequence[Alert]) -> Notice:
    first = of[0]
    return Notice(
        id=sha256("/".join([kind, at.isoformat(), *map(key_of, of)]).encode()).hexdigest()[:32],
        kind=kind,
        at=at,
        rule=first.rule,
        severity=first.severity,
        findings=tuple(Finding(subject=one.subject, value=one.value, words=one.words, since=one.since) for one in of),
        runbook=first.runbook,
    )
