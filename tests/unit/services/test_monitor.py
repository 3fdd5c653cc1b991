"""Monitoring cycles on homes of our own: a log, a reference, outcomes."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from feature_repo.errors import GateError, UnavailableError
from feature_repo.home import Home
from monitoring.banding import profile_scored
from monitoring.decision_log import DecisionLog
from monitoring.log_tables import decisions
from monitoring.outcomes import Outcome, Outcomes
from monitoring.profiles import write_profile
from services import monitor, present_monitor
from services.commands.monitor import monitor as command
from services.commands.monitor import performance
from services.turn import only_one
from tests.benchmarks.many_decisions import fill, inputs

HOUR = timedelta(hours=1)
MOVED = {"annual_income", "credit_utilization", "inflow_90d"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a home with the profile of what a model was trained on."""
    home = Home(root=tmp_path / "home")
    for name in ("CANDOR_DECISION_LOG", "CANDOR_AS_OF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANDOR_HOME", str(home.root))
    monkeypatch.setattr(os, "nice", lambda _: 0)
    frame = pd.DataFrame(inputs(np.random.default_rng(1), 20_000))
    write_profile(profile_scored(frame), home.profiles / "training.bin")
    return home


@pytest.fixture
def log(home):
    log = DecisionLog(home.decision_log_url)
    yield log
    log.close()


def this_hour():
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def drifted(cycle):
    return {alert.subject for alert in cycle.firing if alert.rule == "drift"}


def test_a_calm_day_alerts_on_nothing_and_writes_its_pages(home, log):
    start = this_hour() - 40 * HOUR
    fill(log, 4000, start, 40 * HOUR)
    cycle = monitor.run(home)
    assert (cycle.failed, cycle.undelivered, cycle.firing, cycle.exit_code) == ({}, {}, [], 0)
    assert cycle.period.end - cycle.period.start == timedelta(days=1)
    watched = sum(start + 40 * HOUR * (n / 4000) >= cycle.period.start for n in range(4000))
    assert (cycle.profiled, cycle.decisions) == (4000, watched)
    assert set(cycle.pages) == {
        *(f"{name}.{kind}" for name in ("drift", "performance") for kind in ("html", "json", "prom")),
        "alerts.prom",
    }
    assert all(path.stat().st_size for path in cycle.pages.values())
    assert "http" not in cycle.pages["performance.html"].read_text()
    assert json.loads(cycle.pages["performance.json"].read_bytes())["current"]["decisions"] == watched


def test_a_shift_alerts_once_and_names_the_features(home, log):
    fill(log, 1500, this_hour() - 2 * HOUR, 2 * HOUR, moved=1.0)
    first = monitor.run(home)
    assert drifted(first) == MOVED
    assert first.exit_code == 3
    assert [(notice.rule, notice.kind) for notice in first.told] == [("drift", "begins")]
    again = monitor.run(home)
    assert drifted(again) == MOVED
    assert again.told == []
    assert again.profiled == 0
    lines = (home.reports / "alerts.jsonl").read_text().splitlines()
    assert [json.loads(line)["rule"] for line in lines] == ["drift"]


def test_few_decisions_are_watched_over_a_longer_time(home, log):
    fill(log, 1500, this_hour() - timedelta(days=5), timedelta(days=5))
    assert (monitor.run(home).decisions, monitor.run(home).period.start) == (
        1500,
        this_hour() + HOUR - timedelta(days=7),
    )


def test_a_log_without_recent_decisions_is_told_as_silence(home, log):
    fill(log, 50, this_hour() - timedelta(days=40), HOUR)
    cycle = monitor.run(home)
    assert [alert.rule for alert in cycle.firing] == ["silence"]
    assert cycle.drift is None
    assert cycle.exit_code == 3


def test_matured_loans_that_default_more_than_was_said_and_are_not_ranked_alert(home, log):
    fill(log, 3000, this_hour() - timedelta(days=700), timedelta(days=200))
    rng = np.random.default_rng(2)
    with log.database.connect() as connection:
        rows = connection.execute(
            sa.select(decisions.c.decision_id, decisions.c.pd, decisions.c.as_of).where(
                decisions.c.recommendation == "APPROVED"
            )
        ).all()
    found = [
        Outcome(
            outcome="DEFAULTED" if rng.random() < 0.2 else "REPAID",
            observed_at=row.as_of.replace(tzinfo=UTC) + timedelta(days=380),
            decision_id=row.decision_id,
        )
        for row in rows
    ]
    Outcomes(log.database).store(found)
    cycle = monitor.run(home)
    rules = {(alert.rule, alert.subject) for alert in cycle.firing}
    assert {("underestimated", "all"), ("ranking", "")} <= rules
    matured = cycle.performance.matured
    assert matured.ratio.low > 1.5
    assert matured.measures.auc_high < matured.measures.expected_auc - 0.02


def test_what_cannot_be_done_is_an_alert_of_its_own_and_the_rest_is_done(home, log):
    fill(log, 1200, this_hour() - HOUR, HOUR)
    (home.profiles / "training.bin").write_bytes(b"no profile")
    cycle = monitor.run(home)
    assert set(cycle.failed) == {"drift"}
    assert {(alert.rule, alert.subject) for alert in cycle.firing} == {("monitor", "drift")}
    assert cycle.performance.current.decisions == 1200
    assert cycle.exit_code == 1
    assert "candor_monitor_failed_steps 1.0" in cycle.pages["alerts.prom"].read_text()


def test_damaged_alerts_are_moved_aside_and_told(home, log):
    fill(log, 1500, this_hour() - HOUR, HOUR, moved=1.0)
    monitor.run(home)
    (home.root / "alerts.json").write_text("{")
    cycle = monitor.run(home)
    assert cycle.exit_code == 1
    assert "alerts.json is damaged" in cycle.failed["alerts"]
    assert {(notice.rule, notice.kind) for notice in cycle.told} == {("drift", "begins"), ("monitor", "begins")}
    assert len(list(home.root.glob("alerts.damaged-*.json"))) == 1
    again = monitor.run(home)
    assert (again.failed, again.told, again.exit_code) == ({}, [], 3)
    assert [alert.subject for alert in again.alerts if alert not in again.firing] == ["alerts"]


def test_what_is_mended_is_no_longer_met(home, log):
    fill(log, 1200, this_hour() - HOUR, HOUR)
    profile = (home.profiles / "training.bin").read_bytes()
    (home.profiles / "training.bin").unlink()
    assert monitor.run(home).exit_code == 1
    (home.profiles / "training.bin").write_bytes(profile)
    cycle = monitor.run(home)
    assert (cycle.firing, cycle.exit_code) == ([], 0)
    assert [alert.rule for alert in cycle.alerts] == ["monitor"]
    assert "not now    monitor drift, last met" in present_monitor.cycle(cycle)
    assert [alert["firing"] for alert in cycle.to_json()["alerts"]] == [False]


def test_watching_survives_what_keeps_a_cycle_from_being_gone_through(home, log, monkeypatch, caplog):
    (home.root / "alerts.json").mkdir(parents=True)
    cycles = []

    def twice(found_home, retrain=None):
        cycles.append(1)
        if len(cycles) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            raise ZeroDivisionError
        return run(found_home, retrain)

    run = monitor.run
    monkeypatch.setattr(monitor, "run", twice)
    monitor.watch(home, timedelta(seconds=0.01), lambda cycle: None)
    assert len(cycles) == 3
    assert caplog.text.count("alerts.json cannot be read: Is a directory") == 2
    assert "it has a defect" in caplog.text


def test_a_home_without_a_log_is_told_so(home):
    cycle = monitor.run(home)
    assert {"profiles", "performance"} == set(cycle.failed)
    assert "there is no decision log" in cycle.failed["profiles"]
    assert not (home.root / "decisions.db").exists()


def test_a_new_model_is_asked_for_once_for_what_has_begun(home, log):
    fill(log, 1500, this_hour() - HOUR, HOUR, moved=1.0)
    asked = []
    cycle = monitor.run(home, lambda why: asked.append(why) or "version 4 is champion")
    assert (asked, cycle.retrained) == (["alert: drift"], "version 4 is champion")
    monitor.run(home, lambda why: asked.append(why) or "")
    assert len(asked) == 1


def test_a_retraining_that_fails_is_told_and_not_tried_in_each_cycle(home, log):
    fill(log, 1500, this_hour() - HOUR, HOUR, moved=1.0)

    def fails(why):
        raise GateError("training_frame: 3 rows break this")

    cycle = monitor.run(home, fails)
    assert cycle.failed == {"retrain": "training_frame: 3 rows break this"}
    assert ("monitor", "retrain") in {(alert.rule, alert.subject) for alert in cycle.firing}
    assert [(notice.rule, notice.kind) for notice in cycle.told] == [("drift", "begins"), ("monitor", "begins")]
    assert monitor.run(home, fails).failed == {}


def test_a_retraining_that_something_was_not_there_for_is_tried_again(home, log):
    fill(log, 1500, this_hour() - HOUR, HOUR, moved=1.0)

    def busy(why):
        raise UnavailableError("a search is under way in this home")

    assert monitor.run(home, busy).failed == {"retrain": "a search is under way in this home"}
    assert monitor.run(home, lambda why: "version 4 is champion").retrained == "version 4 is champion"
    assert monitor.run(home, busy).failed == {}


def test_a_defect_in_a_step_does_not_end_the_cycle(home, log, monkeypatch):
    fill(log, 1200, this_hour() - HOUR, HOUR)

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(monitor.steps, "performance", broken)
    cycle = monitor.run(home)
    assert "a defect, ZeroDivisionError" in cycle.failed["performance"]
    assert cycle.drift is not None


def test_two_cycles_at_once_do_not_mix(home, log):
    fill(log, 1200, this_hour() - HOUR, HOUR)
    with only_one(home.root / ".monitor.lock", "a cycle", "x"), pytest.raises(UnavailableError, match="by x since"):
        monitor.run(home)
    assert monitor.run(home).exit_code == 0


def test_the_command_tells_people_and_machines(home, log):
    fill(log, 1500, this_hour() - HOUR, HOUR, moved=1.0)
    done = CliRunner().invoke(command, ["run"])
    assert done.exit_code == 3
    assert "critical   drift, since" in done.stdout
    assert "What to do: Open the drift page." in done.stdout
    told = json.loads(CliRunner().invoke(command, ["run", "--json"]).stdout)
    assert {alert["subject"] for alert in told["alerts"] if alert["rule"] == "drift"} == MOVED
    assert told["told"] == []


def test_performance_alone_is_shown(home, log, tmp_path):
    fill(log, 300, this_hour() - HOUR, HOUR)
    done = CliRunner().invoke(performance, ["--html", str(tmp_path / "p.html"), "--report", str(tmp_path / "p.json")])
    assert done.exit_code == 0
    assert "300 decisions, approved" in done.stdout
    assert json.loads((tmp_path / "p.json").read_bytes())["current"]["decisions"] == 300
    assert "Performance" in (tmp_path / "p.html").read_text()


def test_watching_goes_on_from_cycle_to_cycle_until_it_is_asked_to_end(home, log):
    fill(log, 1200, this_hour() - HOUR, HOUR)
    process = subprocess.Popen(
        [sys.executable, "-m", "services", "monitor", "watch", "--every", "1"],
        env=os.environ | {"CANDOR_HOME": str(home.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (home.reports / "monitor" / "alerts.prom").exists() and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "alerts     none" in out
