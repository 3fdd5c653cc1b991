"""The container contract of SageMaker."""

import pytest
from litestar.testing import TestClient

from services.scoring.app import create_app
from services.scoring.door.policy import DoorOptions
from tests.unit.services.harness import a_home, a_model, promote, put

REQUEST = {"applicant_id": "APP_1", "purchase_amount": 3500, "term_months": 12}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("sagemaker")) as home:
        promote(home)
        put(home, "APP_1")
        yield home


@pytest.fixture(scope="module")
def client(home):
    policy = DoorOptions(sagemaker=True).policy("0.0.0.0", 1)
    with TestClient(create_app(home, lambda _: a_model(), policy)) as client:
        yield client


def same(decision):
    return {name: value for name, value in decision.items() if name not in ("decision_id", "decided_at")}


def test_ping_says_whether_it_can_decide(client, tmp_path):
    assert client.get("/ping").status_code == 200
    with a_home(tmp_path) as empty, TestClient(create_app(empty)) as without:
        answer = without.get("/ping")
    assert answer.status_code == 503
    assert "candor promote" in answer.json()["detail"]


def test_one_invocation_is_a_decision_without_a_key_and_nothing_else_is(home, client):
    answer = client.post("/invocations", json=REQUEST)
    assert answer.status_code == 200
    with TestClient(create_app(home, lambda _: a_model())) as plain:
        assert same(plain.post("/predict", json=REQUEST).json()) == same(answer.json())
    for path in ("/predict", "/predict/batch", "/outcomes"):
        assert client.post(path, json=REQUEST).status_code == 401
    assert client.get("/metrics").status_code == 401


def test_many_instances_are_answered_in_order(client):
    body = {"instances": [REQUEST, REQUEST | {"applicant_id": "nobody"}, REQUEST | {"term_months": "x"}, 7]}
    answer = client.post("/invocations", json=body)
    assert answer.status_code == 200
    found = answer.json()["predictions"]
    assert [item["status"] for item in found] == [200, 404, 422, 422]
    assert same(found[0]["decision"]) == same(client.post("/invocations", json=REQUEST).json())
    assert found[2]["problem"]["errors"][0]["field"] == "term_months"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"instances": []}', "application/json", 422),
        (b'{"instances": {}}', "application/json", 422),
        (b'{"instances": [' + b"1," * 1000 + b"1]}", "application/json", 422),
        (b'{"instances": "\xff"}', "application/json", 422),
        (b"[", "application/json", 422),
        (b"a,b", "text/csv", 415),
    ],
)
def test_what_is_no_invocation_is_a_problem(client, content, kind, status):
    answer = client.post("/invocations", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_without_the_switch_an_invocation_needs_a_key(home):
    policy = DoorOptions().policy("0.0.0.0", 1)
    with TestClient(create_app(home, lambda _: a_model(), policy)) as client:
        assert client.get("/ping").status_code == 200
        assert client.post("/invocations", json=REQUEST).status_code == 401
