"""Commands that decide."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import click

from feature_repo.home import Home
from services.commands.console import FOLDER, INSTANT, JSON, Finite, emit, need_log


@click.command(epilog="Example: candor serve --port 8000 --workers 2; candor serve --host 0.0.0.0 --rate-limit 200")
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond loopback, requests need an API key.")
@click.option("--port", type=int, default=8000, show_default=True)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--require-keys", is_flag=True, help="Need an API key on loopback too.")
@click.option("--allowed-host", "allowed_hosts", multiple=True, help="Further name of this machine (loopback only).")
@click.option(
    "--rate-limit",
    type=Finite(0),
    help="Requests a second of one key or address, 0 for no limit; default: 1000, on loopback none.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Requests are info.",
)
def serve(
    host: str,
    port: int,
    workers: int,
    require_keys: bool,
    allowed_hosts: tuple[str, ...],
    rate_limit: float | None,
    log_level: str,
) -> None:
    """Run the scoring service."""
    from services import embedded
    from services.scoring.door.policy import DoorOptions
    from services.scoring.server import serve as run_server

    home = Home.resolve()
    options = DoorOptions(
        require_keys=require_keys,
        allowed_hosts=allowed_hosts,
        rate=rate_limit,
        sagemaker=os.environ.get("CANDOR_SAGEMAKER") == "1",
    )
    embedded.ensure(home)
    run_server(home, host, port, workers, options, log_level)


@click.command(epilog="Example: candor score APP_000001 --purchase-amount 3500 --term-months 12")
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


@click.command(
    epilog="Example: candor replay 01a205d0-20af-7aba-912c-c855649aa3f6; candor replay --all; "
    "candor replay --from 2026-01-01 --to 2026-02-01"
)
@click.argument("decision_id", required=False)
@click.option("--all", "every", is_flag=True, help="Replay the whole log.")
@click.option("--from", "start", type=INSTANT, help="First decision of many.")
@click.option("--to", "end", type=INSTANT, help="First that no longer counts.")
@JSON
def replay(decision_id: str | None, every: bool, start: datetime | None, end: datetime | None, as_json: bool) -> None:
    """Make logged decisions once more and compare bit for bit; exit 1 on any difference."""
    from services import recompute

    many = every or start is not None or end is not None
    if many == (decision_id is not None):
        raise click.UsageError("give one DECISION_ID, or --all, or --from and --to")
    home = Home.resolve()
    need_log(home)
    if decision_id is not None:
        one = recompute.one(home, decision_id)
        different = not one.identical
        emit(recompute.to_json(one)) if as_json else click.echo(recompute.to_text(one))
    else:
        counts = recompute.many(home, start, end)
        different = bool(counts.different)
        if as_json:
            emit({"replayed": counts.replayed, "different": [recompute.to_json(one) for one in counts.different]})
        else:
            click.echo("\n".join([*map(recompute.to_text, counts.different), counts.summary()]))
    if different:
        raise SystemExit(1)


@click.command(epilog="Example: candor notice 01a205d0-20af-7aba-912c-c855649aa3f6 --format html > notice.html")
@click.argument("decision_id")
@click.option("--format", "form", type=click.Choice(["text", "html", "json"]), default="text", show_default=True)
@JSON
def notice(decision_id: str, form: Literal["text", "html", "json"], as_json: bool) -> None:
    """Write the notice that a logged decision calls for: adverse action, counter-offer, risk-based pricing, or none."""
    from services import recompute
    from services.scoring.notices.lender import load_lender
    from services.scoring.notices.notice import notice_of
    from services.scoring.notices.render import render
    from services.scoring.replay import CitedModels

    home = Home.resolve()
    need_log(home)
    record = recompute.logged(home, decision_id)
    made = notice_of(record, CitedModels(home).model(record), load_lender(home))
    click.echo(render(made, "json" if as_json else form), nl=form == "json" or as_json)


@click.command(epilog="Example: candor batch --input applicants.parquet --output decisions.parquet")
@click.option("--input", "source", type=FOLDER, required=True, help="Parquet: applicant_id, purchase_amount, and more.")
@click.option("--output", "target", type=FOLDER, required=True, help="Parquet: the same rows with their decisions.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that decide; default: one per core.")
@JSON
def batch(source: Path, target: Path, workers: int | None, as_json: bool) -> None:
    """Decide on every row of a file with features from the offline store; exit 1 if not one could be decided."""
    from services import batch as batches

    report = batches.run(Home.resolve(), source, target, workers)
    if as_json:
        emit({"rows": report.rows, "decided": report.decided, "seconds": report.seconds, "output": str(target)})
    else:
        rate = report.decided / report.seconds if report.seconds else 0.0
        click.echo(f"{report.decided:,} of {report.rows:,} rows decided, {rate:,.0f} a second -> {target}")
    if report.failed:
        raise SystemExit(1)
