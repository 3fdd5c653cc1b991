"""Many at once over HTTP: a batch is its single decisions, and outcomes find theirs."""

import json
import sqlite3
from datetime import timedelta

import pytest
from litestar.testing import TestClient

from monitoring.decision_log import DecisionLog
from monitoring.outcomes import Outcomes
from services.scoring.app import create_app
from tests.unit.services.harness import DAY, GOOD, NOW, a_home, a_model, put
from tests.unit.services.small_bundle import promote

ID = "0190aaaa-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("many")) as home:
        promote(home)
        for number in range(30):
            rows = {view: values for place, (view, values) in enumerate(GOOD.items()) if number % 5 != place}
            put(home, f"APP_{number}", rows, age=timedelta(days=number * 10))
        yield home


@pytest.fixture(scope="module")
def client(home):
    with TestClient(create_app(home)) as client:
        yield client


def request(number, **inline):
    return {"applicant_id": f"APP_{number}", "purchase_amount": 500 + 37.77 * number, "term_months": 6} | inline


def of_the_case(decision):
    """What a decision says of its case, and not of the moment."""
    return {name: value for name, value in decision.items() if name not in ("decision_id", "decided_at")}


def test_a_batch_is_its_single_decisions_bit_for_bit(client):
    asked = [request(number, **({"annual_income": 31234.5} if number % 3 else {})) for number in range(30)]
    answer = client.post("/predict/batch", json={"requests": asked})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [item["status"] for item in results] == [200] * 30
    single = [client.post("/predict", json=one).json() for one in asked]
    assert [of_the_case(item["decision"]) for item in results] == [of_the_case(one) for one in single]
    ids = [item["decision"]["decision_id"] for item in results]
    assert ids == sorted(set(ids))
    for decision_id in ids[::7]:
        assert client.post(f"/decisions/{decision_id}/replay").json()["identical"]


def test_each_wrong_request_has_its_own_problem_and_none_keeps_the_others_back(client, home):
    log = DecisionLog(home.decision_log_url)
    before = log.count()
    wrong = [request(1, age="old"), request(99), 7, {"applicant_id": "APP_1"}]
    answer = client.post("/predict/batch", json={"requests": [request(0), *wrong, request(2)]})
    results = answer.json()["results"]
    assert [item["status"] for item in results] == [200, 422, 404, 422, 422, 200]
    assert results[1]["problem"]["errors"] == [{"field": "age", "message": "age: Expected `int | null`, got `str`"}]
    assert "'APP_99' is not known" in results[2]["problem"]["detail"]
    assert results[4]["problem"]["errors"][0]["field"] == "purchase_amount"
    assert results[5]["problem" if "problem" in results[5] else "decision"]["applicant_id"] == "APP_2"
    assert log.count() - before == 2
    log.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"requests": []}, 422),
        ({"requests": [request(0)] * 1001}, 422),
        ({"requests": "all"}, 422),
        ([request(0)], 422),
        ({"requests": [request(0)], "more": 1}, 422),
    ],
)
def test_a_body_that_is_no_batch_is_a_problem(client, body, status):
    answer = client.post("/predict/batch", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_thousand_are_one_commit(client, home, monkeypatch):
    groups = []
    append_all = DecisionLog.append_all

    def counted(self, entries):
        groups.append(len(entries))
        return append_all(self, entries)

    monkeypatch.setattr(DecisionLog, "append_all", counted)
    with TestClient(create_app(home, lambda _: a_model())) as client:
        answer = client.post("/predict/batch", json={"requests": [request(number % 30) for number in range(1000)]})
    assert {item["status"] for item in answer.json()["results"]} == {200}
    assert groups == [1000]


def test_a_batch_that_cannot_be_logged_is_not_answered(home):
    database, away = home.root / "decisions.db", home.root / "away.db"
    with TestClient(create_app(home)) as client:
        database.rename(away)
        database.mkdir()
        try:
            assert client.post("/predict/batch", json={"requests": [request(0)]}).status_code == 503
        finally:
            database.rmdir()
            away.rename(database)
        assert client.post("/predict/batch", json={"requests": [request(0)]}).status_code == 200


@pytest.mark.parametrize("route", ["/predict/batch", "/invocations"])
def test_a_key_that_would_not_be_kept_is_refused(client, route):
    answer = client.post(route, json={"requests": [request(0)]}, headers={"idempotency-key": "order-1"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def outcomes(client, *given):
    answer = client.post("/outcomes", json={"outcomes": given})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def outcome(**changes):
    return {"outcome": "DEFAULTED", "observed_at": "2026-12-01T00:00:00Z"} | changes


def test_outcomes_find_their_decisions_once(client, home):
    decision = client.post("/predict", json=request(3)).json()
    by_id = outcome(decision_id=decision["decision_id"].upper())
    by_name = outcome(applicant_id="APP_3", decided_at=decision["decided_at"], observed_at="2026-12-01T01:00:00+01:00")
    stored = {"status": "stored", "decision_id": decision["decision_id"]}
    known = stored | {"status": "known"}
    assert outcomes(client, by_id, by_name) == [stored, known]
    assert outcomes(client, by_name, by_id) == [known, known]
    refused, later = outcomes(client, by_id | {"outcome": "REPAID"}, by_id | {"observed_at": "2027-01-01T00:00:00Z"})
    assert refused["problem"].startswith(
        "DEFAULTED was observed at this instant before; if that was a mistake, report W"
    )
    assert later["status"] == "stored"
    log = DecisionLog(home.decision_log_url)
    mine = [row[1:] for row in Outcomes(log.database).rows() if row[0] == decision["decision_id"]]
    log.close()
    assert [(instant.isoformat(), result) for instant, result in mine] == [
        ("2026-12-01T00:00:00+00:00", "DEFAULTED"),
        ("2027-01-01T00:00:00+00:00", "DEFAULTED"),
    ]


def test_an_outcome_that_fits_nothing_is_refused_alone(client):
    decision = client.post("/predict", json=request(4)).json()
    good = outcome(decision_id=decision["decision_id"], outcome="REPAID")
    given = [
        outcome(decision_id=ID),
        outcome(),
        good | {"observed_at": (NOW - DAY).isoformat()},
        good | {"observed_at": "2026-12-01T00:00:00"},
        good | {"outcome": "perhaps"},
        good | {"amount": 1},
        outcome(applicant_id="APP_4"),
        outcome(applicant_id="APP_4", decided_at=NOW.isoformat()),
        good | {"applicant_id": "APP_4", "decided_at": decision["decided_at"]},
        good,
    ]
    results = outcomes(client, *given)
    assert [item["status"] for item in results] == ["refused"] * 9 + ["stored"]
    words = ("not hold", "give decision_id", "before the decision", "timezone", "Invalid enum", "unknown field")
    for item, word in zip(results, words, strict=False):
        assert word in item["problem"]


def test_outcomes_are_for_people_who_ask_in_sql(home):
    with sqlite3.connect(home.root / "decisions.db") as database:
        rows = database.execute("SELECT decision_id, observed_at, outcome, loaded_at FROM outcomes").fetchall()
    database.close()
    assert rows
    assert json.dumps(rows).count("DEFAULTED") == 2
