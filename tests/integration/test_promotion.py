"""Gate, promotion, rollback and retraining on a finished home, with real models, MLflow and a service that follows."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from feature_repo.errors import GateError, InputError, UnavailableError
from services import intake, lifecycle, pipeline
from services import train as train_module
from services.reproduce import reproduce
from services.scoring import champion as follower
from services.scoring.app import create_app
from services.turn import only_one
from services.window import window_start
from tests.integration.conftest import PROJECT
from tests.unit.services.live import request, serving
from training import promotion, switch
from training.bundle import bundle_path, load_bundle, read_champion
from training.judgement import Judged
from training.model import Parameters
from training.promotion import Refused
from training.promotion_gate import DEFAULT_GATE
from training.promotion_record import read_record, record_path
from training.rollback import rollback
from training.tracking import MODEL_NAME, REFERENCE_PROFILE, Tracking

STUMP = Parameters(max_depth=1, max_rounds=1)


class Killed(BaseException):
    """Ends a command where a signal could have."""


@pytest.fixture(scope="module")
def home(finished):
    """The finished home, as it was before and is again after."""
    yield finished.home
    lifecycle.promote(finished.home, finished.outcome.run.version, dataset=finished.outcome.dataset)


@pytest.fixture(scope="module")
def first(finished):
    return finished.outcome.run.version


@pytest.fixture(scope="module")
def stump(home):
    """A version that hardly ranks."""
    return pipeline.train(home, parameters=STUMP)


@pytest.fixture
def start(home, first, finished):
    """The first version in service, and nothing recorded."""
    lifecycle.promote(home, first, dataset=finished.outcome.dataset)
    record_path(home).unlink(missing_ok=True)


@pytest.fixture
def lax(tmp_path):
    """A gate that lets the worse pass."""
    text = DEFAULT_GATE.read_text().replace("= 0.0 ", "= 1.0 ").replace("min_oot_auc = 0.60", "min_oot_auc = 0.0")
    text = text.replace("max_auc_doubt = 0.10", "max_auc_doubt = 1.0")
    (tmp_path / "lax.toml").write_text(text)
    return tmp_path / "lax.toml"


@pytest.fixture
def strict(tmp_path):
    """A gate that lets nobody pass."""
    (tmp_path / "strict.toml").write_text(DEFAULT_GATE.read_text().replace("min_oot_auc = 0.60", "min_oot_auc = 0.999"))
    return tmp_path / "strict.toml"


def aliases(home):
    found = MlflowClient(home.mlflow_uri, home.mlflow_uri).get_registered_model(MODEL_NAME).aliases
    return {alias: str(version) for alias, version in found.items()}


def signatures(home, version):
    tags = MlflowClient(home.mlflow_uri, home.mlflow_uri).get_model_version(MODEL_NAME, version).tags
    return {tag: text for tag, text in tags.items() if tag.startswith("approved_")}


@contextmanager
def told_by_mlflow(**params):
    """Let MLflow say something else of a version's run."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Tracking, "params", lambda *_: params)
        yield


def reference(home, outcome, folder):
    return Tracking(home).download(outcome.run.run_id, REFERENCE_PROFILE, folder).read_bytes()


@pytest.mark.usefixtures("start")
def test_a_worse_challenger_is_refused_with_the_reason_and_the_champion_stays(home, here, first, stump):
    before = home.champion_path.read_bytes(), aliases(home), (home.profiles / "training.bin").read_bytes()
    version = stump.run.version
    done = here("promote", version, "--by", "Ana", "--why", "try it", "--json")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"candor: version {version} is not promoted: ")
    assert f"below that of version {first}" in last
    assert "Traceback" not in done.stderr
    (entry,) = read_record(home)
    assert json.loads(msgspec.json.encode(entry)) == json.loads(done.stdout)
    assert (entry.action, entry.outcome, entry.version, entry.by, entry.why) == (
        "promote",
        "refused",
        version,
        "Ana",
        "try it",
    )
    crossed = {line.name: line for line in entry.lines if not line.passed}
    assert "auc_difference" in crossed
    assert crossed["auc_difference"].value < 0
    assert before == (home.champion_path.read_bytes(), aliases(home), (home.profiles / "training.bin").read_bytes())
    assert "FAILED  auc_difference" in here("promote", version).stderr


@pytest.mark.usefixtures("start")
def test_it_may_look_on_but_not_decide(home, stump):
    with pytest.raises(Refused, match="is not let decide: .*AUC"):
        lifecycle.challenge(home, stump.run.version, share=0.1)
    assert read_champion(home).challenger is None
    lifecycle.challenge(home, stump.run.version, share=0.0)
    assert read_champion(home).challenger.version == stump.run.version


@pytest.mark.usefixtures("start")
def test_a_promotion_is_signed_recorded_and_told_to_mlflow(home, here, first, second, tmp_path):
    version = second.run.version
    here("challenge", version)
    assert aliases(home)["challenger"] == version
    told = json.loads(here("promote", version, "--by", "Ana Ramos", "--why", "review", "--json").stdout)
    assert {"version", "run_id", "bundle"} <= set(told)
    champion = read_champion(home)
    assert (champion.version, champion.bundle, champion.challenger) == (version, told["bundle"], None)
    assert aliases(home) == {"champion": version, "archived": first}
    tags = MlflowClient(home.mlflow_uri, home.mlflow_uri).get_model_version(MODEL_NAME, version).tags
    _, entry = read_record(home)
    assert tags == {
        "approved_by": "Ana Ramos",
        "approved_why": "review",
        "approved_at": entry.at.isoformat(),
        "gate_digest": entry.gate,
        "bundle": champion.bundle,
    }
    assert (entry.outcome, entry.previous.version) == ("done", first)
    assert {"auc_difference", "brier_difference", "oot_psi", "guard", "score_us"} <= {line.name for line in entry.lines}
    assert all(line.passed for line in entry.lines)
    assert (home.profiles / "training.bin").read_bytes() == reference(home, second, tmp_path)


@pytest.mark.usefixtures("start")
def test_a_gate_of_ones_own_is_held_and_its_digest_recorded(home, second, strict, tmp_path):
    with pytest.raises(Refused, match=r"oot_auc 0\.\d+ is below 0\.999") as refused:
        lifecycle.promote(home, second.run.version, gate=strict)
    assert refused.value.entry.gate != lifecycle.promote(home, second.run.version).gate
    with pytest.raises(InputError, match=r"none\.toml"):
        lifecycle.promote(home, second.run.version, gate=tmp_path / "none.toml")


@pytest.mark.usefixtures("start")
def test_loans_that_are_not_those_trained_on_are_refused(home, second):
    other = replace(second.dataset, digest="sha256:0")
    with pytest.raises(Refused, match="the loans are not those that it was trained on: train again"):
        lifecycle.promote(home, second.run.version, dataset=other)

    def gone(run_id):
        raise GateError(f"the sources no longer give the dataset of run {run_id}")

    with pytest.raises(Refused, match=f"no longer give the dataset of run {second.run.run_id}"):
        promotion.promote(home, second.run.version, dataset_of=gone)


@pytest.mark.usefixtures("start")
def test_a_champion_that_is_damaged_here_is_compared_with_as_mlflow_keeps_it(home, second, stump):
    place = bundle_path(home, read_champion(home).bundle)
    (place / "plan.json").write_bytes(b"{}")
    with pytest.raises(Refused, match=r"below that of version .* is damaged here.*plan\.json"):
        lifecycle.promote(home, stump.run.version, dataset=stump.dataset)
    entry = lifecycle.promote(home, second.run.version, dataset=second.dataset)
    (line,) = (line for line in entry.lines if line.name == "auc_difference")
    assert (line.passed, "is damaged here" in line.note, "plan.json" in line.note) == (True, True, True)


@pytest.mark.usefixtures("start")
def test_a_damaged_champion_is_replaceable_and_the_record_says_so(home, first, second, monkeypatch):
    place = bundle_path(home, read_champion(home).bundle)
    (place / "plan.json").write_bytes(b"{}")
    with monkeypatch.context() as patched:
        patched.setattr(Judged, "_of_mlflow", lambda *_: None)
        with pytest.raises(Refused, match=r"damaged here and not whole in MLflow: .*plan\.json.*vouch by --uncompared"):
            lifecycle.promote(home, second.run.version)
        entry = lifecycle.promote(home, second.run.version, uncompared=True, why="the disk failed")
    (line,) = (line for line in entry.lines if line.name == "champion")
    assert (line.passed, "vouched for" in line.note, entry.why) == (True, True, "the disk failed")
    assert rollback(home).version == first  # its bundle is had again from MLflow
    assert load_bundle(place).digest == read_champion(home).bundle


@pytest.mark.usefixtures("start")
def test_a_damaged_champion_file_is_no_way_around_the_comparison(home, first, second):
    lifecycle.promote(home, second.run.version)
    for spoil in (lambda: home.champion_path.write_bytes(b"{"), home.champion_path.unlink):
        spoil()
        entry = lifecycle.promote(home, first)
        assert entry.previous.version == second.run.version
        assert "auc_difference" in {line.name for line in entry.lines}
        lifecycle.promote(home, second.run.version)


@pytest.mark.usefixtures("start")
def test_a_champion_file_is_written_again_by_promoting_whom_the_record_has(home, second):
    lifecycle.promote(home, second.run.version)
    home.champion_path.write_bytes(b"{")
    assert lifecycle.promote(home, second.run.version).outcome == "standing"
    assert read_champion(home).version == second.run.version


@pytest.mark.usefixtures("start")
def test_a_damaged_champion_file_without_a_record_needs_somebodys_word(home, here, stump):
    home.champion_path.write_bytes(b"{")
    with pytest.raises(Refused, match=r"champion\.json is damaged, and the record knows of no champion.*--uncompared"):
        lifecycle.promote(home, stump.run.version)
    record_path(home).unlink()
    assert here("promote", stump.run.version, "--uncompared", "--why", "restored from nothing").returncode == 0
    (line,) = (line for line in read_record(home)[-1].lines if line.name == "champion")
    assert (line.passed, "vouched for" in line.note) == (True, True)


@pytest.mark.usefixtures("start")
def test_an_mlflow_that_does_not_give_the_damaged_champion_is_asked_again_and_not_passed_over(home, first, second):
    champion = read_champion(home)
    (bundle_path(home, champion.bundle) / "plan.json").write_bytes(b"{}")
    (kept,) = home.mlflow_artifacts.glob(f"{champion.run_id}/artifacts/bundle")
    away = kept.with_name("away")
    kept.rename(away)
    kept.symlink_to("nowhere")
    try:
        with pytest.raises(UnavailableError, match=f"version {first} is damaged here and cannot be had.*try again"):
            lifecycle.promote(home, second.run.version)
        assert read_champion(home).version == first
        kept.unlink()
        with pytest.raises(Refused, match="not whole in MLflow"):
            lifecycle.promote(home, second.run.version)
    finally:
        kept.unlink(missing_ok=True)
        away.rename(kept)
    assert "auc_difference" in {line.name for line in lifecycle.promote(home, second.run.version).lines}


def test_a_bundle_that_its_run_did_not_make_is_not_promoted(home, second, stump, tmp_path):
    (place,) = home.mlflow_artifacts.glob(f"{second.run.run_id}/artifacts/bundle")
    (other,) = home.mlflow_artifacts.glob(f"{stump.run.run_id}/artifacts/bundle")
    shutil.copytree(place, tmp_path / "whole")
    shutil.copytree(other, place, dirs_exist_ok=True)
    try:
        with pytest.raises(UnavailableError, match="MLflow holds another bundle"):
            lifecycle.promote(home, second.run.version)
    finally:
        shutil.copytree(tmp_path / "whole", place, dirs_exist_ok=True)


@pytest.mark.usefixtures("start")
def test_a_damaged_mlflow_is_one_line_and_holds_up_no_rollback_however_often(home, first, second, stump, lax, tmp_path):
    lifecycle.promote(home, second.run.version)
    lifecycle.promote(home, stump.run.version, gate=lax)
    (tmp_path / "mlflow.db").write_bytes(b"no database at all")
    damaged = replace(home, mlflow_override=f"sqlite:///{tmp_path / 'mlflow.db'}")
    for version in (second.run.version, first):
        entry = rollback(damaged)
        assert (entry.version, "mlflow.db: file is not a database" in entry.trouble) == (version, True)
    with pytest.raises(UnavailableError, match=r"mlflow\.db: file is not a database"):
        lifecycle.promote(damaged, second.run.version)
    assert read_champion(home).version == first


def test_a_training_looks_for_mlflow_before_it_works_for_hours(home, tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all")
    monkeypatch.setattr(train_module, "build_dataset", lambda *_, **__: pytest.fail("it went to work"))
    with pytest.raises(UnavailableError, match=r"mlflow\.db: file is not a database"):
        pipeline.train(replace(home, mlflow_override=f"sqlite:///{tmp_path / 'mlflow.db'}"))


@pytest.mark.usefixtures("start")
def test_a_disk_that_is_full_before_is_one_line_and_nothing_has_changed(home, first, second, monkeypatch):
    whole = shutil.copyfile

    def full(source, target, **options):
        if ".partial" in os.fspath(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(source, target, **options)

    shutil.rmtree(bundle_path(home, second.bundle_digest), ignore_errors=True)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        patched.setattr(Judged, "lines", lambda *_, **__: ())
        with pytest.raises(UnavailableError, match=r"cannot be written: \[Errno 28\] No space left on device$"):
            lifecycle.promote(home, second.run.version)
    assert read_champion(home).version == first
    assert read_record(home) == []


@pytest.mark.usefixtures("start")
def test_a_disk_that_is_full_once_the_service_has_followed_is_trouble_and_not_a_failure(home, second, monkeypatch):
    def full(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(switch, "write_atomically", full)
        patched.setattr(promotion, "keep_reference", lambda *_: None)
        entry = lifecycle.promote(home, second.run.version, dataset=second.dataset)
    assert "No space left on device" in entry.trouble
    assert read_champion(home).version == second.run.version == aliases(home)["champion"]
    assert lifecycle.promote(home, second.run.version).trouble == ""


@pytest.mark.usefixtures("start")
def test_a_champion_that_lost_a_feature_proves_nothing_until_somebody_vouches(home, here, first, stump, lax):
    """Without its best features anybody looks better than the champion: that is no evidence for a stump."""
    read = load_bundle(bundle_path(home, read_champion(home).bundle)).scorer.features
    lost = [name for name in read if name not in ("annual_income", "term_months")]
    table = stump.dataset.table
    for name in lost:
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.nulls(len(table), table.schema.field(name).type))
    gone = replace(stump.dataset, table=table)
    with pytest.raises(Refused, match=f"version {first} cannot be compared with fairly: .*--uncompared") as refused:
        lifecycle.promote(home, stump.run.version, gate=lax, dataset=gone)
    line = next(line for line in refused.value.entry.lines if line.name == "champion_features")
    assert (line.value, line.limit, line.passed) == (len(lost), 0, False)
    assert all(name in line.note for name in lost)
    assert read_champion(home).version == first
    with pytest.raises(InputError, match="say --why"):
        lifecycle.promote(home, stump.run.version, gate=lax, dataset=gone, uncompared=True)
    entry = lifecycle.promote(home, stump.run.version, gate=lax, dataset=gone, uncompared=True, why="the bureau closed")
    line = next(line for line in entry.lines if line.name == "champion_features")
    assert (line.passed, "vouched for" in line.note, entry.why) == (True, True, "the bureau closed")
    assert read_champion(home).version == stump.run.version
    assert rollback(home).version == first
    assert here("promote", stump.run.version, "--uncompared").returncode == 2


@pytest.mark.usefixtures("start")
def test_protected_attributes_that_can_no_longer_be_measured_do_not_pass_for_none(home, first, tmp_path):
    path = home.sources / "applicant_profile" / "data.parquet"
    whole, table = path.read_bytes(), pq.read_table(path)
    for name in ("age", "sex"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.nulls(len(table), table.schema.field(name).type))
    pq.write_table(table, path)
    try:
        intake.validate(home, accept=True)  # or the gate of the table would have stopped it
        blind = pipeline.train(home, seed=31)
        told = f"the run of version {first} compared groups by age, sex, and this one could not"
        with pytest.raises(Refused, match=told) as refused:
            lifecycle.promote(home, blind.run.version, dataset=blind.dataset)
        crossed = {line.name: (line.value, line.limit) for line in refused.value.entry.lines if not line.passed}
        assert crossed == {"fairness_lost": (2, 0)}
        gate = tmp_path / "gate.toml"
        gate.write_text(DEFAULT_GATE.read_text().replace("max_attributes_lost = 0", "max_attributes_lost = 2"))
        assert lifecycle.promote(home, blind.run.version, gate=gate, dataset=blind.dataset).outcome == "done"
    finally:
        path.write_bytes(whole)
        intake.validate(home, accept=True)


@pytest.mark.usefixtures("start")
def test_vouching_does_not_help_one_that_is_worse_all_the_same(home, stump):
    with pytest.raises(Refused, match="below that of version"):
        lifecycle.promote(home, stump.run.version, dataset=stump.dataset, uncompared=True, why="I want it")


@pytest.mark.usefixtures("start")
def test_the_standing_champion_is_mended_where_need_be_and_not_recorded_again(home, here, first, second, finished):
    lifecycle.promote(home, second.run.version, dataset=second.dataset, by="Ana", why="review")
    before = read_record(home), home.champion_path.read_bytes(), signatures(home, second.run.version)
    (home.profiles / "training.bin").unlink()
    done = here("promote", second.run.version, "--by", "Bo")
    assert done.returncode == 0
    assert f"version {second.run.version} is champion already" in done.stdout
    assert before == (read_record(home), home.champion_path.read_bytes(), signatures(home, second.run.version))
    assert (home.profiles / "training.bin").exists()
    assert aliases(home) == {"champion": second.run.version, "archived": first}
    assert json.loads(here("promote", second.run.version, "--json").stdout)["outcome"] == "standing"


@pytest.mark.usefixtures("start")
def test_a_champion_that_mlflow_was_not_told_of_is_told_by_promoting_it_again(home, second, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(switch, "tell_mlflow", lambda *_: (_ for _ in ()).throw(UnavailableError("MLflow is away")))
        assert "MLflow is away" in lifecycle.promote(home, second.run.version, dataset=second.dataset).trouble
    assert lifecycle.promote(home, second.run.version, by="Ana").outcome == "done"
    assert aliases(home)["champion"] == second.run.version
    assert signatures(home, second.run.version)["approved_by"] == "Ana"
    assert lifecycle.promote(home, second.run.version).outcome == "standing"


@pytest.mark.usefixtures("start")
def test_a_champion_of_the_portfolio_before_is_not_compared_with_and_the_record_says_so(home, first, stump):
    entry = promotion.promote(home, stump.run.version, dataset_of=None)
    assert [line.note for line in entry.lines if line.name == "champion"] == [
        f"not compared with version {first}, which is of the portfolio before"
    ]
    assert rollback(home).version == first


@pytest.mark.usefixtures("start")
def test_a_champion_that_changes_during_the_comparison_is_not_overwritten(home, first, second, stump, lax):
    def meanwhile(_):
        lifecycle.promote(home, stump.run.version, gate=lax, dataset=stump.dataset)
        return second.dataset

    with pytest.raises(GateError, match="has changed while"):
        promotion.promote(home, second.run.version, dataset_of=meanwhile)
    assert read_champion(home).version == stump.run.version
    assert rollback(home).version == first


@pytest.mark.usefixtures("start")
def test_rollbacks_go_further_back_and_never_forth(home, here, first, second, stump, lax, tmp_path):
    lifecycle.promote(home, second.run.version)
    lifecycle.promote(home, stump.run.version, gate=lax)
    assert aliases(home) == {"champion": stump.run.version, "archived": second.run.version}

    told = json.loads(here("rollback", "--why", "approvals fell", "--json").stdout)
    assert (told["version"], told["previous"]["version"]) == (second.run.version, stump.run.version)
    assert aliases(home) == {"champion": second.run.version, "archived": stump.run.version}
    assert (home.profiles / "training.bin").read_bytes() == reference(home, second, tmp_path)

    assert here("rollback").stdout.startswith(f"version {first} is champion")
    done = here("rollback")
    assert done.returncode == 1
    assert f"no champion before version {first}" in done.stderr.splitlines()[-1]
    assert read_champion(home).version == first

    done = here("rollback", "--to", "999")
    assert done.returncode == 2
    assert "version 999 was never champion here" in done.stderr.splitlines()[-1]
    assert rollback(home, second.run.version).version == second.run.version
    assert read_champion(home).version == second.run.version

    lines = here("promotions").stdout.splitlines()
    assert [line[2:].split()[2] for line in lines[1:]] == ["promote", "promote", *["rollback"] * 3]
    assert [line.startswith("*") for line in lines] == [False] * 5 + [True]
    assert "approvals fell" in lines[3]
    everything = json.loads(here("promotions", "--json").stdout)["promotions"]
    assert [one["version"] for one in everything] == [line[2:].split()[4] for line in lines[1:]]


@pytest.mark.usefixtures("start")
def test_a_running_service_follows_promotion_and_rollback_without_a_restart(
    home, candor, first, second, finished, monkeypatch
):
    monkeypatch.setattr(follower, "_LOOK_EVERY", 0.05)
    asked = json.dumps({"applicant_id": finished.decision["applicant_id"], "purchase_amount": 900, "term_months": 6})

    def decided_by(live, wanted):
        for _ in range(200):
            answer = live.ask(request("POST", "/predict", asked.encode(), content_type="application/json"))
            assert answer.status == 200  # not one request is dropped over it
            model = answer.json()["model"]
            if model["version"] == wanted:
                return model
            time.sleep(0.02)
        raise AssertionError(f"still {model}")

    with serving(create_app(home)) as live:
        before = decided_by(live, first)
        lifecycle.promote(home, second.run.version, dataset=second.dataset)
        after = decided_by(live, second.run.version)
        assert after["bundle"] == read_champion(home).bundle != before["bundle"]
        candor("rollback")
        assert decided_by(live, first) == before


@pytest.mark.usefixtures("start")
def test_a_rollback_needs_no_mlflow_and_can_be_told_to_it_later(home, first, second, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    lifecycle.promote(home, second.run.version)
    entry = rollback(replace(home, mlflow_override="http://127.0.0.1:9"))
    assert read_champion(home).version == first == entry.version
    assert "127.0.0.1:9" in entry.trouble
    assert f"candor rollback --to {first}" in entry.trouble
    assert aliases(home)["champion"] == second.run.version
    assert rollback(home, first).trouble == ""
    assert aliases(home)["champion"] == first


PROMOTE = ["begin", "write_champion", "follow", "end"]
ROLLBACK = ["begin", "write_champion", "follow", "end"]


def killed_after(monkeypatch, module, step, command):
    whole = getattr(module, step)

    def dies(*given):
        whole(*given)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, step, dies)
        with pytest.raises(Killed):
            command()


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("step", PROMOTE)
def test_a_promotion_killed_after_any_step_is_mended_by_repeating_it(home, first, second, monkeypatch, step, tmp_path):
    def command():
        return lifecycle.promote(home, second.run.version, dataset=second.dataset)

    known = aliases(home)
    killed_after(monkeypatch, promotion, step, command)
    took_effect = step != "begin"
    assert took_effect or aliases(home) == known, "MLflow has never heard of it"
    champion = read_champion(home)
    assert champion.version == (second.run.version if took_effect else first)
    assert load_bundle(bundle_path(home, champion.bundle)).digest == champion.bundle
    command()
    assert read_champion(home).version == second.run.version
    assert aliases(home) == {"champion": second.run.version, "archived": first}
    assert (home.profiles / "training.bin").read_bytes() == reference(home, second, tmp_path)
    outcomes = [entry.outcome for entry in read_record(home)]
    assert outcomes == (["done"] if took_effect else ["cut off", "done"])
    assert rollback(home).version == first


@pytest.mark.usefixtures("start")
def test_a_promotion_that_is_cut_off_and_given_up_leaves_no_trace(home, first, second, stump, monkeypatch, tmp_path):
    profile = home.profiles / "training.bin"
    before, known, signed = profile.read_bytes(), aliases(home), signatures(home, second.run.version)
    killed_after(
        monkeypatch, promotion, "begin", lambda: lifecycle.promote(home, second.run.version, dataset=second.dataset)
    )
    lifecycle.challenge(home, stump.run.version, share=0.0)
    assert aliases(home) == known | {"challenger": stump.run.version}
    assert profile.read_bytes() == before
    assert signatures(home, second.run.version) == signed


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("step", ROLLBACK)
def test_a_rollback_killed_after_any_step_is_finished_by_repeating_it_and_goes_no_further(
    home, first, second, stump, monkeypatch, step, tmp_path
):
    from training import rollback as module

    lifecycle.promote(home, second.run.version, dataset=second.dataset)
    killed_after(monkeypatch, module, step, lambda: module.rollback(home))
    if step == "end":  # it had ended: another one would go further
        assert read_record(home)[-1].action == "rollback"
    else:
        assert module.rollback(home).version == first
    assert read_champion(home).version == first
    assert aliases(home) == {"champion": first, "archived": second.run.version}
    outcomes = [(entry.action, entry.outcome) for entry in read_record(home)[1:]]
    assert outcomes == [("rollback", "cut off")] * (step == "begin") + [("rollback", "done")]


@pytest.mark.usefixtures("start")
def test_a_promotion_killed_by_a_signal_leaves_the_service_alone_and_no_lock(home, first, second):
    code = f"""
import os, signal
from pathlib import Path
from feature_repo.home import Home
from training import promotion, switch
promotion.write_champion = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
home = Home(Path({str(home.root)!r}))
promotion.promote(home, {second.run.version!r}, dataset_of=None)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert read_champion(home).version == first
    lifecycle.promote(home, second.run.version)
    assert [entry.outcome for entry in read_record(home)] == ["cut off", "done"]


@pytest.mark.usefixtures("start")
def test_a_challenge_killed_on_its_way_is_stopped_or_finished(home, second, monkeypatch):
    version = second.run.version

    def command():
        return promotion.challenge(home, version, share=0.0, dataset_of=lambda _: second.dataset)

    killed_after(monkeypatch, promotion, "begin", command)
    assert promotion.stop_challenge(home) is None, "it never began"
    killed_after(monkeypatch, promotion, "write_champion", command)
    assert read_champion(home).challenger.version == version
    command()
    assert aliases(home)["challenger"] == version
    killed_after(monkeypatch, promotion, "write_champion", lambda: promotion.stop_challenge(home))
    assert read_champion(home).challenger is None
    assert promotion.stop_challenge(home).version == version
    assert "challenger" not in aliases(home)


@pytest.mark.usefixtures("start")
def test_a_retraining_compares_promotes_and_reports(home, here, first):
    done = here("retrain", "--trials", "0", "--seed", "9", "--by", "scheduler", "--why", "drift alert", "--json")
    told = json.loads(done.stdout)
    entry = read_record(home)[-1]
    assert (entry.by, entry.why, entry.version) == ("scheduler", "drift alert", told["train"]["version"])
    assert entry.previous.version == first
    assert "auc_difference" in {line["name"] for line in told["promotion"]["lines"]}
    assert read_champion(home).version == told["promotion"]["version"] != first
    assert os.path.isfile(told["train"]["report"])


@pytest.mark.usefixtures("start")
def test_a_retraining_that_makes_the_very_bundle_in_service_has_nothing_new(home, here, first, finished):
    start = f"{finished.outcome.dataset.oot_start:%Y-%m-%d}"
    before = home.champion_path.read_bytes()
    latest = Tracking(home).resolve(None)
    done = here("retrain", "--trials", "0", "--oot-start", start)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("nothing new: version ")
    assert home.champion_path.read_bytes() == before
    assert read_record(home) == []
    told = json.loads(here("retrain", "--trials", "0", "--oot-start", start, "--json").stdout)
    assert (told["promotion"], told["nothing_new"]) == (None, True)
    assert Tracking(home).resolve(None) == latest, "no version was registered"
    assert told["train"]["version"] == first
    assert Tracking(home).tags(told["train"]["run_id"])["nothing_new"] == first
    assert reproduce(home, told["train"]["run_id"]).differs == ()
    assert told["train"]["bundle_digest"] == read_champion(home).bundle


@pytest.mark.usefixtures("start")
def test_the_window_of_a_retraining_rolls_on_with_the_loans_and_never_back(home, finished):
    def window(as_of):
        return window_start(home, as_of=as_of, months=6)

    standing, clock = finished.outcome.dataset.oot_start, home.outcomes_now()
    assert window(clock - timedelta(days=80)) == standing, "not on loans that the champion has learned from"
    decided = np.sort(finished.outcome.dataset.decided)
    border = decided[int((len(decided) - 1) * 0.8)].astype("M8[M]").astype("M8[us]").item()
    assert window(clock) == max(border.replace(tzinfo=UTC), standing)
    with told_by_mlflow(oot_start="2020-01-01T00:00:00Z"):
        earlier, later = window(clock - timedelta(days=300)), window(clock)
    assert earlier < later == border.replace(tzinfo=UTC)


@pytest.mark.usefixtures("start")
def test_a_retraining_before_outcomes_of_the_champions_window_are_known_says_what_it_waits_for(home, here, finished):
    standing = finished.outcome.dataset.oot_start
    done = here("retrain", "--trials", "0", "--as-of", f"{standing + timedelta(days=20):%Y-%m-%d}")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert (
        f"the champion's out-of-time window starts on {standing:%Y-%m-%d}, and of loans decided since then no" in last
    )
    assert "wait for outcomes, or give an earlier --oot-start" in last
    done = here("train", "--trials", "0", "--oot-start", "2035-01-01")
    assert done.returncode == 2
    assert "an out-of-time window from 2035-01-01 on leaves" in done.stderr.splitlines()[-1]


def test_what_nobody_can_know_yet_is_refused_and_other_advice_is_right(home, here):
    later = f"{home.outcomes_now() + timedelta(days=1):%Y-%m-%d}"
    for command in (("train",), ("retrain",)):
        done = here(*command, "--trials", "0", "--as-of", later)
        assert done.returncode == 2
        assert f"--as-of {later} 00:00 is beyond" in done.stderr.splitlines()[-1]
    done = here("train", "--trials", "0", "--performance-months", "600")
    assert done.returncode == 2
    assert "shorten --performance-months" in done.stderr.splitlines()[-1]
    done = here("train", "--run", "x", "--reproduce", "--seed", "3", "--trials", "20")
    assert done.returncode == 2
    assert "--trials, --seed: a run is made again as it was recorded" in done.stderr.splitlines()[-1]


@pytest.mark.usefixtures("start")
def test_a_retraining_that_is_no_better_than_allowed_stops_with_a_report(home, here, strict):
    before = home.champion_path.read_bytes()
    done = here("retrain", "--trials", "0", "--seed", "10", "--gate", str(strict))
    assert done.returncode == 1
    assert "FAILED  oot_auc" in done.stdout
    assert "report   " in done.stdout
    assert "is not promoted: oot_auc" in done.stdout.splitlines()[-1]
    assert home.champion_path.read_bytes() == before


def test_a_second_retraining_is_told_who_is_at_it_and_the_first_is_not_disturbed(home, here):
    with only_one(home.root / ".retrain.lock", "a retraining", "night shift", "monthly"):
        done = here("retrain")
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert f"by night shift since {time.gmtime().tm_year}-" in last
        assert f"process {os.getpid()}" in last
    with only_one(home.root / ".retrain.lock", "a retraining", "day shift", ""):
        pass


@pytest.mark.usefixtures("start")
def test_an_alert_that_asks_for_a_new_model_has_one_once(home, here):
    rule = home.root / "monitor.toml"
    rule.write_text("[rules.silence]\nat_least = 0\nretrain = true\n")
    try:
        told = json.loads(here("monitor", "run", "--retrain", "--trials", "0", "--json").stdout)
        assert told["failed"] == {}
        assert "silence" in {alert["rule"] for alert in told["alerts"] if alert["firing"]}
        assert told["retrained"].startswith(("nothing new: ", "version "))
        assert Path(told["retrained"].partition("; report ")[2]).is_file()
        assert json.loads(here("monitor", "run", "--retrain", "--trials", "0", "--json").stdout)["retrained"] == ""
    finally:
        rule.unlink()
        (home.root / "alerts.json").unlink()


def test_nobody_to_go_back_to_in_an_empty_home(here, tmp_path):
    done = here("rollback", home=tmp_path / "new")
    assert done.returncode == 1
    assert "there is no champion to go back to" in done.stderr.splitlines()[-1]
    assert "nothing was promoted yet" in here("promotions", home=tmp_path / "new").stdout
