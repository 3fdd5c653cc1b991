"""A recorded run is made again bit for bit, and where it cannot be, what differs is told."""

import hashlib
import json
import os
import shutil
from importlib.metadata import version

import duckdb
import msgspec
import pytest
from mlflow import MlflowClient

from feature_repo.errors import GateError, InputError, UnavailableError
from feature_repo.home import Home
from services import embedded, intake, pipeline
from services import reproduce as module
from services.reproduce import rebuild, reproduce
from services.scoring.policy import load_policy
from services.turn import only_one
from training import champion
from training.calibration import calibrate
from training.recipe import METHOD
from training.tracking import Tracking


@pytest.fixture(scope="module")
def searched(finished, tmp_path_factory):
    """A home of its own with one run of a short search."""
    home = Home(root=tmp_path_factory.mktemp("searched"))
    shutil.copytree(finished.home.sources, home.sources)
    state = finished.home.state()
    home.save_state(
        type(state)(
            portfolio=state.portfolio,
            as_of=state.as_of,
            oot_start=state.oot_start,
            performance_months=state.performance_months,
        )
    )
    try:
        store = intake.materialize(home)
        yield home, pipeline.train(home, trials=4, cutoff_rule="profit", store=store)
    finally:
        embedded.stop(home)


def append(home, table, change):
    source = home.sources / table / "data.parquet"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"copy ({change.format(source=source)}) to '{source.with_name('later.parquet')}'")


def test_a_searched_run_is_made_again_also_after_the_sources_have_grown(searched, candor):
    home, outcome = searched
    append(
        home,
        "credit_bureau",
        "select * replace (created_timestamp + interval 3 year as created_timestamp) from '{source}' limit 500",
    )
    done = candor("train", "--run", outcome.run.run_id, "--reproduce", "--json", home=home.root)
    answer = json.loads(done.stdout)
    assert answer["same"]
    assert answer["model_digest"] == outcome.candidate.model_digest
    assert answer["dataset_digest"] == outcome.dataset.digest
    assert answer["bundle_digest"] == Tracking(home).tags(outcome.run.run_id)["bundle_digest"]
    assert "Warning" not in done.stderr


def test_a_second_search_is_told_who_is_at_it_and_a_training_without_one_is_not_held_up(searched, here):
    home, _ = searched
    with only_one(home.root / ".search.db.lock", "a search", "night shift"):
        done = here("train", "--trials", "2", home=home.root)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("candor: a search is under way in this home, by night shift since ")
        assert last.endswith(f"(process {os.getpid()}): wait for it, or end it, or give --trials 0")
        assert here("train", "--trials", "0", "--oot-start", "2030-01-01", home=home.root).returncode == 2, "went on"


def test_a_damaged_search_is_one_line(searched, here):
    home, _ = searched
    study = home.root / "search.db"
    whole = study.read_bytes()
    study.write_bytes(b"no database")
    try:
        done = here("train", "--trials", "2", home=home.root)
    finally:
        study.write_bytes(whole)
    assert done.returncode == 1
    assert "move the file aside" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_cutoff_by_profit_is_in_the_bundle_and_its_policy_has_a_version_of_its_own(searched, tmp_path):
    home, outcome = searched
    policy = load_policy((Tracking(home).download_bundle(outcome.run.run_id, tmp_path) / "policy.toml").read_bytes())
    assert policy.approve_max_pd == outcome.candidate.cutoff
    assert policy.version.endswith(f"+cutoff-{outcome.candidate.cutoff}")


def test_each_trial_is_a_run_nested_in_the_training_run(searched):
    home, outcome = searched
    client = MlflowClient(home.mlflow_uri)
    nested = client.search_runs(
        [client.get_run(outcome.run.run_id).info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{outcome.run.run_id}'",
    )
    assert len(nested) == len(outcome.candidate.chosen.trials) == 4
    assert min(run.data.metrics["held_out_loss"] for run in nested if run.data.tags["state"] == "complete") == (
        pytest.approx(outcome.candidate.chosen.loss)
    )


def test_the_report_needs_no_network_and_names_no_applicant(searched):
    _, outcome = searched
    for name in ("evaluation.html", "model_card.md"):
        text = outcome.report.with_name(name).read_text(encoding="utf-8")
        assert "://" not in text
        assert "APP_" not in text
        assert f"{outcome.metrics['oot_auc']:.3f}" in text


def test_a_column_that_knows_the_outcome_stops_the_run_unless_somebody_vouches_for_it(searched, here):
    """What was collected of a defaulted loan, in the place of an honest feature."""
    home, outcome = searched
    runs = len(MlflowClient(home.mlflow_uri).search_model_versions("name = 'candor-pd'"))
    loans, bureau = (home.sources / table / "data.parquet" for table in ("loans", "credit_bureau"))
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            f"""copy (
                select b.* replace (
                    l.event_timestamp as event_timestamp, l.event_timestamp as created_timestamp,
                    case when l.defaulted then l.purchase_amount * 0.3 else 0 end as revolving_balance)
                from '{loans}' l
                join (select distinct on (applicant_id) * from '{bureau}' order by applicant_id, event_timestamp) b
                using (applicant_id)
                where l.defaulted is not null
            ) to '{bureau.with_name("collected.parquet")}'"""
        )
    try:
        with pytest.raises(GateError, match="leakage: .*revolving_balance"):
            pipeline.train(home)
        assert len(MlflowClient(home.mlflow_uri).search_model_versions("name = 'candor-pd'")) == runs
        done = here("train", "--trials", "0", "--sound", "revolving_balance=I saw the source", "--json", home=home.root)
        run_id = json.loads(done.stdout)["run_id"]
        assert Tracking(home).tags(run_id)["sound.revolving_balance"] == "I saw the source"
        assert "I saw the source" in (home.reports / "models" / run_id / "model_card.md").read_text()
        (word,) = reproduce(home, run_id).recipe.vouched.values()
        assert (word.reason, "AUC of 0.9" in word.accused) == ("I saw the source", True)
    finally:
        bureau.with_name("collected.parquet").unlink()
    for given in ("nobody=x", "revolving_balance", "revolving_balance= ", "=x"):
        assert here("train", "--trials", "0", "--sound", given, home=home.root).returncode == 2


def test_what_of_the_bundle_differs_is_told_part_by_part(searched, monkeypatch):
    """A calibration that starts elsewhere, tables of another reference population: the booster stays as it was."""
    home, outcome = searched
    monkeypatch.setattr(champion, "REFERENCE_ROWS", 200)
    found = reproduce(home, outcome.run.run_id)
    assert found.differs == ("explainer tables", "reference population", "verified applicants")
    monkeypatch.undo()
    monkeypatch.setattr(
        champion, "calibrate", lambda margins, y: msgspec.structs.replace(calibrate(margins, y), intercept=-1.5)
    )
    found = reproduce(home, outcome.run.run_id)
    assert "calibration" in found.differs
    assert not {"dataset", "model", "columns", "feature plan"} & set(found.differs)
    assert found.model_digest == outcome.candidate.model_digest


def test_another_cutoff_by_profit_is_told(searched, monkeypatch):
    home, outcome = searched
    monkeypatch.setattr(module, "best_cutoff_of", lambda *_: 0.5)
    assert reproduce(home, outcome.run.run_id).differs == ("cutoff",)


def test_of_a_run_from_before_the_fit_was_another_that_is_said(searched):
    home, outcome = searched
    (recipe,) = home.mlflow_artifacts.glob(f"{outcome.run.run_id}/artifacts/recipe.json")
    whole = recipe.read_bytes()
    told = msgspec.json.decode(whole)
    assert (told["method"], told["packages"]["candor"]) == (METHOD, version("candor"))
    try:
        recipe.write_bytes(msgspec.json.encode(told | {"method": 1, "model_digest": "sha256:of another fit"}))
        found = reproduce(home, outcome.run.run_id).differs
    finally:
        recipe.write_bytes(whole)
    assert found == ("model", f"the way in which models are made, number 1 then and {METHOD} now")


@pytest.fixture
def kept(searched, tmp_path):
    """The bundle of the searched run where MLflow keeps it; what a test does to it is undone."""
    home, outcome = searched
    (place,) = home.mlflow_artifacts.glob(f"{outcome.run.run_id}/artifacts/bundle")
    shutil.copytree(place, tmp_path / "whole")
    yield place
    shutil.copytree(tmp_path / "whole", place, dirs_exist_ok=True)


def test_a_record_that_was_changed_is_told_even_with_new_checksums(searched, kept):
    home, outcome = searched
    contract = (kept / "contract.json").read_bytes() + b"\n"
    (kept / "contract.json").write_bytes(contract)
    told = "{} in the record, which is damaged".format
    assert reproduce(home, outcome.run.run_id).differs == (told("contract.json"), told("recipe.json"))
    manifest = msgspec.json.decode((kept / "manifest.json").read_bytes())
    manifest["files"]["contract.json"] = hashlib.sha256(contract).hexdigest()
    (kept / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    assert reproduce(home, outcome.run.run_id).differs == (told("manifest.json"), told("recipe.json"))


@pytest.mark.parametrize("file", ["policy.toml", "contract.json", "manifest.json"])
def test_a_record_that_cannot_be_read_is_one_line(searched, kept, file):
    home, outcome = searched
    (kept / file).write_bytes(b"{")
    with pytest.raises(UnavailableError, match=f"the record of run {outcome.run.run_id} cannot be read"):
        rebuild(home, outcome.run.run_id)


def test_a_feature_that_the_service_has_lost_is_named(searched, kept):
    home, outcome = searched
    text = (kept / "contract.json").read_bytes()
    (kept / "contract.json").write_bytes(text.replace(b'"name":"credit_utilization"', b'"name":"utilization_of_old"'))
    with pytest.raises(InputError, match="no longer gives utilization_of_old: train again"):
        rebuild(home, outcome.run.run_id)


def test_what_differs_is_told_and_nothing_is_recorded(searched, candor):
    home, outcome = searched
    append(
        home,
        "credit_bureau",
        "select * replace (9.0 as debt_to_income_ratio, created_timestamp + interval 1 second as created_timestamp) "
        "from '{source}'",
    )
    done = candor("train", "--run", outcome.run.run_id, "--reproduce", home=home.root, ok=False)
    assert done.returncode == 1
    assert "what differs is dataset, model" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_is_not_there_is_one_line(searched, candor):
    home, _ = searched
    done = candor("train", "--run", "0" * 32, "--reproduce", home=home.root, ok=False)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_run_and_reproduce_go_together(searched, candor):
    home, _ = searched
    assert candor("train", "--reproduce", home=home.root, ok=False).returncode == 2
