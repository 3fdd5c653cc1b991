"""Promotions, rollbacks and challenges as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.lifecycle import Retrained
    from training.bundle import Champion
    from training.promotion_gate import GateLine
    from training.promotion_record import Entry


def gate_table(lines: Sequence[GateLine]) -> str:
    """Return one line for each line of the gate: verdict, name, value, limit, note."""
    head = f"{'gate':32} {'value':>10} {'limit':>10}"
    return "\n".join([head, *map(_gate_line, lines)])


def changed(entry: Entry) -> str:
    """Return what a promotion or a rollback did."""
    if entry.outcome == "standing":
        return f"version {entry.version} is champion already, bundle {entry.bundle}; nothing to record"
    previous = entry.previous.version if entry.previous else entry.version
    before = f", after version {previous}" if previous != entry.version else ""
    return f"version {entry.version} is champion, bundle {entry.bundle}{before}"


def retrained(done: Retrained) -> str:
    """Return what a retraining came to: the gate where it was asked, the report, the verdict."""
    report = f"report   {done.outcome.report}"
    if done.entry is None:
        return f"{report}\nnothing new: version {done.outcome.run.version} has the bundle that is in service"
    return f"{gate_table(done.entry.lines)}\n{report}\n{done.refusal or changed(done.entry)}"


def challenged(entry: Entry) -> str:
    """Return what a challenger does."""
    does = f"decides on {entry.share:.4g} of applicants" if entry.share else "looks on"
    champion = f", version {entry.previous.version} is champion" if entry.previous else ""
    return f"version {entry.version} {does}{champion}: {entry.experiment}"


def history(entries: Sequence[Entry], champion: Champion | None) -> str:
    """Return the record, the oldest first; a star marks the entry that put the present champion in service."""
    if not entries:
        return "nothing was promoted yet"
    rows = [
        (
            f"{entry.at:%Y-%m-%d %H:%M}",
            entry.action,
            entry.outcome,
            entry.version,
            entry.bundle.removeprefix("sha256:")[:12],
            entry.by,
            "; ".join(filter(None, [entry.why, _remark(entry)])),
        )
        for entry in entries
    ]
    head = ("UTC", "action", "outcome", "version", "bundle", "by", "why")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    star = _in_service(entries, champion)
    return "\n".join(
        f"{'*' if index == star else ' '} " + "  ".join(map(str.ljust, row, widths)).rstrip()
        for index, row in enumerate([head, *rows], -1)
    )


def _gate_line(line: GateLine) -> str:
    verdict = "passed" if line.passed else "FAILED"
    return f"{verdict}  {line.name:24} {_number(line.value)} {_number(line.limit)}  {line.note}".rstrip()


def _remark(entry: Entry) -> str:
    refused = [line.note or line.name for line in entry.lines if not line.passed]
    return "; ".join(refused + ([entry.trouble] if entry.trouble else []))


def _in_service(entries: Sequence[Entry], champion: Champion | None) -> int | None:
    if champion is None:
        return None
    put = [
        index
        for index, entry in enumerate(entries)
        if entry.outcome == "done" and entry.action in ("promote", "rollback")
    ]
    if not put or (entries[put[-1]].version, entries[put[-1]].bundle) != (champion.version, champion.bundle):
        return None
    return put[-1]


def _number(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4g'):>10}"
