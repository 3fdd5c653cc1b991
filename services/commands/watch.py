"""Commands that compare what is with what was."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime
from pathlib import Path

import click

from feature_repo.home import Home
from services.commands.console import INSTANT, JSON, emit, need_log, step


@click.command(epilog="Example: candor profile --source decisions --out today.bin")
@click.option("--source", type=click.Choice(["training", "decisions", "features"]), required=True)
@click.option("--from", "start", type=INSTANT, help="First decision, or feature row, that counts.")
@click.option("--to", "end", type=INSTANT, help="First that no longer counts.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@JSON
def profile(source: str, start: datetime | None, end: datetime | None, out: Path, as_json: bool) -> None:
    """Write a whylogs profile of training data, logged decisions or source features."""
    from services import observe

    home = Home.resolve()
    if source == "decisions":
        need_log(home)
    with step(f"profile {source}"):
        rows = observe.profile(home, source, start, end, out)
    emit({"source": source, "rows": rows, "out": str(out)}) if as_json else click.echo(f"{rows} rows -> {out}")


@click.command(
    epilog="Example: candor drift --reference var/profiles/training.bin --current today.bin --html drift.html"
)
@click.option("--reference", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--current", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a self-contained page.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as JSON.")
@JSON
def drift(reference: Path, current: Path, html: Path | None, report: Path | None, as_json: bool) -> None:
    """Compare two profiles: PSI and KS per feature; exit 3 on alert."""
    from services import observe, present

    with contextlib.redirect_stdout(sys.stderr):
        result = observe.drift(reference, current, html=html, report=report)
    click.echo(result.to_json().decode()) if as_json else click.echo(present.drift(result))
    if result.alert:
        raise SystemExit(3)
