import json
import os
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from feature_repo.errors import GateError, UnavailableError
from monitoring.decision_log import DecisionLog
from monitoring.profiles import read_profile, summaries
from monitoring.segments import unbanded
from services import lifecycle, pipeline
from services.scoring.once import decide_once
from training.bundle import bundle_path, load_bundle, read_champion
from training.champion import fit_calibrated
from training.model import Parameters
from training.promotion_gate import DEFAULT_GATE
from training.tracking import MODEL_NAME, Tracking


def test_the_demo_ends_with_an_explained_and_logged_decision(finished):
    answer = finished.decision
    assert answer["approval_recommendation"] in {"APPROVED", "DECLINED", "MANUAL_REVIEW"}
    assert 0 < answer["default_probability"] < 1
    assert {view["status"] for view in answer["freshness"].values()} == {"PRESENT"}
    assert len(answer["explanation"]) == 3
    assert answer["model"]["bundle"] == finished.bundle_digest
    log = DecisionLog(finished.home.decision_log_url)
    try:
        record = log.get(answer["decision_id"])
    finally:
        log.close()
    assert record.pd == answer["default_probability"]
    assert record.output["decision_id"] == answer["decision_id"]


def test_the_model_ranks_far_better_than_chance_and_is_calibrated(finished):
    metrics = finished.outcome.candidate.metrics
    assert metrics["oot_auc"] > 0.65
    assert metrics["oot_ece"] < 0.05
    promised = ("auc", "ks", "gini", "brier", "ece", "accuracy")
    assert {f"{part}_{name}" for part in ("train", "oot") for name in promised} <= set(metrics)


def test_mlflow_holds_params_metrics_dataset_artifacts_and_the_champion(finished):
    client = MlflowClient(finished.home.mlflow_uri, finished.home.mlflow_uri)
    version = client.get_model_version_by_alias(MODEL_NAME, "champion")
    assert str(version.version) == finished.outcome.run.version
    run = client.get_run(finished.outcome.run.run_id)
    assert run.data.params["seed"] == "7"
    assert run.data.metrics["oot_auc"] == pytest.approx(finished.outcome.candidate.metrics["oot_auc"])
    assert run.data.tags["dataset_digest"] == finished.outcome.dataset.digest
    (dataset,) = run.inputs.dataset_inputs
    assert finished.outcome.dataset.digest.removeprefix("sha256:").startswith(dataset.dataset.digest)
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    kept = {"bundle", "features.json", "recipe.json", "evaluation.html", "model_card.md", "waterfall.json"}
    assert kept | {"reference_profile.bin"} <= names


def test_the_registered_model_is_native_and_predicts_as_the_bundle_does(finished):
    Tracking(finished.home)  # points MLflow, registry included, at this home; another test may have used another
    folder = mlflow.artifacts.download_artifacts(f"models:/{MODEL_NAME}@champion")
    assert not [path for path in Path(folder).rglob("*") if path.suffix in {".pkl", ".pickle", ".cloudpickle"}]
    booster = mlflow.xgboost.load_model(folder)
    bundle = load_bundle(bundle_path(finished.home, finished.bundle_digest))
    assert bytes(booster.save_raw("ubj")) == (bundle.path / "model.ubj").read_bytes()


def test_the_champion_file_names_version_and_bundle(finished):
    champion = read_champion(finished.home)
    assert (champion.version, champion.run_id) == (finished.outcome.run.version, finished.outcome.run.run_id)
    assert champion.bundle == finished.bundle_digest


def test_the_same_seed_gives_the_same_dataset_model_and_bundle(finished, tmp_path):
    from training.tracking import Tracking

    again = pipeline.train(finished.home)
    assert again.dataset.digest == finished.outcome.dataset.digest
    assert again.candidate.model_digest == finished.outcome.candidate.model_digest
    folder = Tracking(finished.home).download_bundle(again.run.run_id, tmp_path)
    assert load_bundle(folder).digest == finished.bundle_digest
    assert again.run.version != finished.outcome.run.version


def test_tracking_leaves_the_environment_alone(finished):
    """MLflow exports its URI; another home of the same process would then log to this one."""
    before = dict(os.environ)
    Tracking(finished.home).resolve(None)
    assert dict(os.environ) == before
    assert "MLFLOW_TRACKING_URI" not in before


def test_a_damaged_bundle_is_repaired_by_promoting_again(finished):
    place = bundle_path(finished.home, finished.bundle_digest)
    (place / "plan.json").write_bytes(b"{}")
    with pytest.raises(UnavailableError, match=r"plan\.json does not match its checksum"):
        load_bundle(place)
    lifecycle.promote(finished.home, finished.outcome.run.version)
    assert load_bundle(place).digest == finished.bundle_digest


def test_a_model_below_the_line_is_refused_and_the_champion_stays(finished, tmp_path):
    strict = tmp_path / "gate.toml"
    strict.write_text(DEFAULT_GATE.read_text().replace("min_oot_auc = 0.60", "min_oot_auc = 0.999"))
    before = finished.home.champion_path.read_bytes()
    with pytest.raises(GateError, match=r"oot_auc 0\.\d+ is below 0\.999"):
        lifecycle.promote(finished.home, finished.outcome.run.version, gate=strict)
    assert finished.home.champion_path.read_bytes() == before


def test_the_reference_profile_counts_every_loan_out_of_time_and_a_thousand_at_least(finished):
    found = summaries(read_profile(finished.home.profiles / "training.bin"))
    rows = max(int(finished.outcome.dataset.is_oot.sum()), 1000)
    whole = {name for name in found if unbanded(name)[1] is None}
    assert {found[name].n for name in whole} == {rows}
    assert "default_probability" in whole
    bands: Counter[str] = Counter()
    for name in found.keys() - whole:
        bands[unbanded(name)[0]] += found[name].n
    features = {spec.name for spec in finished.outcome.dataset.specs}
    assert dict(bands) == dict.fromkeys(features, rows), "each feature once more, row by row in its score band"


def test_a_search_learns_nothing_from_one_whose_window_began_later(finished, tmp_path):
    later = finished.outcome.dataset
    earlier = replace(later, oot_start=later.oot_start - timedelta(days=150))

    def losses(dataset, storage):
        model = fit_calibrated(dataset, Parameters(max_rounds=20), seed=7, trials=1, storage=tmp_path / storage)
        return [trial.loss for trial in model.chosen.trials]

    losses(later, "used.db")
    assert losses(earlier, "used.db") == losses(earlier, "new.db")


def test_protected_attributes_reach_neither_frame_nor_bundle(finished):
    bundle = load_bundle(bundle_path(finished.home, finished.bundle_digest))
    assert not {"age", "sex"} & set(finished.outcome.dataset.frame.columns)
    assert not {"age", "sex"} & {spec.name for spec in bundle.contract.features}
    assert b'"age"' not in (bundle.path / "plan.json").read_bytes()


def test_of_legal_age_is_stored_but_not_learned_from(finished):
    assert "of_legal_age" in finished.outcome.dataset.frame.columns
    assert "of_legal_age" not in finished.outcome.candidate.scorer.features


def test_what_only_the_simulator_knows_is_no_source(finished):
    assert (finished.home.truth / "loans.parquet").exists()
    assert "true_pd" not in json.dumps([str(path) for path in finished.home.sources.rglob("*")])
    assert "true_pd" not in finished.outcome.dataset.frame.columns


def test_a_stranger_who_brings_nine_values_is_decided_on_and_one_with_a_single_value_is_not(finished):
    nine = {
        "annual_income": 65000,
        "age": 35,
        "employment_years": 6,
        "debt_to_income_ratio": 0.25,
        "credit_utilization": 0.3,
        "num_credit_lines": 5,
        "num_credit_inquiries": 1,
        "num_late_payments": 0,
        "credit_history_months": 90,
    }
    asked = {"applicant_id": "NOBODY", "purchase_amount": 3500, "term_months": 12}
    whole = json.loads(decide_once(finished.home, asked | nine))
    assert whole["review_reasons"] == []
    assert whole["recommended_terms"]["approved"] == (whole["approval_recommendation"] == "APPROVED")
    assert len(whole["explanation"]) == 3
    assert {view["status"] for view in whole["freshness"].values()} == {"MISSING"}
    for name in nine.keys() - {"age"}:
        single = json.loads(decide_once(finished.home, asked | {name: nine[name]}))
        assert single["approval_recommendation"] == "MANUAL_REVIEW", name
