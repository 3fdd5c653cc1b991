"""The least that a decision over HTTP can cost: one HMGET and one lookup in the model's tables."""

import os
from pathlib import Path

import msgspec
import numpy as np
from litestar import Litestar, Request, get, post
from redis.asyncio import Redis

from feature_repo.stores.address import parse_address
from training.bundle import load_bundle

bundle = load_bundle(Path(os.environ["BARE_BUNDLE"]))
address = parse_address(os.environ["BARE_REDIS"])
client = Redis(host=address.host, port=address.port, **address.options)
fields = [bytes.fromhex(slot.hash) for view in bundle.plan.views for slot in view.slots]
row = np.zeros((1, len(bundle.scorer.columns)), np.float32)


@get("/health")
async def health() -> dict[str, str]:
    """Tell that the process answers."""
    return {}


@post("/predict", status_code=200)
async def predict(request: Request) -> dict[str, object]:
    """Look everything up and answer with numbers."""
    asked = msgspec.json.decode(await request.body())
    found = await client.hmget(bundle.plan.key(asked["applicant_id"]), fields)
    margin, impacts = bundle.scorer.tables.explain(row)
    return {"found": len(found), "margin": margin.tolist(), "impacts": impacts.tolist()}


app = Litestar([health, predict], openapi_config=None, logging_config=None)
