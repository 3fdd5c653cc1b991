import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.evidence_factory import evidence, scored
from training.evidence import Economics
from training.reporting.contents import contents
from training.reporting.profit import best_cutoff, outcome_at, profit_curve, profit_difference


def by_hand():
    """Worth, by rising PD: +10, -50 and +60 of one PD, +5, -100."""
    sample = scored([0.3, 0.1, 0.2, 0.2, 0.4], [False, False, True, False, True])
    money = Economics(
        gain_if_good=np.array([5.0, 10.0, 1.0, 60.0, 1.0]), loss_if_bad=np.array([9.0, 9.0, 50.0, 9.0, 100.0])
    )
    return sample, money


def test_the_curve_by_hand_takes_loans_of_one_pd_together():
    curve = profit_curve(*by_hand())
    assert curve.cutoff.tolist() == [0, 0.1, 0.2, 0.3, 0.4]
    assert curve.profit.tolist() == [0, 10, 20, 25, -75]
    assert curve.approved.tolist() == [0, 1, 3, 4, 5]


def test_the_best_cutoff_by_hand():
    found = best_cutoff(*by_hand(), seed=1)
    assert found.estimate == 0.3
    assert 0 <= found.low <= found.high <= 0.4


def test_what_a_cutoff_does_by_hand():
    at = outcome_at(*by_hand(), 0.2)
    assert (at.approved, at.bads, at.profit, at.approval_rate, at.bad_rate) == (3, 1, 20, 0.6, 1 / 3)
    nobody = outcome_at(*by_hand(), 0.05)
    assert (nobody.approved, nobody.profit, nobody.bad_rate) == (0, 0, None)


def test_nobody_is_approved_if_every_loan_loses():
    sample = scored([0.1, 0.2], [True, True])
    assert best_cutoff(sample, Economics(gain_if_good=np.ones(2), loss_if_bad=np.ones(2))).estimate == 0


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.integers(0, 50)), min_size=1, max_size=40))
def test_no_cutoff_earns_more_than_the_best_and_none_below_earns_as_much(rows):
    sample = scored([pd / 21 for pd, _, _ in rows], [bad for _, bad, _ in rows])
    money = np.array([float(amount) for _, _, amount in rows])
    economics = Economics(gain_if_good=money, loss_if_bad=2 * money)
    best = best_cutoff(sample, economics, resamples=2).estimate
    top = outcome_at(sample, economics, best).profit
    for cutoff in [0.0, *sample.pd]:
        earned = outcome_at(sample, economics, float(cutoff)).profit
        assert earned <= top + 1e-9
        assert cutoff >= best or earned < top


def test_with_many_loans_of_calibrated_pd_the_best_cutoff_is_where_a_loan_breaks_even():
    random = np.random.default_rng(3)
    pd = random.uniform(0.01, 0.6, 60_000)
    sample = scored(pd, random.random(60_000) < pd)
    economics = Economics(gain_if_good=np.full(60_000, 1.0), loss_if_bad=np.full(60_000, 3.0))
    found = best_cutoff(sample, economics, seed=0, resamples=100)  # (1 - p) * 1 = p * 3 at a quarter
    assert found.estimate == pytest.approx(0.25, abs=0.03)
    assert found.low <= 0.25 <= found.high


def test_the_difference_of_two_cutoffs_is_that_of_their_profits():
    sample, money = by_hand()
    found = profit_difference(sample, money, 0.4, 0.2)
    assert found.estimate == -75 - 20
    assert profit_difference(sample, money, 0.2, 0.2).low == 0


def test_a_report_says_so_if_the_best_cutoff_hardly_declines():
    rich = Economics(gain_if_good=np.full(400, 9.0), loss_if_bad=np.zeros(400))
    assert contents(evidence(last=400, oot=400, last_economics=rich)).profit.hardly_declines
    assert not contents(evidence(last=400, oot=400)).profit.hardly_declines


def test_the_best_cutoff_does_not_know_the_out_of_time_window():
    one, other = evidence(oot=400), evidence(oot=400)
    money = other.oot_economics
    reversed_money = Economics(gain_if_good=money.loss_if_bad, loss_if_bad=np.full(400, 1.0))
    found = contents(one).profit
    again = contents(evidence(oot=400, oot_economics=reversed_money)).profit
    assert found.best == again.best
    assert found.best_last == again.best_last
    assert found.best_oot.profit != again.best_oot.profit
