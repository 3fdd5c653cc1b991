"""Kill the service under load twenty times, then look for what it acknowledged; replay ten thousand decisions.

python -m tests.benchmarks durability
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from monitoring.decision_log import DecisionLog
from services.scoring.replay import CitedModels, replay_all
from services.scoring.service import ScoringService
from tests.behaviour.serving import Load, Server
from tests.unit.services.harness import GOOD, a_home, put
from tests.unit.services.small_bundle import promote

KILLS, REPLAYS, APPLICANTS = 20, 10_000, 50


def kills(home: Any) -> dict[str, Any]:
    """Kill the server under load and count acknowledged decisions that are not in the log."""
    server, acknowledged, begun = Server(home), [], time.perf_counter()
    for _ in range(KILLS):
        server.start()
        load = Load(server, APPLICANTS, clients=8)
        time.sleep(0.8)
        server.kill()
        load.stop()
        acknowledged += load.acknowledged
    seconds = time.perf_counter() - begun
    log = DecisionLog(home.decision_log_url)
    logged = {record.decision_id for record in log.rows()}
    log.close()
    return {"decisions": len(acknowledged), "seconds": seconds, "lost or different": len(set(acknowledged) - logged)}


def fill(home: Any, count: int) -> None:
    """Log more decisions, in batches, by the model in service."""

    async def run() -> None:
        service = ScoringService(home)
        for start in range(0, count, 500):
            asked = [
                {"applicant_id": f"APP_{number % APPLICANTS}", "purchase_amount": 100 + number, "term_months": 6}
                for number in range(start, min(start + 500, count))
            ]
            await service.decide_many([json.dumps(one).encode() for one in asked])
        await service.close()

    asyncio.run(run())


def replays(home: Any) -> dict[str, Any]:
    """Replay the log after another champion was promoted, and count differences."""
    fill(home, REPLAYS // 2)
    promote(home, seed=1, version="8")
    fill(home, REPLAYS // 2)
    log = DecisionLog(home.decision_log_url)
    begun = time.perf_counter()
    found = list(replay_all(log.rows(), CitedModels(home)))
    seconds = time.perf_counter() - begun
    log.close()
    return {
        "decisions": len(found),
        "seconds": seconds,
        "lost or different": sum(not replayed.identical for replayed in found),
    }


def run() -> list[dict[str, Any]]:
    """Return name, decisions, seconds and what was lost or came out otherwise."""
    with tempfile.TemporaryDirectory() as folder, a_home(Path(folder)) as home:
        promote(home)
        for number in range(APPLICANTS):
            put(home, f"APP_{number}", GOOD)
        return [{"name": f"kill -9 under load, {KILLS} times"} | kills(home), {"name": "replay"} | replays(home)]
