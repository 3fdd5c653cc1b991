"""`candor profile` and `candor drift` on files and a log of our own."""

import json
import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from feature_repo.errors import InputError
from feature_repo.home import Home
from monitoring.banding import profile_scored
from monitoring.decision_log import DecisionLog, Entry
from monitoring.profiles import profile_frame, read_profile, summaries, write_profile
from monitoring.segments import BANDS, PD, Segment, banded
from services import observe
from services.commands.watch import drift, profile
from tests.unit.monitoring.test_profile_store import decision

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = Home(root=tmp_path / "home")
    monkeypatch.setenv("CANDOR_HOME", str(home.root))
    monkeypatch.delenv("CANDOR_DECISION_LOG", raising=False)
    monkeypatch.setattr(os, "nice", lambda _: 0)  # who runs the tests is not to be slowed down by them
    return home


@pytest.fixture
def log(home):
    log = DecisionLog(home.decision_log_url)
    rows = [
        decision(
            number, START + timedelta(minutes=number), pd=number / 1000, arm="challenger" if number % 3 else "champion"
        )
        for number in range(300)
    ]
    assert not any(log.append_all([Entry.of(row) for row in rows]))
    yield log
    log.close()


def files(folder, **moved):
    """Write profiles of 1,000 rows each, moved by so many standard deviations, and return their paths."""
    paths = {}
    for seed, (name, shift) in enumerate(moved.items()):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"x": rng.normal(shift, 1, 1000), "y": rng.normal(size=1000), PD: rng.beta(2, 10, 1000)})
        paths[name] = folder / f"{name}.bin"
        write_profile(profile_scored(frame), paths[name])
    return paths


def test_a_window_of_decisions_is_profiled_by_score_band_too(home, log, tmp_path):
    out = tmp_path / "window.bin"
    rows = observe.profile(home, "decisions", START + timedelta(minutes=10), START + timedelta(minutes=200), out)
    found = summaries(read_profile(out))
    assert rows == found["amount"].n == 190
    assert found["amount"].distribution.points[0] == 10
    assert found[banded("amount", BANDS[0])].distribution.points[-1] == 50
    assert read_profile(out).dataset_timestamp == START + timedelta(minutes=10)


def test_a_segment_of_decisions_is_profiled_from_the_command_line(home, log, tmp_path):
    out = tmp_path / "some.bin"
    words = ["--source", "decisions", "--segment", "arm=champion", "--segment", f"band={BANDS[0]}"]
    done = CliRunner().invoke(profile, [*words, "--out", str(out), "--json"])
    assert json.loads(done.stdout) == {"source": "decisions", "rows": 17, "out": str(out)}
    assert set(summaries(read_profile(out))["amount"].distribution.points) == set(range(0, 51, 3))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "training", "--segment", "arm=champion"], "--segment goes with --source decisions"),
        (["--source", "decisions", "--segment", "arm"], "write NAME=VALUE"),
    ],
)
def test_what_is_no_segment_is_refused(home, log, tmp_path, words, message):
    done = CliRunner().invoke(profile, [*words, "--out", str(tmp_path / "p.bin")])
    assert message in done.output + str(done.exception)
    assert not (tmp_path / "p.bin").exists()


def test_a_window_without_decisions_is_told(home, log, tmp_path):
    with pytest.raises(InputError, match="no decisions between 2026-01-01 and 2026-01-02"):
        observe.profile(
            home, "decisions", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), tmp_path / "p"
        )
    with pytest.raises(InputError, match="no decisions"):
        observe.profile(home, "decisions", None, None, tmp_path / "p", Segment(model_version="none"))


def test_drift_writes_each_file_that_is_asked_for_and_exits_3(home, tmp_path):
    paths = files(tmp_path, training=0, monday=0, tuesday=1)
    asked = {name: tmp_path / name for name in ("d.html", "d.json", "d.prom", "viz.html", "constraints.html")}
    options = zip(("--html", "--report", "--gauges", "--viz", "--constraints"), map(str, asked.values()), strict=True)
    words = [
        "--reference",
        str(paths["training"]),
        "--current",
        str(paths["tuesday"]),
        "--previous",
        str(paths["monday"]),
    ]
    done = CliRunner().invoke(drift, [*words, *(word for pair in options for word in pair)])
    assert done.exit_code == 3
    assert done.stdout.splitlines()[1].split()[0] == "x"
    report = json.loads(asked["d.json"].read_bytes())
    assert (report["reference"], report["current"], report["previous"]) == ("training", "tuesday", "monday")
    assert [one["status"] for one in report["since_previous"]] == ["alert", "ok", "ok"]
    assert "tuesday against training, and against monday" in asked["d.html"].read_text()
    assert b"candor_drift_alert 1.0" in asked["d.prom"].read_bytes()
    assert "Constraints Report" in asked["constraints.html"].read_text()
    assert "x" in asked["viz.html"].read_text()


def test_the_homes_thresholds_hold_and_a_file_that_is_given_wins(home, tmp_path):
    paths = files(tmp_path, training=0, today=1)
    words = ["--reference", str(paths["training"]), "--current", str(paths["today"]), "--json"]
    assert CliRunner().invoke(drift, words).exit_code == 3
    home.root.mkdir()
    (home.root / "thresholds.toml").write_text("[features.x]\nreport_only = true\n")
    calm = CliRunner().invoke(drift, words)
    assert calm.exit_code == 0
    assert json.loads(calm.stdout)["features"][0]["report_only"] is True
    given = tmp_path / "given.toml"
    given.write_text("[features.x]\nreport_only = false\n")
    assert CliRunner().invoke(drift, [*words, "--thresholds", str(given)]).exit_code == 3
    given.write_text("[features.z]\npsi_alert = 1\n")
    done = CliRunner().invoke(drift, [*words, "--thresholds", str(given)])
    assert "features.z is in none of the profiles" in str(done.exception)


def test_profiles_without_score_bands_are_compared_without(home, tmp_path):
    path = tmp_path / "plain.bin"
    write_profile(profile_frame(pd.DataFrame({"x": np.arange(300.0)})), path)
    (feature,) = observe.drift(path, path, observe.thresholds(home)).features
    assert (feature.bands, feature.csi, feature.status) == ((), None, "ok")
