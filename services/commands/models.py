"""Commands that train models and put them in service."""

from __future__ import annotations

from datetime import datetime

import click

from feature_repo.home import Home
from services.commands.console import INSTANT, JSON, Finite, emit, step


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


@click.command(epilog="Example: candor challenge 4 --share 0.1; candor challenge 4; candor challenge --stop")
@click.argument("version", required=False)
@click.option(
    "--share",
    type=Finite(0, 1),
    default=0.0,
    show_default=True,
    help="Share of applicants that it decides on; 0 looks on: the champion decides, and both are logged.",
)
@click.option("--name", "experiment", default="", help="Name of the challenge; another name chooses other applicants.")
@click.option("--stop", is_flag=True, help="End the challenge.")
@JSON
def challenge(version: str | None, share: float, experiment: str, stop: bool, as_json: bool) -> None:
    """Let a registered version challenge the champion; running services follow."""
    from training.promotion import challenge as start_challenge
    from training.promotion import stop_challenge

    if stop == (version is not None):
        raise click.UsageError("give one VERSION, or --stop")
    home = Home.resolve()
    if stop:
        ended = stop_challenge(home)
        text = f"challenge {ended.experiment} is over" if ended else "there was no challenge"
        emit({"stopped": ended.experiment if ended else None}) if as_json else click.echo(text)
        return
    assert version is not None
    with step(f"challenge by version {version}"):
        champion, _ = start_challenge(home, version, share=share, experiment=experiment)
    found = champion.challenger
    assert found is not None
    if as_json:
        emit({name: getattr(found, name) for name in ("version", "run_id", "bundle", "experiment", "share")})
    else:
        does = f"decides on {found.share:.4g} of applicants" if found.share else "looks on"
        click.echo(f"version {found.version} {does}, version {champion.version} is champion: {found.experiment}")
