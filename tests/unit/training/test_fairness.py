import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate
from hypothesis import given, settings
from hypothesis import strategies as st

from training.fairness import CHOSEN, FEWEST, GroupResult, measure_fairness
from training.group_intervals import difference_interval, ratio_interval, standardised_difference
from training.scored import ScoredLoans

pytestmark = pytest.mark.filterwarnings("error")


def scored(pd, defaulted, score=None):
    pd = np.asarray(pd, dtype=float)
    return ScoredLoans(
        decided=np.full(len(pd), np.datetime64("2026-01-01", "us")),
        pd=pd,
        score=np.asarray(700 - 1000 * pd if score is None else score, dtype=np.int64),
        defaulted=np.asarray(defaulted, dtype=bool),
    )


def by_hand():
    """Of 100 men 80 are approved (5 of them default) and 10 of the declined default; of 100 women 50, 10 and 20."""
    sex, pd, defaulted = [], [], []
    for who, approved, bad_approved, bad_declined in (("male", 80, 5, 10), ("female", 50, 10, 20)):
        sex += [who] * 100
        pd += [0.1] * approved + [0.3] * (100 - approved)
        defaulted += [True] * bad_approved + [False] * (approved - bad_approved)
        defaulted += [True] * bad_declined + [False] * (100 - approved - bad_declined)
    return {"sex": np.array(sex, dtype=object)}, scored(pd, defaulted)


def groups_of(report):
    return {(group.attribute, group.group): group for group in report.groups}


def test_two_groups_counted_by_hand():
    report = measure_fairness(*by_hand(), cutoff=0.1, seed=1)
    female, male = groups_of(report)["sex", "female"], groups_of(report)["sex", "male"]
    assert (male.reference, male.loans, male.approval.estimate) == (True, 100, 0.8)
    assert male.adverse_impact_ratio is male.score_difference is male.opportunity_gap is None
    assert male.calibration_gap.estimate == pytest.approx(0.14 - 0.15)
    assert (female.reference, female.loans, female.approval.estimate) == (False, 100, 0.5)
    assert female.adverse_impact_ratio.estimate == pytest.approx(0.5 / 0.8)
    assert female.opportunity_gap.estimate == pytest.approx(40 / 70 - 75 / 85)
    assert female.calibration_gap.estimate == pytest.approx(0.2 - 0.3)
    # Scores 600 and 400: means 560 and 500; sums of squares 100 (0.8 0.2) 200^2 and 100 (0.5 0.5) 200^2.
    assert female.score_difference.estimate == pytest.approx(-60 / np.sqrt(100 * 0.41 * 200**2 / 198))
    assert report.notes == (CHOSEN,)
    assert report.metrics() == {
        "fairness_worst_air": female.adverse_impact_ratio.estimate,
        "fairness_worst_air_high": female.adverse_impact_ratio.high,
        "fairness_air_high.sex": female.adverse_impact_ratio.high,
    }


def test_who_was_declined_counts_for_approvals_and_not_for_outcomes_that_nobody_knows():
    protected, loans = by_hand()
    approved = loans.pd <= 0.1
    whole = groups_of(measure_fairness(protected, loans, cutoff=0.1, seed=1))["sex", "female"]
    found = groups_of(measure_fairness(protected, loans, cutoff=0.1, seed=1, outcome_known=approved))
    female, male = found["sex", "female"], found["sex", "male"]
    for name in ("loans", "approval", "adverse_impact_ratio", "score_difference"):
        assert getattr(female, name) == getattr(whole, name), name
    assert female.calibration_gap.estimate == pytest.approx(0.1 - 10 / 50)
    assert male.calibration_gap.estimate == pytest.approx(0.1 - 5 / 80)
    alone = measure_fairness({"sex": protected["sex"][approved]}, loans.where(approved), cutoff=0.1, seed=1)
    ratio = groups_of(alone)["sex", "female"].adverse_impact_ratio
    assert ratio is None or ratio.estimate == 1, "of approvals alone nobody is declined"


def test_every_interval_holds_its_estimate_and_is_not_a_point():
    for group in measure_fairness(*by_hand(), cutoff=0.1, seed=1).groups:
        for name in ("approval", "adverse_impact_ratio", "score_difference", "opportunity_gap", "calibration_gap"):
            interval = getattr(group, name)
            assert interval is None or interval.low < interval.estimate < interval.high, name


def test_fairlearn_gives_the_same_rates():
    protected, loans = by_hand()
    frame = MetricFrame(
        metrics={"approved": selection_rate, "opportunity": true_positive_rate},
        y_true=~loans.defaulted,
        y_pred=loans.pd <= 0.1,
        sensitive_features=protected["sex"],
    )
    found = groups_of(measure_fairness(protected, loans, cutoff=0.1, seed=1))
    for sex, rates in frame.by_group.iterrows():
        assert found["sex", sex].approval.estimate == pytest.approx(rates["approved"])
    gap = frame.by_group["opportunity"]["female"] - frame.by_group["opportunity"]["male"]
    assert found["sex", "female"].opportunity_gap.estimate == pytest.approx(gap)
    assert frame.ratio()["approved"] == pytest.approx(found["sex", "female"].adverse_impact_ratio.estimate)


def test_ages_fall_into_bands_whose_last_begins_at_62():
    ages = [17, 18, 24.9, 25, 34, 35, 49, 50, 61, 62, 90, None, np.nan]
    loans = scored(np.full(len(ages), 0.1), np.zeros(len(ages), bool))
    report = measure_fairness({"age": np.array(ages, dtype=object)}, loans, cutoff=0.2, seed=1)
    assert [(group.group, group.loans) for group in report.groups] == [
        ("under 18", 1), ("18-24", 2), ("25-34", 2), ("35-49", 2), ("50-61", 2), ("62+", 2), ("unknown", 2),
    ]  # fmt: skip


def test_of_too_small_a_group_nothing_but_its_size_is_told_and_it_is_no_reference():
    protected, loans = by_hand()
    few = FEWEST - 1
    protected["sex"] = np.append(protected["sex"], ["other"] * few)
    loans = scored(np.append(loans.pd, np.zeros(few)), np.append(loans.defaulted, np.zeros(few, bool)))
    report = measure_fairness(protected, loans, cutoff=0.1, seed=1)
    other = groups_of(report)["sex", "other"]
    assert other == GroupResult(attribute="sex", group="other", loans=few, reference=False)
    assert groups_of(report)["sex", "male"].reference


def test_loans_of_unknown_sex_are_compared_but_are_neither_reference_nor_worst():
    protected, loans = by_hand()
    women = protected["sex"] == "female"
    protected["sex"] = np.where(women, None, protected["sex"])
    report = measure_fairness(protected, loans, cutoff=0.1, seed=1)
    unknown = groups_of(report)["sex", "unknown"]
    assert not unknown.reference
    assert unknown.adverse_impact_ratio.estimate == pytest.approx(0.625)
    assert report.metrics() == {}
    protected["sex"] = np.where(women, "female", None)
    report = measure_fairness(protected, loans, cutoff=0.1, seed=1)
    assert groups_of(report)["sex", "female"].reference
    assert groups_of(report)["sex", "unknown"].adverse_impact_ratio.estimate == pytest.approx(1.6)


def test_nothing_known_is_said_so():
    _, loans = by_hand()
    empty = measure_fairness({}, loans, 0.1, 1)
    assert empty.groups == ()
    assert empty.notes == ("No protected attribute is known of these applicants: nothing was measured.",)
    assert empty.metrics() == {}
    report = measure_fairness({"age": np.full(200, None, object)}, loans, 0.1, 1)
    assert report.notes == ("age: no two known groups of 50 loans or more to compare, or nobody is approved.",)
    assert [(group.group, group.reference, group.adverse_impact_ratio) for group in report.groups] == [
        ("unknown", False, None)
    ]
    assert report.metrics() == {}


def test_if_nobody_is_approved_there_is_no_ratio_and_if_nobody_repays_no_opportunity():
    protected, loans = by_hand()
    declined = measure_fairness(protected, loans, cutoff=0.0, seed=1)
    assert sum(group.reference for group in declined.groups) == 1
    assert all(group.adverse_impact_ratio is None for group in declined.groups)
    assert declined.metrics() == {}
    lost = scored(loans.pd, np.ones(200, bool))
    assert groups_of(measure_fairness(protected, lost, cutoff=0.1, seed=1))["sex", "female"].opportunity_gap is None


@pytest.mark.parametrize(("approved", "n", "below"), [(800, 1000, False), (35, 60, False), (550, 1000, True)])
def test_a_group_is_below_four_fifths_only_if_its_whole_interval_is(approved, n, below):
    sex = np.array(["male"] * 1000 + ["female"] * n, dtype=object)
    pd = np.repeat([0.1, 0.3, 0.1, 0.3], [800, 200, approved, n - approved])
    report = measure_fairness({"sex": sex}, scored(pd, np.zeros(len(pd))), cutoff=0.2, seed=1)
    found = groups_of(report)
    assert (found["sex", "male"].below_four_fifths, found["sex", "female"].below_four_fifths) == (False, below)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((36, 40, 16, 80), (4.5, 2.94, 7.15)), ((0, 50, 30, 60), (0.0, 0.0, 0.143))],
    ids=["the example of Koopman 1984", "nobody of the group"],
)
def test_the_ratios_interval_is_koopmans(counts, expected):
    found = ratio_interval(*counts)
    assert (found.estimate, found.low, found.high) == pytest.approx(expected, abs=0.005)


def test_the_differences_interval_is_newcombes_example():
    found = difference_interval(56, 70, 48, 80)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_ratio_turned_around_has_its_interval_turned_around(data):
    n, other_n = data.draw(st.integers(1, 10**6)), data.draw(st.integers(1, 10**6))
    found, other = data.draw(st.integers(1, n)), data.draw(st.integers(1, other_n))
    one, back = ratio_interval(found, n, other, other_n), ratio_interval(other, other_n, found, n)
    assert one.low <= one.estimate <= one.high
    assert (1 / back.high, 1 / back.low) == pytest.approx((one.low, one.high), rel=1e-6)


def test_nineteen_of_twenty_ratio_intervals_hold_the_true_ratio():
    random = np.random.default_rng(5)
    for rate, n, other_n in ((0.95, 60, 3000), (0.5, 80, 200), (0.75, 300, 300)):
        other_rate = min(rate / 0.8, 0.97)
        pairs = zip(random.binomial(n, rate, 1500), random.binomial(other_n, other_rate, 1500), strict=True)
        intervals = [ratio_interval(int(found), n, int(other), other_n) for found, other in pairs]
        held = np.mean([interval.low <= rate / other_rate <= interval.high for interval in intervals])
        assert 0.93 <= held <= 0.975, (rate, n, other_n)


def test_about_nineteen_of_twenty_intervals_hold_the_true_difference_of_scores():
    random = np.random.default_rng(6)
    values = np.arange(300, 851.0, 10)

    def holds():
        samples = [np.clip(random.normal(mean, 50, n), 300, 850) for mean, n in ((640, 80), (660, 400))]
        counts = [np.bincount(np.rint(sample / 10).astype(int) - 30, minlength=len(values)) for sample in samples]
        found = standardised_difference(*counts, values, random)
        return found.low <= -0.4 <= found.high

    assert 0.9 <= np.mean([holds() for _ in range(150)]) <= 0.99


def test_equal_scores_have_no_standardised_difference():
    counts = np.array([60])
    assert standardised_difference(counts, counts, np.array([700.0]), np.random.default_rng(1)) is None


def test_a_calibration_gap_knows_how_little_no_default_says():
    sex = np.array(["female"] * 60, dtype=object)
    report = measure_fairness({"sex": sex}, scored(np.full(60, 0.03), np.zeros(60, bool)), cutoff=0.1, seed=1)
    gap = report.groups[0].calibration_gap
    assert gap.estimate == pytest.approx(0.03)
    assert gap.low < 0 < gap.high  # 60 loans of a true PD of 3 % default not once with a chance of 16 %


def test_the_seed_alone_decides_and_loans_may_come_in_any_order():
    protected, loans = by_hand()
    first = measure_fairness(protected, loans, cutoff=0.1, seed=3)
    assert first == measure_fairness(protected, loans, cutoff=0.1, seed=3)
    order = np.random.default_rng(1).permutation(200)
    shuffled = measure_fairness({"sex": protected["sex"][order]}, loans.where(order), cutoff=0.1, seed=3)
    assert shuffled.groups[0].score_difference == first.groups[0].score_difference
    assert shuffled.metrics() == first.metrics()
    assert first != measure_fairness(protected, loans, cutoff=0.1, seed=4)


def test_any_protected_attribute_is_measured_by_its_values():
    protected, loans = by_hand()
    protected["veteran"] = np.array([True, False] * 100, dtype=object)
    report = measure_fairness(protected, loans, cutoff=0.1, seed=1)
    assert [(g.attribute, g.group) for g in report.groups] == [
        ("sex", "female"), ("sex", "male"), ("veteran", "False"), ("veteran", "True"),
    ]  # fmt: skip
