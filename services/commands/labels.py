"""Commands that bring back what became of decisions."""

from __future__ import annotations

from pathlib import Path

import click

from feature_repo.home import Home
from services.commands.console import FOLDER, JSON, emit, need_log, say


@click.group(epilog="Example: candor outcomes load repaid.csv")
def outcomes() -> None:
    """Repayment outcomes of decisions."""


@outcomes.command(epilog="Example: candor outcomes load repaid.csv")
@click.argument("file", type=FOLDER)
@JSON
def load(file: Path, as_json: bool) -> None:
    """Store outcomes from a CSV, Parquet or JSONL file; exit 1 if one of them was refused.

    Columns: outcome (REPAID or DEFAULTED, or WITHDRAWN to take back what was observed before), observed_at with a
    time zone, and decision_id, or applicant_id and decided_at. What was stored before is not stored twice.
    """
    from services import labels

    home = Home.resolve()
    need_log(home)
    report = labels.load(home, file)
    if as_json:
        emit(report.to_json())
    else:
        for line, problem in report.refused[:20]:
            say(f"row {line}: {problem}")
        click.echo(f"{report.stored:,} stored, {report.known:,} known before, {len(report.refused):,} refused")
        if report.later:
            say(
                f"{report.later:,} were observed after {home.outcomes_now():%Y-%m-%d %H:%M} UTC, where the clock of "
                "this home stands: nothing is learned from them before it stands later (CANDOR_AS_OF)"
            )
    if report.refused:
        raise SystemExit(1)
