import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError
from training.promotion_gate import (
    DEFAULT_GATE,
    fairness_lost_line,
    latency_line,
    metric_lines,
    read_gate,
    refusals,
    size_line,
)

GATE, DIGEST = read_gate(DEFAULT_GATE)
GOOD = {"oot_auc": 0.7, "oot_ece": 0.02, "oot_psi": 0.03, "fairness_worst_air_high": 0.97}


def edited(tmp_path, key, value):
    text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", DEFAULT_GATE.read_text(), flags=re.MULTILINE)
    assert count == 1
    path = tmp_path / "gate.toml"
    path.write_text(text)
    return path


def test_another_file_has_other_lines_and_another_digest(tmp_path):
    gate, digest = read_gate(edited(tmp_path, "min_oot_auc", "0.75"))
    assert gate.min_oot_auc == 0.75
    assert digest != DIGEST
    assert refusals(metric_lines(gate, GOOD)) == ["oot_auc 0.7 is below 0.75"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-0.1", "1.1", '"0.7"', "true"])
def test_a_line_is_a_finite_number_in_its_range(tmp_path, value):
    with pytest.raises(InputError, match=r"gate .*gate\.toml: .*min_oot_auc"):
        read_gate(edited(tmp_path, "min_oot_auc", value))


@pytest.mark.parametrize("key", ["max_oot_psi", "level", "max_explainer_mb", "max_score_us"])
def test_no_line_may_be_infinite(tmp_path, key):
    for value in ("inf", "nan"):
        with pytest.raises(InputError, match=key):
            read_gate(edited(tmp_path, key, value))


def test_an_unknown_or_missing_line_or_no_toml_is_refused(tmp_path):
    path = tmp_path / "gate.toml"
    text = DEFAULT_GATE.read_text()
    for wrong, told in (
        (text + "min_oot_ks = 0.2\n", "min_oot_ks"),
        (text.replace("max_oot_ece = 0.10", ""), "max_oot_ece"),
        ("= 3", "gate.toml"),
        ('version = "\udcff"', "gate.toml"),
    ):
        path.write_text(wrong, errors="surrogateescape")
        with pytest.raises(InputError, match=told):
            read_gate(path)
    with pytest.raises(InputError, match="No such file"):
        read_gate(tmp_path / "none.toml")


def test_a_sound_candidate_passes_and_every_line_says_what_was_measured():
    lines = metric_lines(GATE, GOOD)
    assert refusals(lines) == []
    assert {line.name: line.value for line in lines} == GOOD


@pytest.mark.parametrize("metric", ["oot_auc", "oot_ece", "oot_psi"])
def test_a_metric_that_was_not_recorded_or_is_no_number_is_refused(metric):
    without = {name: value for name, value in GOOD.items() if name != metric}
    for metrics in (without, without | {metric: float("nan")}):
        assert refusals(metric_lines(GATE, metrics)) == [f"{metric} was not recorded: train again"]


def test_fairness_that_nobody_could_measure_is_said_and_passes():
    line = metric_lines(GATE, {name: value for name, value in GOOD.items() if name != "fairness_worst_air_high"})[-1]
    assert (line.name, line.passed, line.value) == ("fairness_worst_air_high", True, None)
    assert "no protected attribute" in line.note


def test_what_the_champions_run_measured_must_be_measured_again(tmp_path):
    measured = {"fairness_worst_air_high": 0.9, "fairness_air_high.sex": 0.9, "fairness_air_high.age": 0.95}
    assert fairness_lost_line(GATE, GOOD | measured, GOOD | measured, "version 1").passed
    assert fairness_lost_line(GATE, GOOD | measured, {}, "version 1").passed
    without_sex = {name: value for name, value in measured.items() if "sex" not in name}
    line = fairness_lost_line(GATE, without_sex, measured, "version 1")
    assert (line.value, line.limit, line.passed) == (1, 0, False)
    assert line.note.startswith("the run of version 1 compared groups by sex, and this one could not")
    assert fairness_lost_line(GATE, {}, measured, "version 1").value == 2
    (reason,) = refusals([fairness_lost_line(GATE, {}, GOOD, "version 1")])
    assert "by protected attributes, and this one could not" in reason
    lenient, _ = read_gate(edited(tmp_path, "max_attributes_lost", "1"))
    assert fairness_lost_line(lenient, without_sex, measured, "version 1").passed


def test_fairness_is_refused_only_if_even_the_upper_end_is_below_four_fifths():
    assert refusals(metric_lines(GATE, GOOD | {"fairness_worst_air_high": 0.8})) == []
    assert refusals(metric_lines(GATE, GOOD | {"fairness_worst_air_high": 0.79})) == [
        "fairness_worst_air_high 0.79 is below 0.8"
    ]
    assert refusals(metric_lines(GATE, GOOD | {"fairness_worst_air_high": float("nan")}))


@given(
    st.fixed_dictionaries({name: st.floats(0, 1) for name in GOOD}),
)
def test_each_line_is_crossed_by_its_own_metric_alone(metrics):
    crossed = {
        "oot_auc": metrics["oot_auc"] < GATE.min_oot_auc,
        "oot_ece": metrics["oot_ece"] > GATE.max_oot_ece,
        "oot_psi": metrics["oot_psi"] > GATE.max_oot_psi,
        "fairness_worst_air_high": metrics["fairness_worst_air_high"] < GATE.min_air_high,
    }
    lines = metric_lines(GATE, metrics)
    assert {line.name: not line.passed for line in lines} == crossed
    assert [reason.split()[0] for reason in refusals(lines)] == [
        name for name, is_crossed in crossed.items() if is_crossed
    ]


def test_size_and_time_are_told_in_their_units():
    size, time = size_line(GATE, 65_000_000), latency_line(GATE, 0.0019)
    assert (size.value, size.passed, size.note) == (65.0, False, "explainer_mb 65 is above 64")
    assert (time.value, time.passed) == (pytest.approx(1900), True)
