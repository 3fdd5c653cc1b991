"""A home that went the demo's whole way, for benchmarks of what comes after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
CANDOR = [sys.executable, "-m", "services"]


@contextmanager
def a_demo_home(home: Path, applicants: int) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Give the environment in which commands work on the home, and what `candor env --json` says of it."""
    environment = {**os.environ, "CANDOR_HOME": str(home)}
    candor(environment, "demo", "--no-serve", "--applicants", str(applicants))
    try:
        facts = json.loads(candor(environment, "env", "--json"))
        environment["FEAST_FS_YAML_FILE_PATH"] = facts["feature_store_yaml"]
        yield environment, facts
    finally:
        candor(environment, "stop")


def candor(environment: dict[str, str], *words: str) -> bytes:
    """Run a command to its end, and return what it printed."""
    return subprocess.run([*CANDOR, *words], env=environment, cwd=PROJECT, check=True, capture_output=True).stdout
