"""One home that went the whole way, on a small simulated portfolio, with a real Redis, DuckDB and MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from services import embedded, intake, lifecycle, pipeline

PROJECT = Path(__file__).resolve().parents[2]
REAL_DATA = PROJECT.parent / "shared" / "data"


@dataclass(frozen=True)
class Finished:
    """A home after the demo's way, and what came out."""

    home: Home
    outcome: pipeline.TrainOutcome
    bundle_digest: str
    decision: dict[str, Any]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    home = Home(root=tmp_path_factory.mktemp("home") / "a home")
    try:
        ingest(home, "simulated", applicants=2500)
        store = intake.materialize(home)
        outcome = pipeline.train(home, store=store)
        entry = lifecycle.promote(home, outcome.run.version, dataset=outcome.dataset)
        yield Finished(home, outcome, entry.bundle, json.loads(pipeline.score_latest(home)))
    finally:
        embedded.stop(home)


@pytest.fixture(scope="session")
def candor(finished):
    """Run the command line on the finished home, or on another one."""

    def run(*words: str, home: Path | None = None, ok: bool = True, timeout: float = 300, stdin: str = "", **env: str):
        done = subprocess.run(
            [sys.executable, "-m", "services", *words],
            cwd=PROJECT,
            env={name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
            | {"CANDOR_HOME": str(home or finished.home.root)}
            | env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if ok:
            assert done.returncode == 0, done.stderr[-2000:]
        return done

    return run


@pytest.fixture
def real_data():
    if not REAL_DATA.is_dir():
        pytest.skip("the real loans are not beside the project (../shared/data)")
    return REAL_DATA
