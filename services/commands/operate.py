"""Commands that run a home: the demo, its variables, its servers."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path

import click

from feature_repo.home import Home
from services.commands.console import FOLDER, INSTANT, JSON, emit, say, step


@click.command(
    epilog="Example: candor demo --no-serve; candor demo --portfolio lendingclub --from ~/lendingclub --no-serve"
)
@click.option("--portfolio", default="simulated", show_default=True, help="Origin of the data.")
@click.option("--from", "raw", type=FOLDER, help="Folder of the portfolio's raw files.")
@click.option("--applicants", type=click.IntRange(200, 10_000_000), help="How many to simulate.")
@click.option("--oot-start", type=INSTANT, help="Start of the out-of-time window.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
@click.option("--no-serve", is_flag=True, help="Stop after the decision.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=8000, show_default=True)
@JSON
def demo(
    portfolio: str,
    raw: Path | None,
    applicants: int | None,
    oot_start: datetime | None,
    seed: int,
    no_serve: bool,
    host: str,
    port: int,
    as_json: bool,
) -> None:
    """Go the whole way: data, validation, features, training, promotion, one explained decision."""
    from feature_repo.portfolios.ingest import ingest as bring_in
    from feature_repo.portfolios.portfolio import SIMULATED
    from services import intake, pipeline, present
    from training.promotion import promote as put_in_service

    home = Home.resolve()
    with step(f"ingest {portfolio} into {home.root}"):
        simulates = portfolio == SIMULATED and raw is None
        ingested = bring_in(home, portfolio, raw, applicants=applicants, seed=seed if simulates else None)
        say(present.ingested(ingested))
    with step("validate, apply the feature definitions, materialize to Redis"):
        store = intake.materialize(home)
    with step("train on point-in-time data, log to MLflow"):
        outcome = pipeline.train(home, oot_start=oot_start, seed=seed, store=store)
        say(present.trained(outcome))
    with step(f"promote version {outcome.run.version}"):
        put_in_service(home, outcome.run.version, dataset_of=None, why="demo")
    with step("score the latest applicant with complete features"):
        decision = pipeline.score_latest(home)
    if as_json:
        emit({"train": outcome.to_json(), "decision": json.loads(decision)})
    else:
        click.echo(present.decision(json.loads(decision)))
    if not no_serve:
        from services.scoring.server import serve as run_server

        say(f"serving on http://{host}:{port}  (docs: http://{host}:{port}/docs, stop with Ctrl-C)")
        run_server(home, host, port, workers=1)


@click.command(epilog='Example: eval "$(candor env)" && feast feature-views list')
@JSON
def env(as_json: bool) -> None:
    """Print this home's variables and addresses, starting its Redis if need be."""
    from services import embedded, present

    home = Home.resolve()
    embedded.ensure(home)
    emit(present.environment(home)) if as_json else click.echo(present.exports(home))


@click.command(epilog="Example: candor mlflow --port 5000")
@click.option("--port", type=int, default=5000, show_default=True)
def mlflow(port: int) -> None:
    """Open the MLflow UI of this home."""
    home = Home.resolve()
    program = Path(sys.executable).with_name("mlflow")
    artifacts = home.mlflow_artifacts.as_uri()
    options = ["--backend-store-uri", home.mlflow_uri, "--default-artifact-root", artifacts, "--port", str(port)]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.execv(program, [str(program), "server", "--host", "127.0.0.1", *options])


@click.command(epilog="Example: candor stop")
@JSON
def stop(as_json: bool) -> None:
    """End what this home started."""
    from services import embedded

    stopped = embedded.stop(Home.resolve())
    emit({"redis_stopped": stopped}) if as_json else say("Redis stopped" if stopped else "nothing was running")


@click.command(epilog="Example: candor doctor")
@JSON
def doctor(as_json: bool) -> None:
    """Say what is reachable, which versions run, and what to do about what is not; exit 1 if something is missing."""
    from services import diagnose

    checks = diagnose.run(Home.resolve())
    emit(diagnose.to_json(checks)) if as_json else click.echo(diagnose.to_text(checks))
    if not all(check.ok for check in checks):
        raise SystemExit(1)
