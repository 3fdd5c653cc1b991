"""Commands that compare what is with what was."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime
from pathlib import Path

import click

from feature_repo.home import Home
from services.commands.console import INSTANT, JSON, emit, need_log, step

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog="Example: candor profile --source decisions --segment recommendation=APPROVED --out today.bin")
@click.option("--source", type=click.Choice(["training", "decisions", "features"]), required=True)
@click.option("--from", "start", type=INSTANT, help="First decision, or feature row, that counts.")
@click.option("--to", "end", type=INSTANT, help="First that no longer counts.")
@click.option(
    "--segment",
    "words",
    multiple=True,
    metavar="NAME=VALUE",
    help="Only decisions of one recommendation, arm, model_version or band; may be given several times.",
)
@click.option("--out", type=FILE, required=True)
@JSON
def profile(
    source: str, start: datetime | None, end: datetime | None, words: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Write a whylogs profile of training data, logged decisions or source features."""
    from monitoring.segments import Segment
    from services import observe

    if words and source != "decisions":
        raise click.UsageError("--segment goes with --source decisions")
    home, segment = Home.resolve(), Segment.parse(list(words))
    if source == "decisions":
        need_log(home)
        observe.give_way()
    with step(f"profile {source}"):
        rows = observe.profile(home, source, start, end, out, segment)
    emit({"source": source, "rows": rows, "out": str(out)}) if as_json else click.echo(f"{rows} rows -> {out}")


@click.command(
    epilog="Example: candor drift --reference var/profiles/training.bin --current today.bin --html drift.html"
)
@click.option("--reference", type=FILE, required=True)
@click.option("--current", type=FILE, required=True)
@click.option("--previous", type=FILE, help="Compare with the period before too.")
@click.option("--thresholds", type=FILE, help="TOML file that changes some; else the home's thresholds.toml, if any.")
@click.option("--html", type=FILE, help="Write a self-contained page.")
@click.option("--report", type=FILE, help="Write the report as JSON.")
@click.option("--gauges", type=FILE, help="Write gauges for Prometheus' text file collector.")
@click.option("--viz", type=FILE, help="Write whylogs' own comparison as a page.")
@click.option("--constraints", type=FILE, help="Write whylogs' constraints report as a page.")
@JSON
def drift(
    reference: Path,
    current: Path,
    previous: Path | None,
    thresholds: Path | None,
    html: Path | None,
    report: Path | None,
    gauges: Path | None,
    viz: Path | None,
    constraints: Path | None,
    as_json: bool,
) -> None:
    """Compare two profiles: PSI, CSI by score band and KS per feature; exit 3 on alert."""
    from services import observe, present

    pages = observe.DriftPages(html=html, report=report, gauges=gauges, viz=viz, constraints=constraints)
    with contextlib.redirect_stdout(sys.stderr):
        limits = observe.thresholds(Home.resolve(), thresholds)
        result = observe.drift(reference, current, limits, previous, pages)
    click.echo(result.to_json().decode()) if as_json else click.echo(present.drift(result))
    if result.alert:
        raise SystemExit(3)
