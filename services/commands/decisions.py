"""Commands that decide."""

from __future__ import annotations

import json
from typing import Any

import click

from feature_repo.home import Home
from services.commands.console import JSON, emit


@click.command(epilog="Example: candor serve --port 8000 --workers 2")
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
