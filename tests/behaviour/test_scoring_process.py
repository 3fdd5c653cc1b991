"""The serving process from outside: how soon it is there, what it weighs, and how it goes."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from services.scoring.door.keys import KeyFile
from tests.unit.services.harness import NOW, a_home, put
from tests.unit.services.live import read_answer, request

REQUEST = json.dumps({"applicant_id": "APP_1", "purchase_amount": 3500}).encode()
# Serves the test's own model under the server's own entry point; several workers, which load their own, have none.
CODE = """
import sys
from feature_repo.home import Home
from services.scoring import app, server
from services.scoring.door.policy import DoorOptions
from tests.unit.services.harness import a_model

server.create_app = lambda home, **more: app.create_app(home, lambda _: a_model(), **more)
options = DoorOptions(require_keys="keys" in sys.argv)
server.serve(Home.resolve(), sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), options)
"""


@pytest.fixture
def home(tmp_path):
    with a_home(tmp_path) as home:
        home.champion_path.write_text("{}")
        put(home, "APP_1")
        yield home


@pytest.fixture
def started(home):
    """Start the server as a process of its own; return it and its port."""
    processes = []

    def start(host="127.0.0.1", workers=1, *words):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {**os.environ, "CANDOR_HOME": str(home.root), "CANDOR_AS_OF": NOW.isoformat()}
        command = [sys.executable, "-c", CODE, host, str(port), str(workers), *words]
        root = Path(__file__).parents[2]
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, cwd=root, start_new_session=True
        )
        processes.append(process)
        return process, port

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def wait_until(port, path="/health/ready", seconds=20.0):
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        try:
            if get(port, path)[0] == 200:
                return time.monotonic() - begun
        except OSError:
            time.sleep(0.02)
    raise AssertionError("not ready")


def test_it_is_ready_soon_and_light(started):
    process, port = started()
    taken = wait_until(port)
    assert taken < 8  # alone on a machine less than 2; with a busy one slack
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        assert int(re.search(r"VmRSS:\s+(\d+) kB", status.read_text())[1]) < 250_000


@pytest.mark.parametrize("workers", [1, 2])
def test_told_to_stop_it_answers_what_is_under_way_and_takes_nothing_new(started, workers):
    process, port = started("127.0.0.1", workers)
    wait_until(port, "/health/ready" if workers == 1 else "/health/live")
    with socket.create_connection(("127.0.0.1", port), 10) as wire:
        whole = request("POST", "/predict", REQUEST, content_type="application/json")
        wire.sendall(whole[:-10])  # under way: its end comes after the signal
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        refused_within(port, 5)
        wire.sendall(whole[-10:])
        answer = read_answer(wire)
    assert answer.status == (200 if workers == 1 else 503)
    assert answer.json()
    assert process.wait(15) == 0
    assert "Traceback" not in process.stderr.read()


def test_two_idempotency_keys_are_refused_for_the_client_could_count_on_either(started):
    _, port = started()
    wait_until(port)
    whole = request("POST", "/predict", REQUEST, content_type="application/json", idempotency_key="order-1")
    twice = whole.replace(b"\r\n\r\n", b"\r\nIdempotency-Key: order-2\r\n\r\n", 1)
    for sent, status in ((whole, 200), (twice, 422)):
        with socket.create_connection(("127.0.0.1", port), 10) as wire:
            wire.sendall(sent)
            answer = read_answer(wire)
        assert answer.status == status
    assert answer.json()["errors"] == [
        {"field": "Idempotency-Key", "message": "Idempotency-Key: was given more than once"}
    ]


def refused_within(port, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise AssertionError("still listening")


def test_beyond_loopback_without_a_key_it_starts_and_says_how_to_make_one(home, started):
    process, port = started("0.0.0.0")
    wait_until(port)
    first = json.loads(process.stderr.readline())
    assert "candor keys create" in first["message"]
    assert get(port, "/applicants/APP_1/features")[0] == 401
    _, key = KeyFile(home).create("checkout", ["read"])
    until = time.monotonic() + 1
    while get(port, "/applicants/APP_1/features", **{"X-API-Key": key})[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_every_worker_asks_for_keys_and_one_tells_the_figures_of_all(home, started):
    _, key = KeyFile(home).create("ops", ["admin"])
    process, port = started("127.0.0.1", 2, "keys")
    drained = threading.Thread(target=process.stderr.read, daemon=True)
    drained.start()
    wait_until(port, "/health/live")
    statuses = {get(port, "/applicants/APP_1/features")[0] for _ in range(20)}
    assert statuses == {401}
    until = time.monotonic() + 15
    workers = set()
    while len(workers) < 2 and time.monotonic() < until:
        for _ in range(10):
            get(port, "/health/live")
        text = get(port, "/metrics", **{"X-API-Key": key})[1]
        workers = set(re.findall(r'candor_log_waiting\{worker="(\d+)"', text))
        time.sleep(0.1)
    assert len(workers) == 2


def test_workers_whose_parent_was_killed_end_too_and_free_the_port(started):
    process, port = started("127.0.0.1", 2)
    wait_until(port, "/health/live")
    process.kill()
    process.wait(10)
    refused_within(port, 20)
