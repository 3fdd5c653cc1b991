"""Commands that decide who decides: promotion, challenge, rollback, their record, retraining."""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from feature_repo.home import Home
from services.commands.console import FOLDER, INSTANT, JSON, Finite, emit, say, step
from services.commands.models import AS_OF, BY, CUTOFF, MONTHS, SEED, SOUND, TIMEOUT, TRIALS, WITH_DECIDED

if TYPE_CHECKING:
    from training.promotion_record import Entry
    from training.recipe import CutoffRule

WHY = click.option("--why", default="", metavar="TEXT", help="The reason, for the record.")
GATE = click.option("--gate", type=FOLDER, metavar="FILE", help="TOML of the lines to hold; default: the project's.")

UNCOMPARED = click.option(
    "--uncompared",
    is_flag=True,
    help="Vouch for it where the champion lost features that it reads, or is damaged, and cannot be compared with; "
    "needs --why.",
)


@click.command(epilog='Example: candor promote; candor promote 3 --by "A. Ramos" --why "quarterly review"')
@click.argument("version", required=False)
@BY
@WHY
@GATE
@UNCOMPARED
@JSON
def promote(version: str | None, by: str, why: str, gate: Path | None, uncompared: bool, as_json: bool) -> None:
    """Check a registered version against the gate and the champion, and put it in service."""
    from services import lifecycle, present_promotions
    from training.promotion import Refused
    from training.promotion_gate import DEFAULT_GATE

    try:
        with step("promote"):
            entry = lifecycle.promote(
                Home.resolve(), version, by=by, why=why, gate=gate or DEFAULT_GATE, uncompared=uncompared
            )
    except Refused as refused:
        _tell_refusal(refused.entry, as_json)
        raise
    _tell(entry, f"{present_promotions.gate_table(entry.lines)}\n{present_promotions.changed(entry)}", as_json)


@click.command(epilog="Example: candor challenge 4 --share 0.1; candor challenge 4; candor challenge --stop")
@click.argument("version", required=False)
@click.option(
    "--share",
    type=Finite(0, 1),
    default=0.0,
    show_default=True,
    help="Share of applicants that it decides on, if it passes the gate; 0 looks on: the champion decides, and both "
    "are logged.",
)
@click.option("--name", "experiment", default="", help="Name of the challenge; another name chooses other applicants.")
@click.option("--stop", is_flag=True, help="End the challenge.")
@BY
@WHY
@GATE
@UNCOMPARED
@JSON
def challenge(
    version: str | None,
    share: float,
    experiment: str,
    stop: bool,
    by: str,
    why: str,
    gate: Path | None,
    uncompared: bool,
    as_json: bool,
) -> None:
    """Let a registered version challenge the champion; running services follow."""
    if stop == (version is not None):
        raise click.UsageError("give one VERSION, or --stop")
    from services import lifecycle, present_promotions
    from training.promotion import Refused, stop_challenge
    from training.promotion_gate import DEFAULT_GATE

    home = Home.resolve()
    if version is None:
        ended = stop_challenge(home, by=by, why=why)
        _tell_trouble(ended)
        text = f"challenge {ended.experiment} is over" if ended else "there was no challenge"
        emit({"stopped": ended.experiment if ended else None}) if as_json else click.echo(text)
        return
    try:
        with step(f"challenge by version {version}"):
            entry = lifecycle.challenge(
                home,
                version,
                share=share,
                experiment=experiment,
                by=by,
                why=why,
                gate=gate or DEFAULT_GATE,
                uncompared=uncompared,
            )
    except Refused as refused:
        _tell_refusal(refused.entry, as_json)
        raise
    _tell(entry, present_promotions.challenged(entry), as_json)


@click.command(epilog='Example: candor rollback --why "approvals fell"; candor rollback --to 2')
@click.option("--to", metavar="VERSION", help="One that was champion here; default: the one before.")
@BY
@WHY
@JSON
def rollback(to: str | None, by: str, why: str, as_json: bool) -> None:
    """Put the champion from before back in service; running services follow, without a gate and without MLflow."""
    from services import present_promotions
    from training.rollback import rollback as go_back

    with step("rollback"):
        entry = go_back(Home.resolve(), to, by=by, why=why)
    _tell(entry, present_promotions.changed(entry), as_json)


@click.command(epilog="Example: candor promotions; candor promotions --json")
@JSON
def promotions(as_json: bool) -> None:
    """Show who put which model in service, when and why, and what was refused."""
    from feature_repo.errors import UnavailableError
    from services import present_promotions
    from training.bundle import read_champion
    from training.promotion_record import read_record, under_way

    home = Home.resolve()
    entries, begun = read_record(home), under_way(home)
    if begun is not None:
        say(
            f"{begun.action} of version {begun.version} is under way, or was cut off: the next such command finishes it"
        )
    if as_json:
        emit({"promotions": [_json(entry) for entry in entries]})
        return
    try:
        champion = read_champion(home)
    except UnavailableError:
        champion = None
    click.echo(present_promotions.history(entries, champion))


@click.command(epilog='Example: candor retrain --why "drift alert of 2026-11-24"')
@AS_OF
@click.option(
    "--oot-start",
    type=INSTANT,
    help="Start of the out-of-time window; default: the latest fifth of the loans that count, twelve months at most, "
    "and never before the champion's.",
)
@MONTHS
@TRIALS
@TIMEOUT
@CUTOFF
@SEED
@SOUND
@WITH_DECIDED
@BY
@WHY
@GATE
@JSON
def retrain(
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
    why: str,
    gate: Path | None,
    as_json: bool,
) -> None:
    """Train on what is known now, compare with the champion, and promote, or stop with a report and exit 1.

    Where the very bundle in service comes out again, there is nothing new: exit 0.
    """
    import services.train  # noqa: F401  before the next line, since Feast turns warnings on when it is imported
    from services import lifecycle, present, present_promotions
    from training.promotion_gate import DEFAULT_GATE

    warnings.simplefilter("ignore")
    with step("retrain, compare with the champion"):
        done = lifecycle.retrain(
            Home.resolve(),
            as_of=as_of,
            oot_start=oot_start,
            performance_months=performance_months,
            trials=trials,
            timeout=timeout,
            cutoff_rule=cutoff,
            seed=seed,
            sound=dict(sound),
            with_decided=with_decided,
            by=by,
            why=why,
            gate=gate or DEFAULT_GATE,
        )
    _tell_trouble(done.entry)
    if as_json:
        promotion = _json(done.entry) if done.entry else None
        emit({"train": done.outcome.to_json(), "promotion": promotion, "nothing_new": not done.is_new})
    else:
        click.echo(f"{present.trained(done.outcome)}\n{present_promotions.retrained(done)}")
    if done.refusal:
        raise SystemExit(1)


def _tell(entry: Entry, text: str, as_json: bool) -> None:
    _tell_trouble(entry)
    emit(_json(entry)) if as_json else click.echo(text)


def _tell_trouble(entry: Entry | None) -> None:
    if entry is not None and entry.trouble:
        say(f"candor: the service has followed, but {entry.trouble}")


def _tell_refusal(entry: Entry, as_json: bool) -> None:
    from services import present_promotions

    emit(_json(entry)) if as_json else say(present_promotions.gate_table(entry.lines))


def _json(entry: Entry) -> dict[str, Any]:
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(entry)
    return told
