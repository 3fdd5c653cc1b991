"""A logged decision made once more: bit for bit, whatever was promoted since, and told where it is not."""

import asyncio
import json
import random
import shutil
from datetime import timedelta

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from litestar.testing import TestClient

from feature_repo.errors import UnavailableError
from monitoring.decision_log import DecisionLog
from monitoring.log_tables import decisions
from services.cli import cli
from services.scoring.app import create_app
from services.scoring.replay import CitedModels, replay_all
from services.scoring.service import ScoringService
from tests.unit.services.harness import DAY, GOOD, NOW, a_home, put
from tests.unit.services.small_bundle import make, promote
from training.bundle import bundle_path

REQUEST = {"applicant_id": "APP_0", "purchase_amount": 3500, "term_months": 12}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("replay")) as home:
        promote(home)
        for number in range(20):
            rows = {view: values for place, (view, values) in enumerate(GOOD.items()) if number % 5 != place}
            put(home, f"APP_{number}", rows, age=timedelta(days=number * 20, microseconds=number))
        yield home


@pytest.fixture
def log(home):
    log = DecisionLog(home.decision_log_url)
    yield log
    log.close()


@pytest.fixture
def client(home):
    with TestClient(create_app(home)) as client:
        yield client


def requests(count):
    chance = random.Random(7)
    for _ in range(count):
        request = {
            "applicant_id": f"APP_{chance.randrange(25)}",
            "purchase_amount": chance.choice([99.99, 1200, 3500, 1e5 / 3]),
            "age": chance.randrange(16, 90),
        }
        optional = {
            "annual_income": chance.choice([0, 1e7, 31234.56789, 0.1 + 0.2]),
            "term_months": chance.choice([1, 12, 120, None]),
            "debt_to_income_ratio": chance.choice([0.1, 10, 1e-17, None]),
            "num_inquiries": chance.choice([0, 99, None]),
            "home_ownership": chance.choice(["OWN", "RENT", None]),
            "loan_purpose": chance.choice(["car", None]),
        }
        yield (
            request | {"num_inquiries": 1} | {name: value for name, value in optional.items() if chance.random() < 0.5}
        )


def decide_on(home, bodies):
    async def run():
        service = ScoringService(home)
        try:
            return [json.loads((await service.decide(json.dumps(body).encode())).body) for body in bodies]
        finally:
            await service.close()

    return asyncio.run(run())


def test_every_kind_of_decision_replays_bit_for_bit_after_another_champion_too(home, log):
    made = decide_on(home, requests(150))
    promote(home, seed=1, version="8")
    made += decide_on(home, requests(150))
    assert {answer["model"]["version"] for answer in made} == {"7", "8"}
    assert {answer["approval_recommendation"] for answer in made} == {"APPROVED", "DECLINED", "MANUAL_REVIEW"}
    found = {replayed.decision_id: replayed for replayed in replay_all(log.rows(), CitedModels(home))}
    assert [found[answer["decision_id"]].differences for answer in made] == [()] * 300
    assert all(replayed.identical for replayed in found.values())


def test_a_replay_is_asked_for_over_http(client):
    decision = client.post("/predict", json=REQUEST).json()
    answer = client.post(f"/decisions/{decision['decision_id']}/replay")
    assert answer.status_code == 200
    assert answer.json() == {"decision_id": decision["decision_id"], "identical": True, "differences": []}
    assert client.post("/decisions/0190aaaa-0000-7000-8000-000000000000/replay").status_code == 404
    assert client.post("/decisions/nothing/replay").status_code == 404


def rewrite(log, decision_id, change):
    """Change a logged record behind the log's back."""
    with log.database.engine.begin() as connection:
        one = decisions.c.decision_id == decision_id
        record = json.loads(connection.execute(sa.select(decisions.c.record).where(one)).scalar_one())
        change(record)
        connection.execute(decisions.update().where(one).values(record=json.dumps(record)))


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        (lambda record: record["output"].update(credit_score=1), ["output.credit_score"]),
        (lambda record: record["output"].update(favour="yes"), ["output.favour"]),
        (lambda record: record["impacts"].pop("num_inquiries"), ["impacts.num_inquiries"]),
        (lambda record: record["output"]["probability_interval"].__setitem__(1, 1), ["output.probability_interval.1"]),
        (
            lambda record: record["features"]["applicant_profile"]["values"].update(annual_income=1.0),
            ["features.applicant_profile.values.annual_income"],
        ),
    ],
)
def test_what_was_changed_in_the_log_is_told_by_its_path(client, log, change, differences):
    decision = client.post("/predict", json=REQUEST).json()
    rewrite(log, decision["decision_id"], change)
    answer = client.post(f"/decisions/{decision['decision_id']}/replay").json()
    assert answer == {"decision_id": decision["decision_id"], "identical": False, "differences": differences}
    with log.database.engine.begin() as connection:
        connection.execute(decisions.delete().where(decisions.c.decision_id == decision["decision_id"]))


def test_an_input_that_was_changed_gives_another_decision(client, log):
    decision = client.post("/predict", json=REQUEST | {"annual_income": 60000}).json()
    rewrite(log, decision["decision_id"], lambda record: record["request"].update(annual_income=1))
    answer = client.post(f"/decisions/{decision['decision_id']}/replay").json()
    assert "features.request.values.annual_income" in answer["differences"]
    rewrite(log, decision["decision_id"], lambda record: record["request"].update(annual_income="much"))
    answer = client.post(f"/decisions/{decision['decision_id']}/replay").json()
    assert (answer["identical"], answer["differences"]) == (False, ["output"])
    with log.database.engine.begin() as connection:
        connection.execute(decisions.delete().where(decisions.c.decision_id == decision["decision_id"]))


def test_a_bundle_that_is_damaged_or_gone_is_told(home, log):
    digest = promote(home, seed=2, version="9")
    (decision,) = decide_on(home, [REQUEST])
    promote(home)
    place = bundle_path(home, digest)
    (place / "calibration.json").write_bytes(b"{}")
    with TestClient(create_app(home)) as client:
        answer = client.post(f"/decisions/{decision['decision_id']}/replay")
        assert answer.status_code == 503
        assert f"cites bundle {digest}" in answer.json()["detail"]
        assert "calibration.json does not match its checksum" in answer.json()["detail"]
    shutil.rmtree(place)
    record = log.get(decision["decision_id"])
    with pytest.raises(UnavailableError, match=f"cites bundle {digest}, which cannot be loaded"):
        CitedModels(home).model(record)
    assert make(home, seed=2) == digest
    assert CitedModels(home).model(record).name.bundle == digest


def test_the_command_replays_one_or_many(home, log, monkeypatch):
    monkeypatch.setenv("CANDOR_HOME", str(home.root))
    monkeypatch.setenv("CANDOR_AS_OF", NOW.isoformat())
    decided = decide_on(home, [REQUEST] * 3)
    one = decided[0]["decision_id"]
    run = CliRunner().invoke
    assert f"{one} bit for bit as logged" in run(cli, ["replay", one]).stdout
    whole = run(cli, ["replay", "--all", "--json"])
    assert (whole.exit_code, json.loads(whole.stdout)) == (0, {"replayed": log.count(), "different": []})
    assert (
        run(cli, ["replay", "--from", decided[1]["decided_at"], "--json"]).stdout
        == '{"replayed": 2, "different": []}\n'
    )
    assert run(cli, ["replay", "--to", (NOW - 99 * DAY).isoformat()]).stdout.startswith("0 decisions")
    rewrite(log, one, lambda record: record["output"].update(credit_score=1))
    changed = run(cli, ["replay", "--all"])
    assert changed.exit_code == 1
    assert changed.stdout.splitlines()[0] == f"{one} differs in output.credit_score"
    assert run(cli, ["replay", one]).exit_code == 1
    for wrong in ([], [one, "--all"]):
        assert run(cli, ["replay", *wrong]).exit_code == 2
    rewrite(log, one, lambda record: record["output"].update(credit_score=decided[0]["credit_score"]))
