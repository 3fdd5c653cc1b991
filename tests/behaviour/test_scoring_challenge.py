"""Champion and challenger: who decides on whom, what is logged of both, and that a broken challenger hurts nobody."""

import asyncio
import json
import time

import msgspec
import pytest
from litestar.testing import TestClient

from feature_repo.errors import UnavailableError
from monitoring.decision_log import DecisionLog
from services.scoring import champion
from services.scoring.app import create_app
from services.scoring.arms import Challenge
from services.scoring.champion import load_champion
from services.scoring.policy import DEFAULT_POLICY
from services.scoring.service import ScoringService
from tests.unit.services.harness import GOOD, LinearScorer, a_home, a_model, put
from tests.unit.services.small_bundle import make, promote
from training.bundle import Challenger, Champion, bundle_path, read_champion, write_champion

PEOPLE = 60


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("challenge")) as home:
        promote(home)
        for number in range(PEOPLE):
            put(home, f"APP_{number}", GOOD)
        yield home


def challenged(home, share, experiment="new-trees", bundle=None):
    """Put version 7 in service with version 8 against it."""
    digest = promote(home)
    challenger = Challenger(
        bundle=bundle or make(home, seed=5), version="8", run_id="r", experiment=experiment, share=share
    )
    write_champion(home, Champion(bundle=digest, version="7", run_id="r", challenger=challenger))


def ask(number=0, **inline):
    return {"applicant_id": f"APP_{number}", "purchase_amount": 900, "term_months": 6} | inline


def records(home, answers):
    log = DecisionLog(home.decision_log_url)
    try:
        return [log.get(answer["decision_id"]) for answer in answers]
    finally:
        log.close()


def decide_on_all(home):
    with TestClient(create_app(home)) as client:
        single = [client.post("/predict", json=ask(number)).json() for number in range(PEOPLE)]
        many = client.post("/predict/batch", json={"requests": [ask(number) for number in range(PEOPLE)]}).json()
        replays = [client.post(f"/decisions/{answer['decision_id']}/replay").json() for answer in single]
    assert all(replayed["identical"] for replayed in replays)
    return single, [item["decision"] for item in many["results"]]


def test_a_share_of_applicants_is_the_challengers_the_same_ones_every_time(home):
    challenged(home, 0.3)
    single, many = decide_on_all(home)
    versions = [answer["model"]["version"] for answer in single]
    assert versions == [answer["model"]["version"] for answer in many]
    assert 5 <= versions.count("8") <= 35
    for answer, record in zip(single, records(home, single), strict=True):
        assert (record.arm, record.experiment, record.shadow) == (
            "challenger" if answer["model"]["version"] == "8" else "champion",
            "new-trees",
            None,
        )
    challenged(home, 0.3, "another-name")
    assert [answer["model"]["version"] for answer in decide_on_all(home)[0]] != versions


def test_with_no_share_it_looks_on_and_both_are_logged(home):
    challenged(home, 1.0)
    theirs = decide_on_all(home)[0]
    challenged(home, 0.0)
    for answers in decide_on_all(home):
        assert {answer["model"]["version"] for answer in answers} == {"7"}
        for record, other in zip(records(home, answers), theirs, strict=True):
            assert record.arm == "champion"
            shadow = record.shadow
            assert (shadow.model_version, shadow.bundle) == ("8", other["model"]["bundle"])
            assert (shadow.pd, shadow.score, shadow.recommendation, shadow.fault) == (
                other["default_probability"],
                other["credit_score"],
                other["approval_recommendation"],
                "",
            )


def test_without_a_challenger_nothing_is_said_of_one(home):
    promote(home)
    (record,) = records(home, decide_on_all(home)[0][:1])
    assert (record.arm, record.experiment, record.shadow) == ("champion", "", None)


class Broken(LinearScorer):
    def score(self, values):
        raise ZeroDivisionError


def decide_once(home, challenge, body):
    """Decide by the home's champion and a challenger that is no bundle."""

    async def run():
        service = ScoringService(home, load_champion, challenge)
        try:
            return json.loads((await service.decide(json.dumps(body).encode())).body)
        finally:
            await service.close()

    return asyncio.run(run())


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["scorer", "policy"])
def test_a_challenger_that_cannot_decide_leaves_it_to_the_champion(home, share, kind):
    promote(home)
    refuses = DEFAULT_POLICY.read_bytes().replace(b'critical = "review"', b'critical = "refuse"')
    assert refuses != DEFAULT_POLICY.read_bytes()
    model = a_model(Broken(), version="8") if kind == "scorer" else a_model(policy=refuses, version="8")
    put(home, "APP_odd", GOOD | {"credit_bureau": GOOD["credit_bureau"] | {"debt_to_income_ratio": 99.0}})
    answer = decide_once(home, lambda _: Challenge("x", share, model), ask() | {"applicant_id": "APP_odd"})
    assert answer["model"]["version"] == "7"
    (record,) = records(home, [answer])
    assert (record.arm, record.experiment, record.shadow.pd) == ("champion", "x", None)
    told = {"scorer": "failed with ZeroDivisionError", "policy": "refused debt_to_income_ratio"}
    assert record.shadow.fault == told[kind]


def test_a_challenger_that_cannot_be_loaded_is_left_out(home, caplog):
    digest = make(home, seed=6)
    (bundle_path(home, digest) / "plan.json").write_bytes(b"{}")
    challenged(home, 1.0, bundle=digest)
    single, _ = decide_on_all(home)
    assert {answer["model"]["version"] for answer in single} == {"7"}
    assert "challenger not taken into service" in caplog.text
    assert "plan.json does not match its checksum" in caplog.text
    with TestClient(create_app(home)) as client:
        health = client.get("/health").json()
        assert "plan.json does not match its checksum" in health["warnings"]["challenger"]
        assert 'candor_challenger_refused{worker="' in client.get("/metrics").text


def test_a_running_service_takes_a_challenger_up_and_lets_it_go(home, monkeypatch):
    monkeypatch.setattr(champion, "_LOOK_EVERY", 0.05)
    promote(home)

    def version(client, wanted):
        seen = []
        while len(seen) < 100 and seen[-1:] != [wanted]:
            time.sleep(0.02)
            answer = client.post("/predict", json=ask())
            assert answer.status_code == 200  # not one request is dropped over it
            seen.append(answer.json()["model"]["version"])
        return seen[-1]

    with TestClient(create_app(home)) as client:
        assert version(client, "7") == "7"
        challenged(home, 1.0)
        assert version(client, "8") == "8"
        write_champion(home, msgspec.structs.replace(read_champion(home), challenger=None))
        assert version(client, "7") == "7"


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_0_and_1(home, share):
    challenged(home, share)
    with pytest.raises(UnavailableError, match="damaged"):
        read_champion(home)
    promote(home)
