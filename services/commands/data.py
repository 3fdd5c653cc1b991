"""Commands that bring data in and make it ready to serve."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from feature_repo.home import Home
from services.commands.console import FOLDER, INSTANT, JSON, emit, say, step


@click.command(epilog="Example: candor ingest simulated --applicants 20000; candor ingest berka --from ~/berka")
@click.argument("portfolio")
@click.option("--from", "raw", type=FOLDER, help="Folder of the raw files.")
@click.option("--applicants", type=click.IntRange(200, 10_000_000), help="How many to simulate.")
@click.option("--seed", type=int, help="Seed of the simulation.")
@JSON
def ingest(portfolio: str, raw: Path | None, applicants: int | None, seed: int | None, as_json: bool) -> None:
    """Map a portfolio's raw files to the source tables."""
    from feature_repo.portfolios.ingest import ingest as bring_in
    from services import present

    home = Home.resolve()
    with step(f"ingest {portfolio} into {home.root}"):
        report = bring_in(home, portfolio, raw, applicants=applicants, seed=seed)
    emit(present.ingested_json(report)) if as_json else click.echo(present.ingested(report))


@click.command(
    epilog="Example: candor validate; candor validate credit_bureau; candor validate --quarantine; "
    "candor validate --accept"
)
@click.argument("table", default="all")
@click.option("--quarantine", is_flag=True, help="Set faulty rows aside if they are few enough, as materialize does.")
@click.option("--accept", is_flag=True, help="A change since the last good run is meant: compare with nothing.")
@JSON
def validate(table: str, quarantine: bool, accept: bool, as_json: bool) -> None:
    """Run Great Expectations on the source tables and write Data Docs; exit 1 on failure."""
    from services import intake, present

    home = Home.resolve()
    with step(f"validate {table}"):
        results = intake.validate(home, table, set_aside=quarantine, accept=accept)
    emit(present.gates_json(home, results)) if as_json else click.echo(present.gates(home, results))
    if not all(result.passed for result in results):
        raise SystemExit(1)


@click.command(epilog="Example: candor materialize")
@click.option("--to", type=INSTANT, help="Until when; default: the home's clock.")
@JSON
def materialize(to: datetime | None, as_json: bool) -> None:
    """Validate the sources, then fill Redis; a failed gate leaves Redis untouched.

    Faulty rows that are few enough are set aside in the home's folder quarantine; more of them fail the gate.
    """
    from services import embedded, intake
    from services.diagnose import EVICTION_ADVICE

    home = Home.resolve()
    with step("validate, apply, materialize"):
        intake.materialize(home, to)
    if found := embedded.eviction(home):
        click.echo(f"warning: Redis: {found}: {EVICTION_ADVICE}", err=True)
    until = home.state().materialized_to
    emit({"materialized_to": until, "redis": home.safe_redis}) if as_json else say(
        f"online store holds data to {until}"
    )


@click.command(
    epilog="Example: candor push credit_bureau --file reports.csv; tail -1 reports.jsonl | "
    "candor push credit_bureau --file -"
)
@click.argument("view")
@click.option("--file", "path", required=True, metavar="FILE", help="JSON lines, CSV or Parquet; - for JSON on stdin.")
@click.option("--accept", is_flag=True, help="Many events may be unlike what the table held at its last good run.")
@JSON
def push(view: str, path: str, accept: bool, as_json: bool) -> None:
    """Add events to a view: into its source table and, where they are the newest, into Redis at once.

    An event has every column of the source table, null for what is not known. Without a
    created_timestamp it becomes known now. Events that fail validation are refused, all of them.
    """
    from services import intake, present

    home = Home.resolve()
    with step(f"push to {view}"):
        done = intake.push(home, view, path, accept=accept)
    emit({"events": done.events, "served": done.served}) if as_json else click.echo(present.pushed(view, done))
