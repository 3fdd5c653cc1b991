"""Commands that train models and put them in service."""

from __future__ import annotations

from datetime import datetime

import click

from feature_repo.home import Home
from services.commands.console import INSTANT, JSON, emit, step


@click.command(epilog="Example: candor train --oot-start 2025-07-01")
@click.option("--as-of", type=INSTANT, help="Outcomes observed by then count; default: the home's clock.")
@click.option("--oot-start", type=INSTANT, help="Start of the out-of-time window; default: the portfolio's.")
@click.option("--seed", type=int, default=7, show_default=True)
@JSON
def train(as_of: datetime | None, oot_start: datetime | None, seed: int, as_json: bool) -> None:
    """Train on point-in-time data and register the model in MLflow."""
    from services import pipeline, present

    home = Home.resolve()
    with step("train on point-in-time data, log to MLflow"):
        outcome = pipeline.train(home, as_of=as_of, oot_start=oot_start, seed=seed)
    emit(outcome.to_json()) if as_json else click.echo(present.trained(outcome))


@click.command(epilog="Example: candor promote; candor promote 3")
@click.argument("version", required=False)
@JSON
def promote(version: str | None, as_json: bool) -> None:
    """Check a registered version against the gate and put it in service."""
    from training.promotion import promote as put_in_service

    home = Home.resolve()
    with step("promote"):
        run, bundle = put_in_service(home, version)
    if as_json:
        emit({"version": run.version, "run_id": run.run_id, "bundle": bundle.digest})
    else:
        click.echo(f"version {run.version} is champion, bundle {bundle.digest}")
