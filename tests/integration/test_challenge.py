import json

import pytest

from feature_repo.errors import GateError, InputError
from services import lifecycle
from training.bundle import bundle_path, load_bundle, read_champion
from training.promotion_gate import DEFAULT_GATE


@pytest.fixture(scope="module")
def other(finished, second):
    """Another registered version; champion.json is as it was before again after."""
    before = finished.home.champion_path.read_bytes()
    yield second.run.version
    finished.home.champion_path.write_bytes(before)


def test_a_version_challenges_until_it_is_stopped(finished, here, other):
    told = json.loads(here("challenge", other, "--share", "0.1", "--json").stdout)
    champion = read_champion(finished.home)
    assert champion.bundle == finished.bundle_digest
    assert (champion.challenger.version, champion.challenger.share) == (other, 0.1)
    assert told["experiment"] == champion.challenger.experiment == f"{other}-against-{champion.version}"
    assert (
        load_bundle(bundle_path(finished.home, champion.challenger.bundle)).digest == told["bundle"] != champion.bundle
    )
    assert "is over" in here("challenge", "--stop").stdout
    assert read_champion(finished.home).challenger is None
    assert "no challenge" in here("challenge", "--stop").stdout


def test_a_promotion_ends_the_challenge(finished, here, other):
    here("challenge", other, "--name", "looks on")
    assert read_champion(finished.home).challenger.experiment == "looks on"
    here("promote", finished.outcome.run.version)
    assert read_champion(finished.home).challenger is None


def test_who_may_not_challenge(finished, here, other, tmp_path):
    strict = tmp_path / "gate.toml"
    strict.write_text(DEFAULT_GATE.read_text().replace("min_oot_auc = 0.60", "min_oot_auc = 0.999"))
    with pytest.raises(GateError, match="is not let decide: oot_auc"):
        lifecycle.challenge(finished.home, other, share=0.1, gate=strict)
    lifecycle.challenge(finished.home, other, share=0.0, gate=strict)  # it decides on nobody
    with pytest.raises(InputError, match="the champion's own bundle"):
        lifecycle.challenge(finished.home, finished.outcome.run.version, share=0.1)
    for words in (["999"], [], [other, "--stop"], [other, "--share", "1.5"]):
        assert here("challenge", *words).returncode == 2
