"""``candor``: the command line put together."""

from __future__ import annotations

import warnings

import click

from feature_repo.errors import CandorError
from services.commands import data, decisions, keys, labels, models, monitor, operate, promotion, watch


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="candor")
def cli() -> None:
    """Score point-of-sale loan applicants by ID, and say plainly why.

    Start with `candor demo --no-serve`. State lives in CANDOR_HOME (default: var/ in the project).
    """


for _command in (
    operate.demo,
    data.ingest,
    data.validate,
    data.materialize,
    data.push,
    models.train,
    promotion.retrain,
    promotion.promote,
    promotion.rollback,
    promotion.promotions,
    promotion.challenge,
    decisions.serve,
    decisions.score,
    decisions.replay,
    decisions.batch,
    decisions.notice,
    keys.keys,
    labels.outcomes,
    watch.profile,
    watch.drift,
    monitor.performance,
    monitor.monitor,
    operate.env,
    operate.mlflow,
    operate.stop,
    operate.doctor,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; a user error is one line on stderr and its exit code."""
    warnings.filterwarnings("ignore")
    try:
        cli(prog_name="candor")
    except CandorError as error:
        click.echo(f"candor: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
