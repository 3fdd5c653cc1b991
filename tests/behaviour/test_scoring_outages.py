"""What the service does when something that it stands on is not there, and when it is back."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import msgspec
import pytest
from litestar.testing import AsyncTestClient, TestClient

from feature_repo.errors import UnavailableError
from feature_repo.home import Home
from monitoring.decision_log import DecisionLog
from services import embedded
from services.scoring import champion
from services.scoring.app import create_app
from services.scoring.errors import FieldProblem
from services.scoring.once import decide_once
from services.scoring.server import serve
from tests.unit.services.harness import NOW, a_home, a_model, connect, promote, put

REQUEST = {"applicant_id": "APP_1", "purchase_amount": 3500}


@pytest.fixture
def home(tmp_path):
    with a_home(tmp_path) as home:
        promote(home)
        put(home, "APP_1")
        yield home


@pytest.fixture
def client(home):
    with TestClient(create_app(home, lambda _: a_model())) as client:
        yield client


def predict(client):
    return client.post("/predict", json=REQUEST)


def unavailable(response, *words):
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    assert all(word in response.json()["detail"] for word in words), response.json()["detail"]


def test_a_store_that_is_killed_is_told_at_once_and_used_again_when_it_is_back(home, client):
    assert predict(client).status_code == 200
    with connect(home) as redis:
        os.kill(redis.info("server")["process_id"], signal.SIGKILL)
    for _ in range(3):
        begun = time.monotonic()
        unavailable(predict(client), "Redis at 127.0.0.1:")
        assert time.monotonic() - begun < 0.5
    ready = client.get("/health/ready")
    unavailable(ready, "not ready")
    assert [item["field"] for item in ready.json()["errors"]] == ["store"]
    assert client.get("/health").json()["status"] == "degraded"
    assert client.get("/health/live").status_code == 200
    embedded.ensure(home)
    back = time.monotonic()
    while predict(client).status_code != 200:
        assert time.monotonic() - back < 1
        time.sleep(0.02)
    assert client.get("/health/ready").status_code == 200


def test_a_store_that_keeps_failing_is_not_asked_by_every_request(home, client):
    with connect(home) as redis:
        process = redis.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        for _ in range(3):
            unavailable(predict(client), "gave no answer in 200 ms")
        begun = time.monotonic()
        for _ in range(10):
            unavailable(predict(client), "has failed; it is asked again shortly")
        assert time.monotonic() - begun < 0.25
        assert "candor_store_breaker_open" in client.get("/metrics").text
    finally:
        os.kill(process, signal.SIGCONT)
    # A probe that finds it well closes the circuit, before a request has to.
    assert client.get("/health/ready").status_code == 200
    assert predict(client).status_code == 200


def test_a_store_that_hangs_is_given_up_in_time(home, client):
    assert predict(client).status_code == 200
    with connect(home) as redis:
        process = redis.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        unavailable(predict(client), "gave no answer in 200 ms")
        assert time.monotonic() - begun < 0.6
    finally:
        os.kill(process, signal.SIGCONT)
    assert predict(client).status_code == 200


def test_a_decision_that_cannot_be_logged_is_not_answered(home, client):
    assert predict(client).status_code == 200
    database = home.root / "decisions.db"
    away = home.root / "away.db"
    database.rename(away)
    database.mkdir()
    unavailable(predict(client), "decision log")
    assert client.get("/health/ready").json()["errors"][0]["field"] == "log"
    database.rmdir()
    away.rename(database)
    answer = predict(client)
    assert answer.status_code == 200
    assert client.get(f"/decisions/{answer.json()['decision_id']}").status_code == 200


def test_without_a_model_the_service_says_how_to_get_one_and_takes_it_up(tmp_path, monkeypatch):
    monkeypatch.setattr(champion, "_LOOK_EVERY", 0.05)
    with a_home(tmp_path) as home:
        put(home, "APP_1")
        with TestClient(create_app(home, lambda _: a_model())) as client:
            unavailable(predict(client), "candor train", "candor promote")
            unavailable(client.get("/applicants/APP_1/features"), "candor promote")
            assert client.get("/health/ready").json()["errors"][0]["field"] == "model"
            assert client.get("/schema/openapi.json").status_code == 200
            promote(home)
            time.sleep(0.06)
            assert predict(client).status_code == 200


def test_a_new_champion_takes_over_and_a_broken_one_does_not(home, monkeypatch):
    monkeypatch.setattr(champion, "_LOOK_EVERY", 0.05)
    version = "1"

    def load(_home):
        if version == "broken":
            raise UnavailableError("does not match its checksum")
        if version == "odd":
            raise ZeroDivisionError
        return a_model(version=version)

    def versions_seen(client):
        home.champion_path.unlink()
        promote(home)
        seen = set()
        for _ in range(6):
            time.sleep(0.06)
            seen.add(predict(client).json()["model"]["version"])
        return seen

    with TestClient(create_app(home, load)) as client:
        assert predict(client).json()["model"]["version"] == "1"
        version = "2"
        assert versions_seen(client) <= {"1", "2"}
        assert predict(client).json()["model"]["version"] == "2"
        for version in ("broken", "odd"):  # noqa: B007  (read by load)
            assert versions_seen(client) == {"2"}
        home.champion_path.unlink()
        time.sleep(0.06)
        assert predict(client).json()["model"]["version"] == "2"


def test_a_home_without_redis_yet_is_told_and_taken_up(tmp_path):
    home = Home(root=tmp_path, as_of_override=NOW)
    promote(home)
    try:
        with TestClient(create_app(home, lambda _: a_model())) as client:
            unavailable(predict(client), "candor env")
            embedded.ensure(home)
            put(home, "APP_1")
            assert predict(client).status_code == 200
    finally:
        embedded.stop(home)


def test_many_at_once_are_all_answered_and_all_logged(home):
    async def run():
        async with AsyncTestClient(create_app(home, lambda _: a_model())) as client:
            answers = await asyncio.gather(*(client.post("/predict", json=REQUEST) for _ in range(200)))
            assert {answer.status_code for answer in answers} == {200}
            ids = {answer.json()["decision_id"] for answer in answers}
            return len(ids), {(await client.get(f"/decisions/{one}")).status_code for one in ids}

    assert asyncio.run(run()) == (200, {200})


def test_one_decision_needs_no_server(home):
    with pytest.raises(UnavailableError, match="manifest.json"):
        decide_once(home, REQUEST)
    answer = json.loads(decide_once(home, REQUEST, lambda _: a_model()))
    assert answer["approval_recommendation"] == "APPROVED"
    assert DecisionLog(home.decision_log_url).get(answer["decision_id"]).pd == answer["default_probability"]
    with pytest.raises(FieldProblem, match="must be between 0.01"):
        decide_once(home, REQUEST | {"purchase_amount": -1}, lambda _: a_model())


def test_a_taken_port_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{port} .*--port"):
            serve(Home(root=tmp_path), "127.0.0.1", port, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_server_starts_answers_and_stops(home, workers):
    home.champion_path.unlink()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "from feature_repo.home import Home; from services.scoring.server import serve; "
        f"serve(Home.resolve(), '127.0.0.1', {port}, {workers})"
    )
    environment = {**os.environ, "CANDOR_HOME": str(home.root), "CANDOR_AS_OF": NOW.isoformat()}
    server = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        body = None
        for _ in range(200):
            time.sleep(0.05)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=1).close()
            except OSError:
                continue
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/predict", json.dumps(REQUEST).encode(), {"content-type": "application/json"}
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=2)
            body = msgspec.json.decode(refused.value.read())
            break
        assert body is not None
        assert (body["status"], "candor promote" in body["detail"]) == (503, True)
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=15)
    assert "Traceback" not in errors
