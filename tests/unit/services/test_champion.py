import json

import pytest

from feature_repo.errors import InputError, UnavailableError
from services.scoring.champion import load_champion
from services.scoring.once import decide_once
from services.scoring.policy import DEFAULT_POLICY
from tests.unit.services.harness import a_home, put
from tests.unit.services.small_bundle import promote
from training.bundle import Champion, bundle_path, write_champion
from training.reference_shap import ShapTables


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("champion")) as home:
        put(home, "APP_1")
        yield home


def test_a_promoted_bundle_decides(home):
    digest = promote(home)
    answer = json.loads(decide_once(home, {"applicant_id": "APP_1", "purchase_amount": 3500}))
    assert answer["model"] == {
        "name": "candor-pd",
        "version": "7",
        "feature_service": "credit_decision_v1",
        "bundle": digest,
    }
    low, high = answer["probability_interval"]
    assert low <= answer["default_probability"] <= high


def test_a_damaged_bundle_is_not_taken(home):
    file = bundle_path(home, promote(home)) / "policy.toml"
    text = file.read_bytes()
    file.write_bytes(text + b"\n")
    with pytest.raises(UnavailableError, match=r"policy\.toml does not match its checksum"):
        load_champion(home)
    file.write_bytes(text)


def test_a_bundle_that_scores_otherwise_than_when_it_was_made_is_not_taken(home, monkeypatch):
    promote(home)
    explain = ShapTables.explain
    monkeypatch.setattr(ShapTables, "explain", lambda self, rows: tuple(part + 1e-6 for part in explain(self, rows)))
    with pytest.raises(UnavailableError, match="scores otherwise than when it was made"):
        load_champion(home)


def test_a_bundle_under_another_name_is_not_taken(home):
    other = "sha256:" + "0" * 64
    bundle_path(home, promote(home)).rename(bundle_path(home, other))
    write_champion(home, Champion(bundle=other, version="7", run_id="r"))
    with pytest.raises(UnavailableError, match="is not the sha256:0+ in service"):
        load_champion(home)


def test_a_bundle_with_a_wrong_policy_is_not_taken(home):
    promote(home, DEFAULT_POLICY.read_bytes().replace(b"of_legal_age", b"of_full_age"))
    with pytest.raises(InputError, match="'of_full_age', which the contract does not have"):
        load_champion(home)
