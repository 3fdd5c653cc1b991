"""Commands that look after what was decided: a monitoring cycle, a loop of them, and performance alone."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click

from feature_repo.home import Home
from services.commands.console import JSON, Finite, emit, need_log

FILE = click.Path(path_type=Path, dir_okay=False)
RETRAIN = click.option(
    "--retrain",
    is_flag=True,
    help="Train and compare with the champion when an alert begins whose rule says so; promote what passes the gate.",
)
TRIALS = click.option(
    "--trials",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="Hyperparameters that --retrain tries.",
)
_BY = "candor monitor"


@click.group(epilog="Example: candor monitor run; candor monitor watch --every 60")
def monitor() -> None:
    """Profiles, drift, performance and alerts of what was decided."""


@monitor.command(epilog="Example: candor monitor run; candor monitor run --retrain")
@RETRAIN
@TRIALS
@JSON
def run(retrain: bool, trials: int, as_json: bool) -> None:
    """Go through one cycle, which is what a scheduler calls.

    Exit 3 while a critical alert goes on, 1 if a step could not be taken or a sink not be told, else 0.
    """
    from services import monitor as cycles
    from services import observe, present_monitor

    home = Home.resolve()
    _log()
    observe.give_way()
    with contextlib.redirect_stdout(sys.stderr):
        cycle = cycles.run(home, _retrain(home, trials) if retrain else None)
    emit(cycle.to_json()) if as_json else click.echo(present_monitor.cycle(cycle))
    if cycle.exit_code:
        raise SystemExit(cycle.exit_code)


@monitor.command(epilog="Example: candor monitor watch --every 60 --retrain")
@click.option("--every", type=Finite(1, 10_080), default=60, show_default=True, metavar="MINUTES", help="How often.")
@RETRAIN
@TRIALS
def watch(every: float, retrain: bool, trials: int) -> None:
    """Go through a cycle again and again, until SIGTERM or Ctrl-C; each is told in a few lines."""
    from services import monitor as cycles
    from services import observe, present_monitor

    home = Home.resolve()
    _log()
    observe.give_way()
    cycles.watch(
        home,
        timedelta(minutes=every),
        lambda cycle: click.echo(present_monitor.cycle(cycle)),
        _retrain(home, trials) if retrain else None,
    )


@click.command(epilog="Example: candor performance --html performance.html")
@click.option("--html", type=FILE, help="Write a self-contained page.")
@click.option("--report", type=FILE, help="Write the report as JSON.")
@JSON
def performance(html: Path | None, report: Path | None, as_json: bool) -> None:
    """Show how decisions turned out: matured AUC, KS, calibration and bad rates, approvals and APR."""
    from feature_repo.home import write_atomically
    from monitoring.monitor_settings import load_settings
    from services import monitor, monitor_steps, observe, present_monitor

    home = Home.resolve()
    need_log(home)
    observe.give_way()
    settings = load_settings(home)
    found = monitor_steps.measured(home, settings, monitor.first_period(settings))
    if html:
        write_atomically(html, found.to_html().encode())
    if report:
        write_atomically(report, found.to_json())
    click.echo(found.to_json().decode()) if as_json else click.echo(present_monitor.performance(found))


def _retrain(home: Home, trials: int) -> Callable[[str], str]:
    def retrain(why: str) -> str:
        import services.train  # Feast turns warnings on when it is imported

        warnings.simplefilter("ignore")
        from services import lifecycle, present_promotions

        done = lifecycle.retrain(home, seed=services.train.DEFAULT_SEED, trials=trials, by=_BY, why=why)
        if done.entry is None:
            verdict = "nothing new: the very model in service came out again"
        else:
            verdict = done.refusal or present_promotions.changed(done.entry)
        vouched = "".join(f"; {name} is vouched for: {word.told()}" for name, word in done.outcome.vouched.items())
        return f"{verdict}{vouched}; report {done.outcome.report}"

    return retrain


def _log() -> None:
    """Let alerts and defects be seen on stderr, and nothing of what the libraries have to say below a warning."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)  # a library may turn warnings into a log
    for name in ("monitoring", "services"):
        logging.getLogger(name).setLevel(logging.INFO)
