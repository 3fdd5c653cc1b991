"""One decision without a server: the same way through the same parts, for the command line."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from feature_repo.errors import InputError
from feature_repo.home import Home
from services.scoring.champion import Load, load_champion
from services.scoring.service import ScoringService


def decide_once(home: Home, request: dict[str, Any], load: Load = load_champion) -> bytes:
    """Decide on one request, log the decision and return the answer as JSON.

    Parameters
    ----------
    request : dict
        The fields of a ``POST /predict`` body.
    load : callable
        Loads the home's champion.

    Raises
    ------
    InputError
        If the request is wrong or the applicant not known.
    UnavailableError
        If model, store or log is not there.
    """
    try:
        body = msgspec.json.encode(request)
    except UnicodeEncodeError:
        raise InputError("applicant_id: is not UTF-8") from None

    async def run() -> bytes:
        service = ScoringService(home, load)
        try:
            return (await service.decide(body)).body
        finally:
            await service.close()

    return asyncio.run(run())
