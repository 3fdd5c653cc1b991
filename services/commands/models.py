"""The command that trains models."""

from __future__ import annotations

import warnings
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from feature_repo.errors import GateError
from feature_repo.home import Home
from services.commands.console import INSTANT, JSON, Finite, emit, step

if TYPE_CHECKING:
    from training.recipe import CutoffRule


class Reasoned(click.ParamType[tuple[str, str]]):
    """A name and a reason, with a sign of equality between."""

    name = "NAME=REASON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split the text; refuse one without either."""
        name, _, reason = map(str.strip, str(value).partition("="))
        if not name or not reason or not reason.isprintable():
            self.fail(f"{value!r} is not a feature and a reason in one line: FEATURE=REASON", param, ctx)
        return name, reason


AS_OF = click.option("--as-of", type=INSTANT, help="Outcomes observed by then count; default: the home's clock.")
MONTHS = click.option(
    "--performance-months",
    type=click.IntRange(0, 600),
    help="Months after a decision in which a default counts, 0 for as long as observed; default: the portfolio's.",
)
TRIALS = click.option(
    "--trials",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="Sets of hyperparameters to try on folds in time, the stated fixed ones first; 0 takes those.",
)
TIMEOUT = click.option(
    "--timeout", type=Finite(0), help="Seconds after which no trial begins; the search then depends on speed."
)
CUTOFF = click.option(
    "--cutoff",
    type=click.Choice(["policy", "profit"]),
    default="policy",
    show_default=True,
    help="The policy's cutoff, or the one of most profit on the last loans before the out-of-time window.",
)
SEED = click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
SOUND = click.option(
    "--sound",
    type=Reasoned(),
    multiple=True,
    metavar="FEATURE=REASON",
    help="Vouch for a feature that the leakage check accuses; who and why is kept with the run. May be repeated.",
)
WITH_DECIDED = click.option(
    "--with-decided/--without-decided",
    default=True,
    show_default=True,
    help="Whether approvals made here, with their outcomes, are learned from beside the loans table.",
)
BY = click.option("--by", default="", metavar="NAME", help="In whose name; default: the user of this machine.")
_WITH_RUN = {"run_id", "reproduce", "as_json"}


@click.command(epilog="Example: candor train --oot-start 2025-07-01 --trials 40; candor train --run RUN_ID --reproduce")
@AS_OF
@click.option("--oot-start", type=INSTANT, help="Start of the out-of-time window; default: the portfolio's.")
@MONTHS
@TRIALS
@TIMEOUT
@CUTOFF
@SEED
@SOUND
@WITH_DECIDED
@BY
@click.option("--run", "run_id", metavar="RUN_ID", help="A recorded run, with --reproduce.")
@click.option(
    "--reproduce",
    is_flag=True,
    help="Make dataset, model and bundle of --run again, compare bit for bit, record nothing.",
)
@JSON
@click.pass_context
def train(
    context: click.Context,
    as_of: datetime | None,
    oot_start: datetime | None,
    performance_months: int | None,
    trials: int,
    timeout: float | None,
    cutoff: CutoffRule,
    seed: int,
    sound: tuple[tuple[str, str], ...],
    with_decided: bool,
    by: str,
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
        _refuse_others(context)
        _reproduce(run_id, as_json)
        return
    from services import present
    from services.train import train as train_model
    from training.promotion_record import signed
    from training.vouching import Vouch

    by, _ = signed(by, "")

    warnings.simplefilter("ignore")  # Feast turned its own on when it was imported
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
            sound={feature: Vouch(reason, by) for feature, reason in sound},
            with_decided=with_decided,
        )
    emit(outcome.to_json()) if as_json else click.echo(present.trained(outcome))


def _refuse_others(context: click.Context) -> None:
    """Refuse what was typed beside --run, since all of it is in the run's record."""
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in _WITH_RUN
        and context.get_parameter_source(option.name or "") is not ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)}: a run is made again as it was recorded, and takes no options")


def _reproduce(run_id: str, as_json: bool) -> None:
    from services.reproduce import reproduce as make_again

    warnings.simplefilter("ignore")  # Feast turned its own on when it was imported
    with step(f"make the model of run {run_id} again"):
        again = make_again(Home.resolve(), run_id)
    if as_json:
        digests = {
            "dataset_digest": again.dataset_digest,
            "model_digest": again.model_digest,
            "bundle_digest": again.bundle_digest,
        }
        emit({"run_id": run_id, "same": not again.differs, "differs": again.differs} | digests)
    elif not again.differs:
        click.echo(f"run {run_id}: the same dataset, model and bundle, {again.bundle_digest}")
    if again.differs:
        raise GateError(f"run {run_id} was not made again: what differs is {', '.join(again.differs)}")
