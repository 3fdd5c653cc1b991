"""What operators see of the service: figures for Prometheus, and a log without personal data."""

import io
import json
import logging
import re
import time

import pytest
from litestar.testing import TestClient

from feature_repo.errors import UnavailableError
from services.scoring import champion, journal
from services.scoring.app import create_app
from services.scoring.door.keys import KeyFile
from services.scoring.door.policy import DoorPolicy
from services.scoring.metrics import Metrics
from tests.unit.services.harness import GOOD, LinearScorer, a_home, a_model, promote, put

REQUEST = {"applicant_id": "SECRET_APPLICANT", "purchase_amount": 3517.25, "term_months": 12, "annual_income": 61234.5}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("watched")) as home:
        promote(home)
        put(home, "SECRET_APPLICANT", {"credit_bureau": GOOD["credit_bureau"]})
        yield home


@pytest.fixture
def log():
    """Return a function that gives the lines logged so far."""
    stream = io.StringIO()
    root, service = logging.getLogger(), logging.getLogger("services")
    before = root.handlers[:], root.level, service.level
    journal.speak_json("info", stream)

    def lines():
        for handler in root.handlers:
            handler.flush()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    lines.stream = stream
    yield lines
    root.handlers[:], root.level, service.level = before
    journal._told = None


def figures(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        match[1]: float(match[2])
        for match in re.finditer(r"^(candor_\S+) (\S+)$", re.sub(r',?worker="\d+"', "", answer.text), re.M)
    }


def test_decisions_views_violations_stages_and_answers_are_counted(home):
    with TestClient(create_app(home, lambda _: a_model())) as client:
        for _ in range(3):
            outcome = client.post("/predict", json=REQUEST).json()["approval_recommendation"]
        client.post("/predict", json={})
        client.get("/nowhere/SECRET_APPLICANT")
        found = figures(client)
    assert found[f'candor_decisions_total{{outcome="{outcome}",version="3"}}'] == 3
    assert found['candor_absent_views_total{status="MISSING",view="account_cashflow"}'] == 3
    assert found['candor_http_requests_total{method="POST",route="/predict",status="200"}'] == 3
    assert found['candor_http_requests_total{method="POST",route="/predict",status="422"}'] == 1
    assert found['candor_http_requests_total{method="GET",route="-",status="404"}'] == 1
    for stage in ("features", "decide", "log", "total"):
        assert found[f'candor_decision_stage_seconds_count{{stage="{stage}"}}'] == 3
        assert found[f'candor_decision_stage_seconds_bucket{{le="+Inf",stage="{stage}"}}'] == 3
        assert 0 < found[f'candor_decision_stage_seconds_sum{{stage="{stage}"}}'] < 30
    assert found['candor_http_request_seconds_count{route="/predict"}'] == 4
    assert found['candor_model_info{bundle="sha256:3",name="candor-pd",version="3"}'] == 1
    assert (
        found["candor_log_waiting{}"] == found["candor_store_breaker_open{}"] == found["candor_champion_refused{}"] == 0
    )


def test_values_that_the_guard_finds_implausible_are_counted(home):
    put(home, "ODD", {"credit_bureau": GOOD["credit_bureau"] | {"debt_to_income_ratio": 99.0}})
    with TestClient(create_app(home, lambda _: a_model())) as client:
        client.post("/predict", json={"applicant_id": "ODD", "purchase_amount": 100})
        found = figures(client)
    assert found['candor_guard_violations_total{feature="debt_to_income_ratio",rule="range"}'] == 1


def test_a_refused_champion_is_seen_while_the_one_before_it_decides(home, monkeypatch):
    monkeypatch.setattr(champion, "_LOOK_EVERY", 0.02)
    broken = False

    def load(_home):
        if broken:
            raise UnavailableError("does not match its checksum")
        return a_model()

    with TestClient(create_app(home, load)) as client:
        assert client.post("/predict", json=REQUEST).status_code == 200
        assert "warnings" not in client.get("/health").json()
        broken = True
        home.champion_path.unlink()
        promote(home)
        until = time.monotonic() + 5
        while "warnings" not in (health := client.get("/health").json()) and time.monotonic() < until:
            time.sleep(0.03)
        assert health["warnings"] == {"champion": "does not match its checksum"}
        assert health["status"] == "ok"
        assert figures(client)["candor_champion_refused{}"] == 1
        assert client.post("/predict", json=REQUEST).status_code == 200


def test_one_worker_answers_for_all(tmp_path, home):
    other = Metrics(tmp_path)
    other.worker = 1  # init: it is always there
    other.answered("GET", "/health", 200, 0.1)
    other.gauges = lambda: {"log_waiting": [((), 7)]}
    other.publish()
    gone = Metrics(tmp_path)
    gone.worker = 2**22 + 1  # larger than any process ID
    gone.answered("GET", "/health", 200, 0.1)
    gone.gauges = lambda: {"log_waiting": [((), 9)]}
    gone.publish()
    (tmp_path / "77.json").write_text("{")
    with TestClient(create_app(home, lambda _: a_model(), metrics=Metrics(tmp_path))) as client:
        text = client.get("/metrics").text
    assert 'candor_http_requests_total{method="GET",route="/health",status="200",worker="1"} 1.0' in text
    assert f'candor_http_requests_total{{method="GET",route="/health",status="200",worker="{gone.worker}"}} 1.0' in text
    assert 'candor_log_waiting{worker="1"} 7.0' in text
    assert f'candor_log_waiting{{worker="{gone.worker}"}}' not in text
    assert text.count("# TYPE candor_http_requests_total") == 1


def test_a_log_that_nobody_reads_does_not_stop_the_service(home, log):
    log.stream.close()
    with TestClient(create_app(home, lambda _: a_model())) as client:
        assert [client.post("/predict", json=REQUEST).status_code for _ in range(3)] == [200] * 3
        time.sleep(0.1)
        assert client.get("/health/live").status_code == 200


def test_a_request_is_one_line_that_names_the_decision_and_nobody(home, log):
    made, key = KeyFile(home).create("checkout", ["admin"])
    with TestClient(create_app(home, lambda _: a_model(), DoorPolicy(require_keys=True))) as client:
        headers = {"x-api-key": key}
        answer = client.post("/predict", json=REQUEST, headers=headers | {"x-request-id": "till-7"}).json()
        client.get("/applicants/SECRET_APPLICANT/features", headers=headers)
        client.get(f"/decisions/{answer['decision_id']}", headers=headers)
        client.get("/SECRET_APPLICANT", headers=headers)
        client.post("/predict", json=REQUEST | {"annual_income": "61234.5x"}, headers=headers)
        client.post("/predict", json=REQUEST, headers={"x-api-key": key[:-1]})
    lines = [line for line in log() if line["logger"] == "services.scoring.requests"]
    assert [line["status"] for line in lines] == [200, 200, 200, 404, 422, 401]
    first = lines[0]
    assert (first["request_id"], first["route"], first["method"]) == ("till-7", "/predict", "POST")
    assert (first["decision_id"], first["model_version"], first["key"]) == (answer["decision_id"], "3", made.id)
    assert 0 < first["ms"] < 10_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    text = json.dumps(lines)
    secret = key.removeprefix(f"candor_{made.id}_")
    for personal in ("SECRET_APPLICANT", "61234", "3517", secret[:20], "annual_income"):
        assert personal not in text


def test_an_error_of_our_own_is_in_the_log_with_its_trace_and_request(home, log):
    class Broken(LinearScorer):
        def score(self, values):
            raise RuntimeError("secret of the house")

    with TestClient(create_app(home, lambda _: a_model(Broken())), raise_server_exceptions=False) as client:
        wrong = client.post("/predict", json=REQUEST).json()
    (line,) = [line for line in log() if "exception" in line]
    assert wrong["request_id"] in line["message"]
    assert "secret of the house" in line["exception"]
