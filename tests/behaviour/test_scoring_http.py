"""The scoring service as a client of it sees it."""

import json
import re
import subprocess
import sys
from datetime import timedelta

import pytest
from litestar.testing import TestClient

from services.scoring.app import create_app
from tests.unit.services.harness import DAY, GOOD, NOW, LinearScorer, a_home, a_model, connect, promote, put

REQUEST = {"applicant_id": "APP_1", "purchase_amount": 3500, "term_months": 12}
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("http")) as home:
        promote(home)
        put(home, "APP_1")
        yield home


@pytest.fixture(scope="module")
def client(home):
    with TestClient(create_app(home, lambda _: a_model(LinearScorer(base=-6.0)))) as client:
        yield client


def problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body.keys() == {"type", "title", "status", "detail", "request_id", "errors"}
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return body


def test_an_applicant_is_decided_on_by_id(client):
    response = client.post("/predict", json=REQUEST)
    assert response.status_code == 200
    answer = response.json()
    assert answer["approval_recommendation"] == "APPROVED"
    assert answer["recommended_terms"]["monthly_payment"] == 306.06
    assert {view["status"] for view in answer["freshness"].values()} == {"PRESENT"}
    assert UUID7.fullmatch(answer["decision_id"])
    assert answer["as_of"] == "2026-06-01T12:00:00.000000Z" != answer["decided_at"]


def test_the_decision_is_in_the_log_as_it_was_answered(client):
    answer = client.post("/predict", json=REQUEST | {"annual_income": 50000, "age": 44}).json()
    record = client.get(f"/decisions/{answer['decision_id']}").json()
    assert record["output"] == answer
    assert record["request"] == REQUEST | {"annual_income": 50000.0, "age": 44}
    asked = {"purchase_amount": 3500.0, "term_months": 12, "loan_purpose": None}
    asked |= {"annual_income": 50000.0, "of_legal_age": True}
    assert record["features"]["request"] == {"event_timestamp": None, "values": asked}
    assert record["features"]["credit_bureau"] == {
        "event_timestamp": answer["freshness"]["credit_bureau"]["event_timestamp"].replace(".000000", ""),
        "values": GOOD["credit_bureau"],
    }
    assert record["features"]["affordability"]["event_timestamp"] is None
    assert record["features"]["affordability"]["values"]["purchase_to_income"] == 0.07
    assert record["views"]["credit_bureau"]["values"] == GOOD["credit_bureau"]
    assert record["guard"] == {"passed": True, "violations": []}
    assert (record["pd"], record["bundle"]) == (answer["default_probability"], answer["model"]["bundle"])


def test_decisions_are_numbered_in_the_order_of_time(client):
    ids = [client.post("/predict", json=REQUEST).json()["decision_id"] for _ in range(20)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 20


def test_an_applicant_unknown_to_the_store_needs_features(client):
    assert (
        "'nobody' is not known"
        in problem(client.post("/predict", json=REQUEST | {"applicant_id": "nobody"}), 404)["detail"]
    )
    inline = {"applicant_id": "nobody", "annual_income": 65000, "age": 35}
    answer = client.post("/predict", json=REQUEST | inline).json()
    assert {view["status"] for view in answer["freshness"].values()} == {"MISSING"}
    assert answer["confidence"] == "LOW"


def test_a_stale_view_is_shown_with_its_age_and_not_used(client, home):
    put(home, "APP_2", age=timedelta(days=100))
    answer = client.post("/predict", json=REQUEST | {"applicant_id": "APP_2"}).json()
    assert answer["freshness"]["account_cashflow"] == {
        "status": "STALE",
        "event_timestamp": "2026-02-21T12:00:00.000000Z",
        "age_seconds": 8640000,
    }
    record = client.get(f"/decisions/{answer['decision_id']}").json()
    assert record["features"]["account_cashflow"]["values"] == {"inflow_90d": None}
    assert record["views"]["account_cashflow"]["values"] == {"inflow_90d": 15000.0}


def test_what_the_store_knows_can_be_asked(client, home):
    put(home, "Jürgen O'Neil", {"credit_bureau": GOOD["credit_bureau"]}, age=2 * DAY)
    answer = client.get("/applicants/Jürgen O'Neil/features").json()
    assert answer["views"]["credit_bureau"] == {
        "status": "PRESENT",
        "event_timestamp": "2026-05-30T12:00:00.000000Z",
        "age_seconds": 172800,
        "features": GOOD["credit_bureau"],
    }
    assert answer["views"]["account_cashflow"] == {
        "status": "MISSING",
        "event_timestamp": None,
        "age_seconds": None,
        "features": {},
    }
    problem(client.get("/applicants/nobody/features"), 404)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/applicants/%FF%FE/features", 422),
        ("/applicants/%00/features", 422),
        ("/applicants/" + "x" * 129 + "/features", 422),
        ("/applicants/%20/features", 422),
        ("/decisions/%FF", 404),
        ("/decisions/not-a-uuid", 404),
        ("/decisions/0190aaaa-0000-7000-8000-000000000000", 404),
        ("/nowhere", 404),
        ("/predict", 405),
        ("/docs/assets/index.css", 404),
        ("/docs/assets/..%2f..%2fcore.py", 404),
    ],
)
def test_a_path_that_leads_nowhere_is_a_problem(client, path, status):
    problem(client.get(path), status)


def test_a_wrong_field_is_a_problem_that_names_it(client):
    body = problem(client.post("/predict", json=REQUEST | {"annual_income": "much"}), 422)
    assert [item["field"] for item in body["errors"]] == ["annual_income"]
    assert body["title"] == "Unprocessable Entity"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b'{"applicant_id": "\xff"}', "application/json; charset=utf-8", 422),
        (b"applicant_id=APP_1", "application/x-www-form-urlencoded", 415),
        (json.dumps(REQUEST).encode(), "text/plain", 415),
        (json.dumps(REQUEST).encode(), "", 415),
        (b" " * (64 * 1024 + 1), "application/json", 413),
    ],
)
def test_a_body_that_is_no_request_is_a_problem(client, content, kind, status):
    problem(client.post("/predict", content=content, headers={"content-type": kind} if kind else {}), status)


def test_a_body_of_64_kib_without_a_length_is_still_read(client):
    whole = json.dumps(REQUEST).encode()
    padded = whole + b" " * (64 * 1024 - len(whole))
    headers = {"content-type": "application/json"}
    assert client.post("/predict", content=iter([padded]), headers=headers).status_code == 200
    problem(client.post("/predict", content=iter([padded, b" "]), headers=headers), 413)


@pytest.mark.parametrize(
    ("sent", "echoed"), [("abc-123.X_y:z", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("<b>", False)]
)
def test_a_tame_request_id_is_echoed_and_any_other_replaced(client, sent, echoed):
    for response in (
        client.post("/predict", json=REQUEST, headers={"x-request-id": sent}),
        client.get("/nowhere", headers={"x-request-id": sent}),
    ):
        assert (response.headers["x-request-id"] == sent) is echoed
        assert response.headers["x-request-id"]


def test_an_error_of_our_own_shows_nothing_of_itself(home, caplog):
    class Broken(LinearScorer):
        def score(self, values):
            raise RuntimeError("secret of the house")

    with TestClient(create_app(home, lambda _: a_model(Broken())), raise_server_exceptions=False) as client:
        response = client.post("/predict", json=REQUEST)
    body = problem(response, 500)
    assert "secret of the house" not in response.text
    assert body["request_id"] in caplog.text
    assert "secret of the house" in caplog.text


def test_health_tells_what_is_there(client):
    assert client.get("/health/live").json() == {"status": "alive"}
    for path in ("/health", "/health/ready"):
        assert client.get(path).json() == {
            "status": "ok",
            "checks": {"model": "ok", "clock": "ok", "store": "ok", "log": "ok"},
            "model": {
                "name": "candor-pd",
                "version": "3",
                "feature_service": "credit_decision_v1",
                "bundle": "sha256:3",
            },
        }


def test_the_documentation_needs_no_internet(client):
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert not re.search(r"(https?:)?//\w", page.text)
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert client.get(asset).status_code == 200, asset


def test_the_openapi_document_knows_every_route_and_the_contract(client):
    document = client.get("/schema/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/predict",
        "/predict/batch",
        "/outcomes",
        "/applicants/{applicant_id}/features",
        "/decisions/{decision_id}",
        "/decisions/{decision_id}/notice",
        "/decisions/{decision_id}/replay",
        "/health",
        "/health/live",
        "/health/ready",
        "/invocations",
        "/metrics",
        "/ping",
    }
    predict = document["paths"]["/predict"]["post"]
    assert set(predict["responses"]) >= {"200", "404", "413", "415", "422", "503"}
    properties = predict["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert properties["debt_to_income_ratio"]["anyOf"][0]["maximum"] == 10
    assert "application/problem+json" in predict["responses"]["422"]["content"]


def test_the_serving_process_knows_nothing_of_training_and_validation_tools():
    code = "import sys, services.scoring.app, services.scoring.server; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in run.stdout.split()}
    foreign = {
        "feast",
        "typeguard",
        "mlflow",
        "pandas",
        "shap",
        "great_expectations",
        "whylogs",
        "sklearn",
        "matplotlib",
        "xgboost",
    }
    assert packages & foreign == set()


def test_an_applicant_whose_bytes_are_damaged_is_told_as_the_stores_fault(client, home):
    put(home, "APP_3")
    with connect(home) as redis:
        plan = a_model().plan
        redis.hset(plan.key("APP_3"), plan.views[0].timestamp_field, b"\xff")
    response = client.post("/predict", json=REQUEST | {"applicant_id": "APP_3"})
    assert "materialize again" in problem(response, 503)["detail"]
    assert response.headers["retry-after"] == "1"


def test_the_clock_of_the_home_measures_age(client):
    answer = client.post("/predict", json=REQUEST).json()
    assert answer["freshness"]["credit_bureau"]["age_seconds"] == 86400
    assert answer["freshness"]["credit_bureau"]["event_timestamp"] == (NOW - DAY).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
