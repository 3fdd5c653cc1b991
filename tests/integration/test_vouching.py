"""Who vouches for a feature that seems to leak is on record, seen at promotion, and heard at the next retraining."""

import json
from functools import partial

import pytest

from feature_repo.errors import GateError, UnavailableError
from services import lifecycle
from services import train as train_module
from training.bundle import read_champion
from training.leak import Limits
from training.leakage import check_leakage
from training.promotion_record import read_record
from training.recipe import read_recipe
from training.tracking import Tracking


@pytest.fixture
def suspicious(monkeypatch):
    """A leakage check that accuses the best honest feature."""
    monkeypatch.setattr(train_module, "check_leakage", partial(check_leakage, limits=Limits(auc=AUC)))


@pytest.fixture
def home(finished):
    yield finished.home
    lifecycle.promote(finished.home, finished.outcome.run.version, dataset=finished.outcome.dataset)


AUC = 0.55
WHY = "read before the decision"


@pytest.mark.usefixtures("suspicious")
def test_a_word_for_a_feature_is_seen_at_promotion_and_heard_at_a_retraining(home, here, finished):
    refused = here("train", "--trials", "0", "--seed", "21")
    assert refused.returncode == 1
    accused = [part.split(":")[0] for part in refused.stderr.partition("leakage: ")[2].split(". Was it")[0].split("; ")]
    innocent = next(name for name in finished.outcome.candidate.scorer.features if name not in accused)
    words = [word for name in accused for word in ("--sound", f"{name}={WHY}")]
    done = here(
        "train",
        "--trials",
        "0",
        "--seed",
        "21",
        "--by",
        "Ana Ramos",
        *words,
        "--sound",
        f"{innocent}=just in case",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["vouched"]) == set(accused)
    assert told["unneeded"] == [innocent]
    recorded = read_recipe(Tracking(home), told["run_id"]).vouched
    assert {(word.reason, word.by, word.run_id) for word in recorded.values()} == {(WHY, "Ana Ramos", "")}
    assert all(word.accused for word in recorded.values())
    tags = Tracking(home).tags(told["run_id"])
    assert (tags[f"sound.{accused[0]}"], tags[f"sound_by.{accused[0]}"]) == (WHY, "Ana Ramos")
    card = (home.reports / "models" / told["run_id"] / "model_card.md").read_text(encoding="utf-8")
    assert f"{WHY} (by Ana Ramos; accused: " in card

    shown = here("promote", told["version"], "--by", "Bo")
    assert shown.returncode == 0, shown.stderr
    assert f"{accused[0]} is vouched for: {WHY} (by Ana Ramos; accused: " in shown.stdout
    (line,) = (line for line in read_record(home)[-1].lines if line.name == "vouched_features")
    assert (line.value, line.passed) == (len(accused), True)

    again = here("retrain", "--trials", "0", "--seed", "22", "--by", "schedule")
    assert "leakage" not in again.stderr
    first = told["run_id"][:8]
    assert f"{accused[0]} is vouched for: {WHY} (by Ana Ramos, for run {first} first; accused: " in again.stdout


@pytest.mark.usefixtures("suspicious")
def test_a_retraining_without_anybodys_word_is_stopped(home):
    assert not read_recipe(Tracking(home), read_champion(home).run_id).vouched
    with pytest.raises(GateError, match="leakage: "):
        lifecycle.retrain(home, seed=23)


def test_a_damaged_record_of_the_champion_holds_up_no_retraining_and_is_one_line_elsewhere(home):
    champion = read_champion(home)
    (recipe,) = home.mlflow_artifacts.glob(f"{champion.run_id}/artifacts/recipe.json")
    whole, recorded = recipe.read_bytes(), read_recipe(Tracking(home), champion.run_id)
    try:
        recipe.write_bytes(b"{")
        with pytest.raises(UnavailableError, match=f"the record of run {champion.run_id} cannot be read"):
            read_recipe(Tracking(home), champion.run_id)
        assert not lifecycle.retrain(home, seed=recorded.seed, oot_start=recorded.oot_start).is_new
    finally:
        recipe.write_bytes(whole)
