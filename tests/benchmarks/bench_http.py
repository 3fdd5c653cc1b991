"""A whole explained decision beside Feast's feature server and a bare handler, over HTTP, one worker each.

Needs ``wrk`` and ``hey`` (Debian's packages of that name). All contenders answer for the same applicants from
the same Redis, 16 connections each, one after the other and that several times, since a machine is not the same from
one minute to the next; told is the median of the rounds, of ratios that of each round's ratio:

- ``feast serve``: the stored features of the model's feature service, nothing else;
- ``bare handler``: Litestar, one HMGET, one lookup in the same model's tables, nothing checked, decoded or logged;
- ``candor serve``: the decision, with guard, policy, terms, reasons and the durable log.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.demo_home import CANDOR, PROJECT, a_demo_home

CONNECTIONS = 16
SECONDS = 6
ROUNDS = 5
APPLICANTS = 2000
PROGRAMS = Path(sys.executable).parent


def run(seconds: int = SECONDS) -> list[dict[str, Any]]:
    """Return ``name``, ``requests/s``, ``p50_ms``, ``p99_ms`` and errors at full load, and ratios to the two others.

    Beside the ratios stand those of the single rounds.

    The last row is our latency at half the load that it can take.
    """
    for tool in ("wrk", "hey"):
        if not shutil.which(tool):
            return [{"name": f"not measured: {tool} is not installed (apt-get install {tool})"}]
    with (
        tempfile.TemporaryDirectory(prefix="candor-bench-") as folder,
        a_demo_home(Path(folder) / "home", APPLICANTS) as (environment, facts),
    ):
        return _measured(Path(folder), environment, facts, seconds)


def _measured(folder: Path, environment: dict[str, str], facts: dict[str, Any], seconds: int) -> list[dict[str, Any]]:
    from feature_repo.home import Home
    from training.bundle import bundle_path, load_bundle, read_champion

    home = Home(Path(facts["home"]))
    bundle = load_bundle(bundle_path(home, read_champion(home).bundle))
    features = [f"{view.name}:{spec.name}" for view in bundle.contract.views for spec in view.features]
    decision = folder / "decision.lua"
    decision.write_text(_script(b'{"applicant_id": "%s", "purchase_amount": 3500, "term_months": 12}'))
    asked = json.dumps({"features": features, "entities": {"applicant_id": ["%s"]}}).encode()
    reading = folder / "features.lua"
    reading.write_text(_script(asked))
    bare = {**environment, "BARE_BUNDLE": str(bundle.path), "BARE_REDIS": facts["redis"]}
    ports = {"feast serve": _free_port(), "bare handler": _free_port(), "candor serve": _free_port()}
    feast = [str(PROGRAMS / "feast"), "serve", "-p", str(ports["feast serve"]), "-w", "1", "--no-access-log"]
    handler = [sys.executable, "-m", "uvicorn", "tests.benchmarks.bare_handler:app", "--loop", "uvloop",
               "--http", "httptools", "--no-access-log", "--log-level", "warning"]  # fmt: skip
    handler += ["--port", str(ports["bare handler"])]
    candor = [*CANDOR, "serve", "--port", str(ports["candor serve"])]
    asks = {
        "feast serve": (f"http://127.0.0.1:{ports['feast serve']}/get-online-features", reading),
        "bare handler": (f"http://127.0.0.1:{ports['bare handler']}/predict", decision),
        "candor serve": (f"http://127.0.0.1:{ports['candor serve']}/predict", decision),
    }
    with (
        _server(feast, environment, ports["feast serve"], "/health", PROJECT / "feature_repo"),
        _server(handler, bare, ports["bare handler"], "/health", PROJECT),
        _server(candor, environment, ports["candor serve"], "/health/ready", PROJECT),
    ):
        rounds = [{name: _load(url, script, seconds) for name, (url, script) in asks.items()} for _ in range(ROUNDS)]
        url = asks["candor serve"][0]
        rate = median(one["candor serve"]["requests/s"] for one in rounds)
        half = [_paced(url, rate / 2, seconds) for _ in range(ROUNDS)]
    rows: list[dict[str, Any]] = []
    for name in asks:
        row: dict[str, Any] = {"name": name} | _medians([one[name] for one in rounds])
        for other in ("feast serve", "bare handler"):
            ratios = [one[name]["requests/s"] / one[other]["requests/s"] for one in rounds]
            row[f"times {other}"] = median(ratios)
            row[f"by round, {other}"] = " ".join(f"{ratio:.3g}" for ratio in ratios)
        rows.append(row)
    return [*rows, {"name": "candor serve, half that load"} | _medians(half)]


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {figure: median(one[figure] for one in rounds) for figure in rounds[0]}


def _script(body: bytes) -> str:
    """Return a script for wrk that asks for one applicant after the other."""
    text = json.dumps(body.decode().replace("%s", "\0"))[1:-1].replace("\\u0000", "%s")
    return f"""
        wrk.method = "POST"
        wrk.headers["Content-Type"] = "application/json"
        local number = 0
        request = function()
          number = number % {APPLICANTS} + 1
          return wrk.format(nil, nil, nil, string.format("{text}", string.format("APP_%06d", number)))
        end
        done = function(summary, latency)
          io.write(string.format("FIGURES %f %f %f %d\\n", summary.requests / summary.duration * 1e6,
            latency:percentile(50) / 1000, latency:percentile(99) / 1000,
            summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
        end
    """


def _load(url: str, script: Path, seconds: int) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-s", str(script)]
    subprocess.run([*command, "-d2s", url], check=True, capture_output=True)
    output = subprocess.run([*command, f"-d{seconds}s", url], check=True, capture_output=True, text=True).stdout
    rate, p50, p99, errors = map(float, output.partition("FIGURES ")[2].split())
    return {"requests/s": rate, "p50_ms": p50, "p99_ms": p99, "not 200": errors}


def _paced(url: str, rate: float, seconds: int) -> dict[str, float]:
    body = json.dumps({"applicant_id": "APP_000001", "purchase_amount": 3500, "term_months": 12})
    output = subprocess.run(
        ["hey", "-z", f"{seconds}s", "-c", str(CONNECTIONS), "-q", f"{rate / CONNECTIONS:.1f}", "-m", "POST",
         "-T", "application/json", "-d", body, url], check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    figures = {name: float(number) * 1000 for name, number in re.findall(r"(50|99)%+ in ([0-9.]+) secs", output)}
    reached = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    assert reached, output
    return {"requests/s": float(reached[1]), "p50_ms": figures["50"], "p99_ms": figures["99"]}


@contextmanager
def _server(command: list[str], environment: dict[str, str], port: int, path: str, folder: Path) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{port}{path}"):
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} does not answer on port {port}")
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
