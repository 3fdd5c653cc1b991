import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from tests.unit.training.evidence_factory import evidence, scored
from training.evaluate import population_stability
from training.evidence import Impacts
from training.reporting import wording
from training.reporting.contents import contents
from training.reporting.drivers import drivers
from training.reporting.rivals import compare, truth
from training.reporting.tables import by_band, by_segment, by_vintage, confusion, gains, row
from training.scored import ScoredLoans
from training.uncertainty import Interval

PD = [0.02, 0.04, 0.05, 0.10, 0.20, 0.30, 0.40, 0.60]
BAD = [False, False, True, False, False, True, False, True]

loans = st.lists(
    st.tuples(st.floats(0.001, 0.999), st.booleans(), st.integers(0, 2000), st.integers(0, 40)), min_size=2, max_size=80
).filter(lambda rows: len({bad for _, bad, _, _ in rows}) == 2)


@given(loans, st.floats(0, 1))
def test_every_table_holds_every_loan_and_every_bad_once(rows, cutoff):
    pd, bad, days, segments = (np.array(column) for column in zip(*rows, strict=True))
    sample = scored(pd, bad, np.datetime64("2020-01-01") + days)
    names = np.array([None if one == 0 else f"s{one}" for one in segments], dtype=object)
    for table in (by_vintage(sample), by_band(sample), by_segment(sample, names), gains(sample)):
        assert sum(one.loans for one in table) == len(rows)
        assert sum(one.bads for one in table) == bad.sum()
        assert sum(one.loans * one.mean_pd for one in table) == pytest.approx(pd.sum())
    for table in (by_vintage(sample), by_band(sample), by_segment(sample, names)):
        assert sum(one.share for one in table) == pytest.approx(1)
    at = confusion(sample, cutoff)
    assert at.approved + at.declined == len(rows)
    assert at.approved_bad + at.declined_bad == bad.sum()
    last = gains(sample)[-1]
    assert (last.bads_caught, last.goods_lost, last.lift) == pytest.approx((1, 1, 1))


def test_confusion_by_hand():
    at = confusion(scored(PD, BAD), 0.20)
    assert (at.approved_good, at.approved_bad, at.declined_good, at.declined_bad) == (4, 1, 1, 2)
    assert (at.approval_rate, at.bad_rate_approved, at.bad_rate_declined) == (5 / 8, 1 / 5, 2 / 3)


def test_a_cutoff_that_approves_nobody_has_no_bad_rate_of_approved():
    assert confusion(scored(PD, BAD), 0.0).bad_rate_approved is None
    assert confusion(scored(PD, BAD), 1.0).bad_rate_declined is None


def test_gains_by_hand():
    found = gains(scored(PD, BAD))
    assert len(found) == 8
    assert [one.mean_pd for one in found] == PD[::-1]
    assert [one.bads_caught for one in found] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 1, 1, 1])
    assert [one.goods_lost for one in found] == pytest.approx([0, 1 / 5, 1 / 5, 2 / 5, 3 / 5, 3 / 5, 4 / 5, 1])
    assert [one.lift for one in found][:3] == pytest.approx([8 / 3, 4 / 3, 16 / 9])
    assert max(one.ks for one in found) == pytest.approx(2 / 3 - 1 / 5)
    assert found[0].lowest_score == round(720 + 40 * (np.log2(0.4 / 0.6) - np.log2(30)))


def test_vintages_are_months_up_to_a_year_and_quarters_beyond():
    year = by_vintage(scored([0.1] * 3, [True, False, False], ["2024-11-30T23:59", "2024-12-01", "2025-10-31"]))
    assert [(one.name, one.loans) for one in year] == [("2024-11", 1), ("2024-12", 1), ("2025-10", 1)]
    longer = by_vintage(scored([0.1] * 3, [True, False, False], ["2024-12-31", "2025-01-01", "2026-01-01"]))
    assert [(one.name, one.bads) for one in longer] == [("2024 Q4", 1), ("2025 Q1", 0), ("2026 Q1", 0)]


def test_bands_are_of_fifty_points():
    sample = scored([1 / 31, 0.5], [True, False])
    assert [(one.name, one.loans) for one in by_band(sample)] == [("500 to 549", 1), ("700 to 749", 1)]


def test_no_band_reaches_beyond_where_scores_end():
    sample = ScoredLoans(
        decided=np.array(["2025-01-01"] * 3, "M8[us]"),
        pd=np.array([0.01, 0.02, 0.03]),
        score=np.array([850, 820, 700]),
        defaulted=np.array([False, True, False]),
    )
    assert [one.name for one in by_band(sample, 850)] == ["700 to 749", "800 to 849", "850"]


def test_small_segments_are_told_together_and_large_ones_come_first():
    names = np.array(["b"] * 10 + ["a"] * 12 + ["alone"] + [None] * 3, dtype=object)
    found = by_segment(scored(np.linspace(0.01, 0.5, 26), np.arange(26) % 2 == 0), names)
    assert [(one.name, one.loans) for one in found] == [("a", 12), ("b", 10), ("2 with fewer than 10 loans each", 4)]


def test_an_auc_needs_ten_of_each_outcome():
    pd, bad = np.linspace(0.01, 0.9, 20), np.arange(20) % 2 == 0
    found = row("all", scored(pd, bad), 40)
    assert found.auc is not None
    assert found.auc.estimate == pytest.approx(roc_auc_score(bad, pd))
    assert (found.share, found.bad_rate.estimate) == (0.5, 0.5)
    assert row("fewer", scored(pd[1:], bad[1:]), 40).auc is None


def test_a_rival_is_measured_on_the_same_loans():
    bad, pd = np.array(BAD), np.array(PD)
    this, same, backwards = compare(bad, pd, {"same": pd**2, "backwards": 1 - pd})
    assert this.auc.estimate == pytest.approx(11 / 15)
    assert (same.lift, same.verdict, this.lift, this.verdict) == (Interval(0, 0, 0), "within noise", None, "")
    assert backwards.auc.estimate == pytest.approx(4 / 15)
    assert backwards.lift is not None
    assert backwards.lift.estimate == pytest.approx(7 / 15)
    assert this.gini.estimate == pytest.approx(7 / 15)
    assert same.brier == pytest.approx(np.mean((pd**2 - bad) ** 2))


def test_a_verdict_needs_the_whole_interval():
    random = np.random.default_rng(0)
    bad = random.random(2000) < 0.3
    good_model, poor_model = (expit(bad + random.normal(0, spread, 2000)) for spread in (1, 3))
    assert compare(bad, good_model, {"poor": poor_model})[1].verdict == "better"
    assert compare(bad, poor_model, {"good": good_model})[1].verdict == "worse"


def test_the_share_of_the_true_pds_gini_by_hand():
    found = truth(np.array(BAD), np.array(PD), np.array([0.1, 0.2, 0.9, 0.3, 0.4, 0.9, 0.5, 0.45]))
    # the true PD loses one of fifteen pairs of a bad and a good loan
    assert (found.model.estimate, found.true.estimate) == pytest.approx((7 / 15, 13 / 15))
    assert found.share == pytest.approx(7 / 13)
    assert truth(np.array(BAD), np.array(PD), np.full(8, 0.1)).share is None


def objects(*values):
    return np.array([*values, None], dtype=object)[:-1]


def test_drivers_are_ordered_and_say_which_way():
    found = drivers(
        Impacts(
            values={
                "up": objects(1.0, 2.0, 3.0, None),
                "down": objects(1, 2, 3, 4),
                "flag": objects(True, False, True, False),
                "kind": objects("a", "b", "a", "b"),
                "empty": objects(None, None, float("nan"), None),
            },
            impacts={
                "up": np.array([-1.0, 0.0, 1.0, 2.0]),
                "down": np.array([0.5, 0.4, 0.3, -0.4]),
                "flag": np.array([0.1, -0.1, 0.1, -0.1]),
                "kind": np.array([0.1, -0.3, 0.1, -0.3]),
                "empty": np.zeros(4),
            },
        )
    )
    assert [(one.feature, one.direction, one.missing) for one in found] == [
        ("up", "raises", 0.25),
        ("down", "lowers", 0),
        ("kind", "by category", 0),
        ("flag", "raises", 0),
        ("empty", "none", 1),
    ]
    assert [one.mean_impact for one in found] == pytest.approx([1, 0.4, 0.2, 0.1, 0])
    assert [one.share for one in found] == pytest.approx([1 / 1.7, 0.4 / 1.7, 0.2 / 1.7, 0.1 / 1.7, 0])


def test_the_psi_that_chance_makes_is_that_of_samples_of_one_population():
    random = np.random.default_rng(4)
    found = contents(evidence(fitted=600, last=100, oot=400))
    drawn = [population_stability(random.normal(size=600), random.normal(size=400)) for _ in range(400)]
    assert found.psi_by_chance == pytest.approx(9 * (1 / 600 + 1 / 400))
    assert np.mean(drawn) == pytest.approx(found.psi_by_chance, rel=0.08)


def test_the_examples_of_how_numbers_are_written_hold():
    found = doctest.testmod(wording)
    assert found.attempted
    assert not found.failed
