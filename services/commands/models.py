"""Commands that train models and put them in service."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from feature_repo.errors import GateError
from feature_repo.home import Home
from services.commands.console import INSTANT, JSON, Finite, emit, step

if TYPE_CHECKING:
    from training.recipe import CutoffRule


@click.command(epilog="Example: candor train --oot-start 2025-07-01 --trials 40; candor train --run RUN_ID --reproduce")
@click.option("--as-of", type=INSTANT, help="Outcomes observed by then count; default: the home's clock.")
@click.option("--oot-start", type=INSTANT, help="Start of the out-of-time window; default: the portfolio's.")
@click.option(
    "--performance-months",
    type=click.IntRange(0, 600),
    help="Months after a decision in which a default counts, 0 for as long as observed; default: the portfolio's.",
)
@click.option(
    "--trials",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="Sets of hyperparameters to try on folds in time, the stated fixed ones first; 0 takes those.",
)
@click.option(
    "--timeout", type=Finite(0), help="Seconds after which no trial begins; the search then depends on speed."
)
@click.option(
    "--cutoff",
    type=click.Choice(["policy", "profit"]),
    default="policy",
    show_default=True,
    help="The policy's cutoff, or the one of most profit on the last loans before the out-of-time window.",
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
@click.option("--run", "run_id", metavar="RUN_ID", help="A recorded run, with --reproduce.")
@click.option("--reproduce", is_flag=True, help="Make the model of --run again, compare bit for bit, record nothing.")
@JSON
def train(
    as_of: datetime | None,
    oot_start: datetime | None,
    performance_months: int | None,
    trials: int,
    timeout: float | None,
    cutoff: CutoffRule,
    seed: int,
    run_id: str | None,
    reproduce: bool,
    as_json: bool,
) -> None:
    """Train on point-in-time data and register the model in MLflow.

    A search that was interrupted goes on where it was when the same command is given again.
    """
    if reproduce != (run_id is not None):
        raise click.UsageError("--run RUN_ID and --reproduce go together")
    if run_id is not None:
        _reproduce(run_id, as_json)
        return
    from services import present
    from services.train import train as train_model

    home = Home.resolve()
    with step("train on point-in-time data, log to MLflow"):
        outcome = train_model(
            home,
            as_of=as_of,
            oot_start=oot_start,
            performance_months=performance_months,
            seed=seed,
            trials=trials,
            timeout=timeout,
            cutoff_rule=cutoff,
        )
    emit(outcome.to_json()) if as_json else click.echo(present.trained(outcome))


def _reproduce(run_id: str, as_json: bool) -> None:
    from services.reproduce import reproduce as make_again

    with step(f"make the model of run {run_id} again"):
        again = make_again(Home.resolve(), run_id)
    if as_json:
        digests = {"dataset_digest": again.dataset_digest, "model_digest": again.model_digest}
        emit({"run_id": run_id, "same": not again.differs, "differs": again.differs} | digests)
    elif not again.differs:
        click.echo(f"run {run_id}: the same dataset and the same model, {again.model_digest}")
    if again.differs:
        raise GateError(f"run {run_id} was not made again: what differs is {', '.join(again.differs)}")


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
