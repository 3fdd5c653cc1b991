"""The demo's way through all layers, which only services may know: train, then decide on the latest applicant."""

from __future__ import annotations

import asyncio
from typing import Any

import duckdb

from feature_repo.errors import GateError
from feature_repo.home import Home
from feature_repo.stores.online import OnlineReader
from services.reproduce import rebuild
from services.scoring.once import decide_once
from services.train import SERVICE, TrainOutcome, reference_frame, train
from training.bundle import Bundle, bundle_path, load_bundle, read_champion

__all__ = ["SERVICE", "TrainOutcome", "latest_requests", "rebuild", "reference_frame", "score_latest", "train"]

LATEST = 250


def score_latest(home: Home) -> bytes:
    """Decide on the latest loan's applicant whose views are all PRESENT, and return the logged response.

    Views that hold no feature of the model, because the portfolio does not fill them, do not count.

    Raises
    ------
    GateError
        If none of the latest applicants is complete.
    """
    champion = read_champion(home)
    bundle = load_bundle(bundle_path(home, champion.bundle))
    requests = latest_requests(home, [spec.name for spec in bundle.contract.request])
    complete = asyncio.run(_first_complete(home, bundle, requests))
    return decide_once(home, complete)


def latest_requests(home: Home, inputs: list[str]) -> list[dict[str, Any]]:
    """Return what the latest applicants asked for, the newest first, nulls left out."""
    connection = duckdb.connect()
    rows = connection.execute(
        f"""select applicant_id, {", ".join(inputs)} from read_parquet($loans)
            where event_timestamp <= $now order by event_timestamp desc, loan_id limit {LATEST}""",
        {"loans": home.source_glob("loans"), "now": home.now()},
    )
    names = ["applicant_id", *inputs]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows.fetchall()
    ]


async def _first_complete(home: Home, bundle: Bundle, requests: list[dict[str, Any]]) -> dict[str, Any]:
    used = {spec.view for spec in bundle.contract.features if spec.name in bundle.scorer.features}
    reader = OnlineReader(bundle.plan, home.redis)
    try:
        found = await reader.read_many([request["applicant_id"] for request in requests], home.now())
    finally:
        await reader.close()
    for request, stored in zip(requests, found, strict=True):
        if all(view.status == "PRESENT" for name, view in stored.views.items() if name in used):
            return request
    raise GateError(f"none of the latest {len(requests)} applicants has complete features; check the views' TTL")
