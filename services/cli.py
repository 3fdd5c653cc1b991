"""``candor``: a thin command line. Heavy imports live inside the commands, so that help is instant."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from feature_repo.errors import CandorError, InputError
from feature_repo.home import Home, parse_instant

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; everything else on stderr.")
PORTFOLIO = click.Path(path_type=Path)


class Instant(click.ParamType[datetime]):
    """An ISO 8601 date or instant with a zone."""

    name = "TS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse the text; a bare date is its midnight in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_instant(str(value), f"--{param.name}" if param else "instant")
        except InputError as error:
            self.fail(str(error), param, ctx)


INSTANT = Instant()


def say(text: str) -> None:
    """Print progress where it cannot mix with results."""
    click.echo(text, err=True)


def emit(result: Any) -> None:
    """Print the one JSON object of ``--json``."""
    click.echo(json.dumps(result, default=str))


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step and how long it took; keep the libraries' chatter off stdout."""
    start = time.perf_counter()
    say(f"• {title}")
    with contextlib.redirect_stdout(sys.stderr):
        yield
    say(f"  done in {time.perf_counter() - start:.1f} s")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="candor")
def cli() -> None:
    """Score point-of-sale loan applicants by ID, and say plainly why.

    Start with `candor demo --no-serve`. State lives in CANDOR_HOME (default: var/ in the project).
    """


@cli.command(
    epilog="Example: candor demo --no-serve; candor demo --portfolio lendingclub --from ~/lendingclub --no-serve"
)
@click.option("--portfolio", default="simulated", show_default=True, help="Origin of the data.")
@click.option("--from", "raw", type=PORTFOLIO, help="Folder of the portfolio's raw files.")
@click.option("--applicants", type=click.IntRange(200, 10_000_000), help="How many to simulate.")
@click.option("--oot-start", type=INSTANT, help="Start of the out-of-time window.")
@click.option("--seed", type=int, default=7, show_default=True)
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
        put_in_service(home, outcome.run.version)
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


@cli.command(epilog="Example: candor ingest simulated --applicants 20000; candor ingest berka --from ~/berka")
@click.argument("portfolio")
@click.option("--from", "raw", type=PORTFOLIO, help="Folder of the raw files.")
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


@cli.command(epilog="Example: candor validate; candor validate credit_bureau")
@click.argument("table", default="all")
@JSON
def validate(table: str, as_json: bool) -> None:
    """Run Great Expectations on the source tables and write Data Docs; exit 1 on failure."""
    from services import intake, present

    home = Home.resolve()
    with step(f"validate {table}"):
        results = intake.validate(home, table)
    emit(present.gates_json(home, results)) if as_json else click.echo(present.gates(home, results))
    if not all(result.passed for result in results):
        raise SystemExit(1)


@cli.command(epilog="Example: candor materialize")
@click.option("--to", type=INSTANT, help="Until when; default: the home's clock.")
@JSON
def materialize(to: datetime | None, as_json: bool) -> None:
    """Validate the sources, then fill Redis; a failed gate leaves Redis untouched."""
    from services import intake

    home = Home.resolve()
    with step("validate, apply, materialize"):
        intake.materialize(home, to)
    until = home.state().materialized_to
    emit({"materialized_to": until, "redis": home.safe_redis}) if as_json else say(
        f"online store holds data to {until}"
    )


@cli.command(epilog="Example: candor train --oot-start 2025-07-01")
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


@cli.command(epilog="Example: candor promote; candor promote 3")
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


@cli.command(epilog="Example: candor serve --port 8000 --workers 2")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=8000, show_default=True)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
def serve(host: str, port: int, workers: int) -> None:
    """Run the scoring service."""
    from services import embedded
    from services.scoring.server import serve as run_server

    home = Home.resolve()
    embedded.ensure(home)
    run_server(home, host, port, workers)


@cli.command(epilog="Example: candor score APP_000001 --purchase-amount 3500 --term-months 12")
@click.argument("applicant_id")
@click.option("--purchase-amount", type=float, required=True, help="Price of the purchase.")
@click.option("--term-months", type=int, help="Monthly payments; default: the policy's.")
@JSON
def score(applicant_id: str, purchase_amount: float, term_months: int | None, as_json: bool) -> None:
    """Decide on one applicant, log the decision and explain it."""
    from services import embedded, present
    from services.scoring.once import decide_once

    home = Home.resolve()
    embedded.ensure(home)
    request: dict[str, Any] = {"applicant_id": applicant_id, "purchase_amount": purchase_amount}
    if term_months is not None:
        request["term_months"] = term_months
    answer = json.loads(decide_once(home, request))
    emit(answer) if as_json else click.echo(present.decision(answer))


@cli.command(epilog="Example: candor profile --source decisions --out today.bin")
@click.option("--source", type=click.Choice(["training", "decisions", "features"]), required=True)
@click.option("--from", "start", type=INSTANT, help="First decision, or feature row, that counts.")
@click.option("--to", "end", type=INSTANT, help="First that no longer counts.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@JSON
def profile(source: str, start: datetime | None, end: datetime | None, out: Path, as_json: bool) -> None:
    """Write a whylogs profile of training data, logged decisions or source features."""
    from services import observe

    home = Home.resolve()
    with step(f"profile {source}"):
        rows = observe.profile(home, source, start, end, out)
    emit({"source": source, "rows": rows, "out": str(out)}) if as_json else click.echo(f"{rows} rows -> {out}")


@cli.command(epilog="Example: candor drift --reference var/profiles/training.bin --current today.bin --html drift.html")
@click.option("--reference", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--current", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a self-contained page.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as JSON.")
@JSON
def drift(reference: Path, current: Path, html: Path | None, report: Path | None, as_json: bool) -> None:
    """Compare two profiles: PSI and KS per feature; exit 3 on alert."""
    from services import observe, present

    with contextlib.redirect_stdout(sys.stderr):
        result = observe.drift(reference, current, html=html, report=report)
    click.echo(result.to_json().decode()) if as_json else click.echo(present.drift(result))
    if result.alert:
        raise SystemExit(3)


@cli.command(epilog='Example: eval "$(candor env)" && feast feature-views list')
@JSON
def env(as_json: bool) -> None:
    """Print this home's variables and addresses, starting its Redis if need be."""
    from services import embedded, present

    home = Home.resolve()
    embedded.ensure(home)
    emit(present.environment(home)) if as_json else click.echo(present.exports(home))


@cli.command(epilog="Example: candor mlflow --port 5000")
@click.option("--port", type=int, default=5000, show_default=True)
def mlflow(port: int) -> None:
    """Open the MLflow UI of this home."""
    home = Home.resolve()
    program = Path(sys.executable).with_name("mlflow")
    artifacts = home.mlflow_artifacts.as_uri()
    options = ["--backend-store-uri", home.mlflow_uri, "--default-artifact-root", artifacts, "--port", str(port)]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.execv(program, [str(program), "server", "--host", "127.0.0.1", *options])


@cli.command(epilog="Example: candor stop")
@JSON
def stop(as_json: bool) -> None:
    """End what this home started."""
    from services import embedded

    stopped = embedded.stop(Home.resolve())
    emit({"redis_stopped": stopped}) if as_json else say("Redis stopped" if stopped else "nothing was running")


@cli.command(epilog="Example: candor doctor")
@JSON
def doctor(as_json: bool) -> None:
    """Say what is reachable, which versions run, and what to do about what is not; exit 1 if something is missing."""
    from services import diagnose

    checks = diagnose.run(Home.resolve())
    emit(diagnose.to_json(checks)) if as_json else click.echo(diagnose.to_text(checks))
    if not all(check.ok for check in checks):
        raise SystemExit(1)


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
