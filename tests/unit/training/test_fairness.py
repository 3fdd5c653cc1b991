import math

import numpy as np
import pytest

from training.fairness import FairnessReport, GroupResult, measure_fairness
from training.scored import ScoredLoans
from training.uncertainty import Interval


def loans(pd, defaulted, score=None):
    n = len(pd)
    return ScoredLoans(
        decided=np.full(n, np.datetime64("2025-01-01", "us")),
        pd=np.asarray(pd, float),
        score=np.asarray(score if score is not None else np.full(n, 700), np.int64),
        defaulted=np.asarray(defaulted, bool),
    )


def of(report, group):
    return next(one for one in report.groups if one.group == group)


def two_groups():
    """Of 100 women 60 are approved and of 100 men 80; 50 of the approved women repay, 75 of the men."""
    pd = np.array([0.1] * 60 + [0.3] * 40 + [0.1] * 80 + [0.3] * 20)
    defaulted = np.zeros(200, bool)
    defaulted[50:60] = defaulted[80:100] = True  # women: 50 good approved, 20 good declined
    defaulted[175:180] = defaulted[190:200] = True  # men: 75 good approved, 10 good declined
    score = np.array([640] * 50 + [660] * 50 + [680] * 50 + [720] * 50)
    return {"sex": np.array(["female"] * 100 + ["male"] * 100, object)}, loans(pd, defaulted, score)


def test_rates_ratios_and_gaps_by_hand():
    report = measure_fairness(*two_groups(), cutoff=0.2)
    women, men = of(report, "female"), of(report, "male")
    assert (women.reference, men.reference) == (False, True)
    assert (women.approval.estimate, men.approval.estimate) == (0.6, 0.8)
    assert women.adverse_impact_ratio.estimate == pytest.approx(0.75)
    assert men.adverse_impact_ratio is None, "nobody is compared with themselves"
    assert women.opportunity_gap.estimate == pytest.approx(50 / 70 - 75 / 85)
    assert women.calibration_gap.estimate == pytest.approx(0.18 - 0.30)
    # means 650 and 700; variances 100 * 100 / 99 and 400 * 100 / 99
    assert women.score_difference.estimate == pytest.approx(-50 / math.sqrt(250 * 100 / 99))


def test_the_ratios_interval_is_katzs_with_half_a_loan_more_of_each_outcome():
    women = of(measure_fairness(*two_groups(), cutoff=0.2), "female")
    error = math.sqrt(1 / 60.5 - 1 / 101 + 1 / 80.5 - 1 / 101)
    centre = math.log(60.5 / 101) - math.log(80.5 / 101)
    assert women.adverse_impact_ratio.low == pytest.approx(math.exp(centre - 1.959964 * error))
    assert women.adverse_impact_ratio.high == pytest.approx(math.exp(centre + 1.959964 * error))


def test_only_a_ratio_that_is_surely_below_four_fifths_is_said_to_be():
    report = measure_fairness(*two_groups(), cutoff=0.2)
    assert not of(report, "female").below_four_fifths, "0.75, but of a hundred"
    groups, few = two_groups()
    many = loans(np.tile(few.pd, 20), np.tile(few.defaulted, 20))
    assert of(measure_fairness({"sex": np.tile(groups["sex"], 20)}, many, 0.2), "female").below_four_fifths


def test_ages_are_told_in_bands_and_the_unknown_apart():
    ages = np.array([18, 24, 25, 34, 35, 49, 50, 61, 62, 99, None, float("nan")] * 40, object)
    report = measure_fairness({"age": ages}, loans(np.full(480, 0.1), np.tile([True, False], 240)), 0.2)
    assert {one.group: one.loans for one in report.groups} == {
        "under 25": 80, "25 to 34": 80, "35 to 49": 80, "50 to 61": 80, "62 and over": 80, "unknown": 80,
    }  # fmt: skip
    assert not of(report, "unknown").reference


def test_of_too_few_nothing_is_said():
    sex = np.array(["female"] * 29 + ["male"] * 100, object)
    report = measure_fairness({"sex": sex}, loans(np.full(129, 0.1), np.arange(129) % 9 == 0), 0.2)
    assert of(report, "female") == GroupResult(attribute="sex", group="female", loans=29, reference=False)
    assert report.metrics() == {}
    assert "fewer than two known groups" in report.notes[0]


def test_without_protected_attributes_the_report_says_so():
    report = measure_fairness({}, loans([0.1, 0.3], [True, False]), 0.2)
    assert (report.groups, report.metrics()) == ((), {})
    assert "nothing was measured" in report.notes[0]


def test_metrics_are_of_the_worst_group():
    groups = tuple(
        GroupResult(attribute="a", group=name, loans=99, reference=False, adverse_impact_ratio=Interval(*ratio))
        for name, ratio in (("x", (0.7, 0.5, 0.9)), ("y", (0.75, 0.7, 0.78)))
    )
    assert FairnessReport(groups=groups).metrics() == {"fairness_worst_air": 0.7, "fairness_worst_air_high": 0.78}


def test_everybody_and_nobody_approved_have_intervals_too():
    sex = np.array(["female"] * 50 + ["male"] * 50, object)
    defaulted = np.tile([True, False], 50)
    everybody = of(measure_fairness({"sex": sex}, loans(np.full(100, 0.1), defaulted), 0.2), "male")
    assert everybody.adverse_impact_ratio.low < 1.0 < everybody.adverse_impact_ratio.high
    women = measure_fairness({"sex": sex}, loans([0.1] * 50 + [0.3] * 50, defaulted), 0.2)
    assert of(women, "male").adverse_impact_ratio.estimate == 0.0
    assert 0 < of(women, "male").adverse_impact_ratio.high < 0.2
    assert measure_fairness({"sex": sex}, loans(np.full(100, 0.3), defaulted), 0.2).metrics() == {}


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(3)
    held = np.zeros(4)
    for _ in range(400):
        sex = np.array(["a"] * 300 + ["b"] * 400, object)
        pd = np.where(random.random(700) < np.where(sex == "a", 0.6, 0.8), 0.1, 0.3)
        defaulted = random.random(700) < pd
        score = np.round(random.normal(np.where(sex == "a", 690, 700), 40))
        found = of(measure_fairness({"sex": sex}, loans(pd, defaulted, score), 0.2), "a")
        good = (0.6 * 0.9 / (0.6 * 0.9 + 0.4 * 0.7)) - (0.8 * 0.9 / (0.8 * 0.9 + 0.2 * 0.7))
        for place, (interval, truth) in enumerate(
            [
                (found.adverse_impact_ratio, 0.75),
                (found.score_difference, -0.25),
                (found.opportunity_gap, good),
                (found.calibration_gap, 0.0),
            ]
        ):
            held[place] += interval.low <= truth <= interval.high
    assert (np.abs(held / 400 - 0.95) < 0.035).all(), held / 400
