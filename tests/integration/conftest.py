"""One home that went the whole way, on a small simulated portfolio, with a real Redis, DuckDB and MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from services import cli, embedded, intake, lifecycle, pipeline

PROJECT = Path(__file__).resolve().parents[2]
REAL_DATA = PROJECT.parent / "shared" / "data"


@dataclass(frozen=True)
class Finished:
    """A home after the demo's way, and what came out."""

    home: Home
    outcome: pipeline.TrainOutcome
    bundle_digest: str
    decision: dict[str, Any]


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


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
def second(finished):
    """Another registered version on the same loans: other bytes, and as good."""
    return pipeline.train(finished.home, seed=8)


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
def here(finished, capsys, monkeypatch):
    """Run the command line in this process, which spares the imports, and return how it ended."""

    def run(*words: str, home: Path | None = None) -> Done:
        for name in [name for name in os.environ if name.startswith("CANDOR_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("CANDOR_HOME", str(home or finished.home.root))
        monkeypatch.setattr(sys, "argv", ["candor", *words])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def real_data():
    if not REAL_DATA.is_dir():
        pytest.skip("the real loans are not beside the project (../shared/data)")
    return REAL_DATA
