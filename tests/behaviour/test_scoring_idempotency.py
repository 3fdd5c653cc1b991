"""One decision for one Idempotency-Key: again, at once, in another worker, after a restart."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from litestar.testing import TestClient

from monitoring.decision_log import DecisionLog
from services.scoring.app import create_app
from tests.unit.services.harness import a_home, a_model, connect, promote, put

REQUEST = {"applicant_id": "APP_1", "purchase_amount": 3500, "term_months": 12}


@pytest.fixture
def home(tmp_path):
    with a_home(tmp_path) as home:
        promote(home)
        put(home, "APP_1")
        yield home


def app(home):
    return create_app(home, lambda _: a_model())


@pytest.fixture
def client(home):
    with TestClient(app(home)) as client:
        yield client


def predict(client, key, **changes):
    return client.post("/predict", json=REQUEST | changes, headers={"idempotency-key": key})


def logged(home):
    log = DecisionLog(home.decision_log_url)
    try:
        return log.count()
    finally:
        log.close()


def test_the_same_request_is_answered_with_the_first_decision_byte_for_byte(client, home):
    first = predict(client, "order-1")
    assert "idempotency-replayed" not in first.headers
    with connect(home) as redis:
        redis.flushall()  # what the store knows has changed since
    again = client.post(
        "/predict",
        content=b'{ "term_months": 12.0, "purchase_amount":3500.0, "applicant_id" : "APP_1" }'.replace(b"12.0", b"12"),
        headers={"content-type": "application/json", "idempotency-key": "order-1"},
    )
    assert again.status_code == 200
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert logged(home) == 1


def test_another_request_under_the_same_key_is_a_conflict(client, home):
    first = predict(client, "order-1").json()
    conflict = predict(client, "order-1", purchase_amount=3501)
    assert conflict.status_code == 409
    assert conflict.headers["content-type"] == "application/problem+json"
    assert "Idempotency-Key" in conflict.json()["detail"]
    assert logged(home) == 1
    assert predict(client, "order-2").json()["decision_id"] != first["decision_id"]


def test_a_key_outlives_the_process(home):
    with TestClient(app(home)) as client:
        first = predict(client, "order-1").content
    with TestClient(app(home)) as client:
        assert predict(client, "order-1").content == first


def test_a_refused_request_does_not_use_its_key_up(client, home):
    assert predict(client, "order-1", annual_income="much").status_code == 422
    assert predict(client, "order-1", applicant_id="nobody").status_code == 404
    assert predict(client, "order-1").status_code == 200
    assert logged(home) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\x7f", "é".encode("latin-1")])
def test_a_key_that_is_none_is_told(client, home, key):
    response = predict(client, key)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"
    assert logged(home) == 0


def test_a_key_of_255_characters_will_do(client):
    assert predict(client, "~" * 255).status_code == 200


def test_of_many_at_once_one_is_decided(client, home):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: predict(client, "order-1"), range(40)))
    assert len({answer.content for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", *["true"] * 39]
    assert logged(home) == 1


def test_of_two_workers_at_once_the_log_takes_one(home, monkeypatch):
    """Both look before either has committed; the unique key decides."""
    looked = []
    both = threading.Barrier(2)
    kept = DecisionLog.kept

    def look_together(self, client, key):
        found = kept(self, client, key)
        looked.append(found)
        if len(looked) <= 2:
            both.wait(5)
        return found

    monkeypatch.setattr(DecisionLog, "kept", look_together)

    with TestClient(app(home)) as one, TestClient(app(home)) as other, ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda client: predict(client, "order-1"), (one, other)))
    assert {answer.status_code for answer in answers} == {200}
    assert looked[:2] == [None, None]
    assert answers[0].content == answers[1].content
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", "true"]
    assert logged(home) == 1
