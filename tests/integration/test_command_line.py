"""What a user types, in processes of their own: results, exit codes, one clear line on errors."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import msgspec
import pytest
import redis
from click.testing import CliRunner

from feature_repo.home import REPO_PATH, Home
from services import embedded
from services.cli import cli
from tests.integration.conftest import PROJECT

BIN = Path(sys.executable).parent


def contents(home):
    host, port = home.redis.split(":")
    with redis.Redis(host, int(port)) as client:
        return {key: client.hgetall(key) for key in client.scan_iter()}


def one_line(done, code, *words):
    assert done.returncode == code, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("candor: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.strip().splitlines()[-1]


def test_help_is_instant_and_every_command_has_an_example(candor):
    start = time.perf_counter()
    text = candor("--help").stdout
    assert time.perf_counter() - start < 2  # the promise is 0.5 s; a busy machine gets some grace
    commands = [line.split()[0] for line in text.partition("Commands:\n")[2].splitlines() if line.startswith("  ")]
    commands = [name for name in commands if not name.startswith("-")]
    assert {"demo", "ingest", "validate", "materialize", "push", "train", "promote", "serve", "score", "profile",
            "drift", "env", "mlflow", "stop", "doctor"} <= set(commands)  # fmt: skip
    for command in commands:
        assert "Example: candor" in candor(command, "--help").stdout or command == "env"


def test_help_imports_nothing_heavy():
    probe = (
        "import sys, services.cli; print([m for m in ('feast','mlflow','pandas','numpy','duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == "[]"


def test_env_lets_plain_feast_work(candor, finished):
    exports = candor("env").stdout
    facts = json.loads(candor("env", "--json").stdout)
    assert {"redis", "repo_path", "feature_store_yaml", "mlflow_tracking_uri", "decision_log", "home"} <= set(facts)
    assert facts["redis"] == finished.home.redis
    before = contents(finished.home)
    script = f'{exports}\nset -e\ncd "{REPO_PATH}"\n"{BIN}/feast" feature-views list\n"{BIN}/feast" apply\n'
    script += f'"{BIN}/feast" materialize 2024-01-01T00:00:00 2026-01-01T00:00:00\n'
    script += f'"{BIN}/feast" materialize-incremental 2026-01-01T00:00:00\n'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=PROJECT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "credit_bureau" in done.stdout
    assert "CandorOnlineStore" in done.stdout
    assert "it/s" not in done.stdout + done.stderr  # a bar is for a terminal
    assert contents(finished.home) == before


def test_score_prints_terms_and_reasons_a_person_can_read(candor, finished):
    applicant = finished.decision["applicant_id"]
    text = candor("score", applicant, "--purchase-amount", "3500", "--term-months", "12").stdout
    assert applicant in text
    assert "PD" in text
    assert "data     credit_bureau: PRESENT" in text


def test_score_json_is_the_http_response(candor, finished):
    applicant = finished.decision["applicant_id"]
    answer = json.loads(candor("score", applicant, "--purchase-amount", "900", "--json").stdout)
    assert set(finished.decision) <= set(answer)


def test_an_unknown_applicant_is_bad_input(candor):
    one_line(candor("score", "NOBODY", "--purchase-amount", "100", ok=False), 2, "NOBODY")


def test_no_model_yet(candor, tmp_path, finished):
    done = candor(
        "score", "A", "--purchase-amount", "1", home=tmp_path / "new", ok=False, CANDOR_REDIS=finished.home.redis
    )
    one_line(done, 1, "candor train")


def test_an_id_that_is_not_text(candor):
    one_line(candor("score", b"A\xff", "--purchase-amount", "5", ok=False), 2, "applicant_id")


def test_own_tables_go_the_whole_way(candor, finished, tmp_path):
    home = tmp_path / "own"
    candor("ingest", "tables", "--from", str(finished.home.sources), home=home)
    clock = {"CANDOR_AS_OF": "2026-01-01"}
    try:
        assert candor("validate", home=home, **clock).returncode == 0
        candor("materialize", home=home, **clock)
        trained = json.loads(
            candor("train", "--oot-start", "2025-03-01", "--trials", "0", "--json", home=home, **clock).stdout
        )
        assert trained["model_digest"] == finished.outcome.candidate.model_digest
        candor("promote", home=home, **clock)
        applicant = finished.decision["applicant_id"]
        answer = json.loads(candor("score", applicant, "--purchase-amount", "900", "--json", home=home, **clock).stdout)
        assert {view["status"] for view in answer["freshness"].values()} == {"PRESENT"}
    finally:
        candor("stop", home=home)


def test_what_is_not_true_yet_is_not_known(candor, finished):
    applicant = finished.decision["applicant_id"]
    done = candor("score", applicant, "--purchase-amount", "900", ok=False, CANDOR_AS_OF="2023-01-01")
    one_line(done, 2, applicant)


def test_no_decision_while_the_store_is_being_filled(candor, finished):
    state = finished.home.state()
    finished.home.save_state(msgspec.structs.replace(state, refilling=True))
    try:
        one_line(candor("score", "A", "--purchase-amount", "9", ok=False), 1, "candor materialize")
    finally:
        finished.home.save_state(state)


def test_redis_down(candor, finished):
    done = candor("score", "A", "--purchase-amount", "1", ok=False, CANDOR_REDIS="127.0.0.1:1")
    one_line(done, 1, "127.0.0.1:1")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("ingest", "nowhere"), "nowhere"),
        (("ingest", "berka"), "--from"),
        (("ingest", "lendingclub", "--from", "absent-folder"), "absent-folder"),
        (("validate", "no_such_table"), "no_such_table"),
        (("drift", "--reference", "absent.bin", "--current", "absent.bin"), "absent.bin"),
    ],
)
def test_bad_input_is_named(candor, words, named):
    one_line(candor(*words, ok=False), 2, named)


@pytest.mark.parametrize(
    "words",
    [
        ("replay", "--all"),
        ("replay", "--from", "2026-01-01"),
        ("replay", "01a205d0-20af-7aba-912c-c855649aa3f6"),
        ("notice", "01a205d0-20af-7aba-912c-c855649aa3f6"),
        ("profile", "--source", "decisions", "--out", "never.bin"),
        ("outcomes", "load", "never.csv"),
    ],
)
def test_a_log_that_is_not_there_is_told_and_not_made(candor, tmp_path, words):
    done = candor(*words, home=tmp_path / "typo", ok=False)
    one_line(done, 1, "no decision log", str(tmp_path / "typo" / "decisions.db"))
    assert not done.stdout
    assert not list(tmp_path.iterdir())
    elsewhere = candor(*words, ok=False, CANDOR_DECISION_LOG=f"sqlite:///{tmp_path}/other.db")
    one_line(elsewhere, 1, "no decision log", str(tmp_path / "other.db"))
    assert not list(tmp_path.iterdir())


def test_a_log_with_a_wrong_address_is_told_as_that(candor, tmp_path):
    one_line(candor("replay", "--all", ok=False, CANDOR_DECISION_LOG="decisions.db"), 2, "needs a URL")
    one_line(candor("replay", "--all", ok=False, CANDOR_DECISION_LOG="mysql://a/b"), 2, "not on mysql")


@pytest.mark.parametrize("value", ["2026-13-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00"])
@pytest.mark.parametrize("words", [("replay", "--from"), ("profile", "--to"), ("materialize", "--to")])
def test_an_instant_that_is_none_is_told_by_the_options_own_name(words, value):
    done = CliRunner().invoke(cli, [*words, value])
    assert done.exit_code == 2
    assert f"Invalid value for '{words[-1]}': '{value}' " in done.output
    assert "--start" not in done.output
    assert "--end" not in done.output


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1"])
@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create", "--name", "a", "--scope", "decide", "--rate"),
        ("serve", "--rate-limit"),
        ("challenge", "1", "--share"),
    ],
)
def test_a_rate_is_a_finite_number(tmp_path, words, value):
    done = CliRunner().invoke(cli, [*words, value], env={"CANDOR_HOME": str(tmp_path / "home")})
    assert done.exit_code == 2
    assert f"Invalid value for '{words[-1]}': " in done.output
    assert not list(tmp_path.iterdir())


def test_an_instant_needs_a_zone(candor):
    done = candor("train", "--oot-start", "2025-07-01T12:00:00", ok=False)
    assert done.returncode == 2
    assert "time zone" in done.stderr


def test_nothing_is_lost_when_an_ingest_fails(candor, finished, tmp_path):
    before = {path: path.read_bytes() for path in finished.home.sources.rglob("*.parquet")}
    (tmp_path / "loans_2007_2011.parquet").write_bytes(b"PAR1 truncated")
    assert candor("ingest", "lendingclub", "--from", str(tmp_path), ok=False).returncode == 2
    assert {path: path.read_bytes() for path in finished.home.sources.rglob("*.parquet")} == before


def test_a_failed_gate_exits_1_and_leaves_redis_as_it_was(candor, finished, tmp_path):
    before = contents(finished.home)
    assert before
    poisoned = Home(root=tmp_path / "poisoned")
    shutil.copytree(finished.home.sources, poisoned.sources)
    shutil.copy(finished.home.state_path, poisoned.state_path)
    table = poisoned.sources / "credit_bureau" / "data.parquet"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            f"""copy (select * replace (case when credit_utilization > 0.5 then -3 else credit_utilization end
                as credit_utilization) from '{table}') to '{table.with_suffix(".new")}' (format parquet)"""
        )
    table.with_suffix(".new").replace(table)
    elsewhere = {"home": poisoned.root, "CANDOR_REDIS": finished.home.redis}
    assert candor("validate", ok=False, **elsewhere).returncode == 1
    done = candor("materialize", ok=False, **elsewhere)
    one_line(done, 1, "credit_bureau", "credit_utilization")
    assert contents(finished.home) == before
    assert (poisoned.reports / "data-docs" / "index.html").exists()


def test_drift_exits_0_on_the_same_profile_and_3_on_a_shifted_one(candor, finished, tmp_path):
    reference, shifted = tmp_path / "training.bin", tmp_path / "shifted.bin"
    candor("profile", "--source", "training", "--out", str(reference))
    same = candor("drift", "--reference", str(reference), "--current", str(reference), "--json")
    assert json.loads(same.stdout)["alert"] is False
    from monitoring.profiles import profile_frame, write_profile
    from services.pipeline import reference_frame

    frame = reference_frame(finished.outcome.dataset, finished.outcome.candidate)
    frame["credit_utilization"] += frame["credit_utilization"].std()
    write_profile(profile_frame(frame), shifted)
    page, report = tmp_path / "drift.html", tmp_path / "drift.json"
    done = candor("drift", "--reference", str(reference), "--current", str(shifted), "--html", str(page),
                  "--report", str(report), ok=False)  # fmt: skip
    assert done.returncode == 3
    assert "credit_utilization" in done.stdout.splitlines()[1]
    assert json.loads(report.read_text())["alert"] is True
    assert "http" not in page.read_text().replace("http://www.w3.org/2000/svg", "")


def test_decisions_and_features_can_be_profiled(candor, finished, tmp_path):
    rows = json.loads(candor("profile", "--source", "decisions", "--out", str(tmp_path / "d.bin"), "--json").stdout)[
        "rows"
    ]
    assert rows >= 1
    candor("profile", "--source", "features", "--out", str(tmp_path / "f.bin"))
    assert (tmp_path / "f.bin").stat().st_size > 1000


def test_doctor_is_content_with_a_finished_home_and_advises_an_empty_one(candor, tmp_path):
    assert candor("doctor").returncode == 0
    done = candor("doctor", home=tmp_path / "empty", ok=False)
    assert done.returncode == 1
    assert "candor ingest" in done.stdout


def test_two_homes_do_not_collide_and_stop_ends_only_its_own(candor, finished, tmp_path):
    second = tmp_path / "second"
    facts = json.loads(candor("env", "--json", home=second).stdout)
    assert facts["redis"] != finished.home.redis
    assert json.loads(candor("stop", "--json", home=second).stdout) == {"redis_stopped": True}
    assert json.loads(candor("stop", "--json", home=second).stdout) == {"redis_stopped": False}
    assert contents(finished.home)


def test_the_embedded_redis_keeps_its_data_over_a_stop(candor, finished):
    before = contents(finished.home)
    assert embedded.stop(finished.home)
    candor("env")
    assert contents(finished.home) == before


def test_a_demo_run_twice_ends_the_same(tmp_path, candor):
    home = tmp_path / "twice"
    try:
        runs = [
            json.loads(candor("demo", "--applicants", "1200", "--no-serve", "--json", home=home).stdout) for _ in "ab"
        ]
    finally:
        candor("stop", home=home)
    first, second = (run["train"] for run in runs)
    assert (first["dataset_digest"], first["model_digest"]) == (second["dataset_digest"], second["model_digest"])
    assert first["version"] != second["version"]
    volatile = {"decision_id", "decided_at", "model"}
    assert [{k: v for k, v in run["decision"].items() if k not in volatile} for run in runs][0] == [
        {k: v for k, v in run["decision"].items() if k not in volatile} for run in runs
    ][1]


def test_make_targets_are_those_promised():
    command = ["make", "--no-print-directory", "help"]
    text = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    named = {line.split()[1] for line in text.splitlines()}
    assert named == {"help", "demo", "test", "check", "bench", "serve", "clean", "notebooks"}
