from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp, norm, t
from sklearn.metrics import roc_auc_score

from feature_repo.errors import InputError
from training.uncertainty import (
    Interval,
    auc_difference,
    auc_interval,
    bootstrap,
    ks_interval,
    paired_auc_bootstrap,
    share_interval,
)


def samples(seed, n=600, bads=80, shift=1.0, noise=0.7):
    """Outcomes and two models that look at the same applicants through different noise."""
    random = np.random.default_rng(seed)
    defaulted = np.arange(n) < bads
    truth = random.normal(size=n) + shift * defaulted
    return defaulted, truth + noise * random.normal(size=n), truth + noise * random.normal(size=n)


def brute_force(defaulted, pds):
    """AUCs and covariance from all pairs: DeLong et al. 1988, equations 4 to 6."""
    placements = [np.sign(pd[defaulted][:, None] - pd[~defaulted][None, :]) / 2 + 0.5 for pd in pds]
    of_bads, of_goods = ([p.mean(axis=axis) for p in placements] for axis in (1, 0))
    bads, goods = placements[0].shape
    covariance = np.cov(of_bads) / bads + np.cov(of_goods) / goods
    return np.array([p.mean() for p in placements]), np.atleast_2d(covariance)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=40).filter(
        lambda rows: 2 <= sum(bad for bad, _, _ in rows) <= len(rows) - 2
    )
)
def test_delong_by_midranks_is_delong_by_all_pairs_ties_and_all(rows):
    defaulted = np.array([bad for bad, _, _ in rows])
    a, b = (np.array([row[index] for row in rows], dtype=float) / 6 for index in (1, 2))
    (auc_a, auc_b), covariance = brute_force(defaulted, [a, b])
    found, quantile = auc_interval(defaulted, a), t.ppf(0.975, min(sum(defaulted), sum(~defaulted)) - 1)
    assert found.estimate == pytest.approx(auc_a)
    if 0 < auc_a < 1:
        half = quantile * np.sqrt(covariance[0, 0]) / (auc_a * (1 - auc_a))
        odds = np.log(auc_a / (1 - auc_a))
        assert (found.low, found.high) == pytest.approx(tuple(1 / (1 + np.exp(-odds - s * half)) for s in (-1, 1)))
    difference = auc_difference(defaulted, a, b)
    variance = max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0)
    assert difference.estimate == pytest.approx(auc_a - auc_b)
    if difference.low > -1:
        assert difference.estimate - difference.low == pytest.approx(quantile * np.sqrt(variance), abs=1e-6)


def test_delong_by_hand():
    # bads 0.4 and 0.9 against goods 0.1, 0.5, 0.5: placements 1/3 and 1; of the goods 1, 0.5, 0.5
    defaulted, pd = np.array([True, True, False, False, False]), np.array([0.4, 0.9, 0.1, 0.5, 0.5])
    variance = (2 / 9) / 2 + (1 / 12) / 3
    half = 12.7062047 * np.sqrt(variance) / (2 / 3 * 1 / 3)  # Student's t, one degree of freedom
    low, high = (1 / (1 + np.exp(-(np.log(2) + sign * half))) for sign in (-1, 1))
    assert auc_interval(defaulted, pd) == Interval(pytest.approx(2 / 3), pytest.approx(low), pytest.approx(high))


def test_delong_and_the_bootstrap_agree_on_one_model_and_on_a_difference():
    defaulted, a, b = samples(1)
    by_formula = auc_interval(defaulted, a)
    drawn = bootstrap(
        lambda w: roc_auc_score(defaulted, a, sample_weight=w), 600, seed=2, strata=defaulted, resamples=300
    )
    assert drawn.estimate == pytest.approx(by_formula.estimate)
    assert (drawn.low, drawn.high) == pytest.approx((by_formula.low, by_formula.high), abs=0.012)
    by_formula, drawn = auc_difference(defaulted, a, b), paired_auc_bootstrap(defaulted, a, b, seed=3)
    assert drawn.estimate == pytest.approx(by_formula.estimate)
    assert (drawn.low, drawn.high) == pytest.approx((by_formula.low, by_formula.high), abs=0.012)


def test_a_paired_difference_is_surer_than_two_intervals_would_say():
    defaulted, a, _ = samples(4)
    slightly_worse = a + 0.1 * np.random.default_rng(4).normal(size=len(a))
    one, both = auc_interval(defaulted, a), auc_difference(defaulted, a, slightly_worse)
    assert both.high - both.low < (one.high - one.low) / 3


def test_models_that_rank_alike_differ_by_exactly_nothing():
    defaulted, a, _ = samples(5)
    same_ranks = np.exp(a) / 1000
    assert auc_difference(defaulted, a, same_ranks) == Interval(0, 0, 0)
    assert paired_auc_bootstrap(defaulted, a, same_ranks, seed=0, resamples=50) == Interval(0, 0, 0)


def test_swapping_champion_and_challenger_turns_the_interval_round():
    defaulted, a, b = samples(6)
    one, other = auc_difference(defaulted, a, b), auc_difference(defaulted, b, a)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))


@pytest.mark.parametrize("shift", [0.5, 2.5])
def test_the_aucs_interval_holds_the_truth_as_often_as_it_says(shift):
    true = norm.cdf(shift / np.sqrt(2))
    held = [
        found.low <= true <= found.high
        for found in (
            auc_interval(defaulted, a)
            for defaulted, a, _ in (samples(seed, 354, 30, shift, noise=0) for seed in range(600))
        )
    ]
    assert 0.91 <= np.mean(held) <= 0.98


def test_the_differences_interval_holds_nought_as_often_as_it_says():
    held = [found.low <= 0 <= found.high for found in (auc_difference(*samples(seed)) for seed in range(600))]
    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.parametrize(("n", "bads", "shift"), [(354, 30, 2.2), (2000, 200, 0.8)])
def test_the_kss_interval_holds_the_truth_nearly_as_often_as_it_says(n, bads, shift):
    true = 2 * norm.cdf(shift / 2) - 1
    held = []
    for seed in range(200):
        defaulted, a, _ = samples(seed, n, bads, shift, noise=0)
        found = ks_interval(defaulted, a, seed=seed, resamples=100)
        held.append(found.low <= true <= found.high)
    assert 0.90 <= np.mean(held) <= 0.99


@given(st.integers(0, 10_000), st.integers(1, 39), st.floats(-1, 3))
def test_ks_is_that_of_scipy_and_within_its_interval(seed, bads, shift):
    defaulted, a, _ = samples(seed, 40, bads, shift)
    found = ks_interval(defaulted, np.round(a, 1), seed=0, resamples=20)
    one_sided = ks_2samp(np.round(a[defaulted], 1), np.round(a[~defaulted], 1), alternative="less", method="asymp")
    assert found.estimate == pytest.approx(one_sided.statistic)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_grouping_pds_hardly_moves_the_kss_interval(monkeypatch):
    defaulted, a, _ = samples(7, 9000, 700)
    grouped = ks_interval(defaulted, a, seed=0)
    monkeypatch.setattr("training.uncertainty.KS_GROUPS", 9000)
    each = ks_interval(defaulted, a, seed=0)
    assert (grouped.low, grouped.high) == pytest.approx((each.low, each.high), abs=0.004)
    assert grouped.estimate == each.estimate


@given(
    st.integers(0, 5000).flatmap(lambda n: st.tuples(st.integers(0, n + 1), st.just(n + 1))),
    st.sampled_from([0.5, 0.95]),
)
def test_a_shares_interval_holds_the_share_itself(sample, level):
    found, n = sample
    for one in (share_interval(found, n, level), share_interval(0, n, level), share_interval(n, n, level)):
        assert 0 <= one.low <= one.estimate <= one.high <= 1


def test_perfect_separation_is_no_proof_of_perfection():
    defaulted = np.arange(20) < 5
    found = auc_interval(defaulted, defaulted * 1.0)
    assert found == Interval(1, pytest.approx(0.025 ** (1 / 5)), 1)
    assert auc_interval(defaulted, -1.0 * defaulted) == Interval(0, 0, pytest.approx(1 - 0.025 ** (1 / 5)))


def test_of_one_default_alone_nothing_is_known():
    defaulted, a, b = np.array([True, False, False]), np.array([0.5, 0.2, 0.7]), np.array([0.5, 0.6, 0.7])
    assert auc_interval(defaulted, a) == Interval(0.5, 0, 1)
    assert auc_difference(defaulted, a, b) == Interval(0.5, -1, 1)


def test_a_constant_pd_is_no_better_than_chance_for_sure():
    defaulted = np.arange(20) < 5
    assert auc_interval(defaulted, np.full(20, 0.1)) == Interval(0.5, 0.5, 0.5)


def test_the_bootstraps_percentiles_are_those_of_a_mean():
    values = np.random.default_rng(8).normal(3, 2, size=400)
    found = bootstrap(lambda w: float(w @ values / w.sum()), 400, seed=1, resamples=2000)
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_strata_keep_their_size_and_a_seed_its_draws():
    strata = np.arange(30) < 7
    seen = []
    bootstrap(lambda w: float(seen.append((w[strata].sum(), w[~strata].sum())) or 0), 30, seed=0, strata=strata)
    assert set(seen) == {(7, 23)}
    assert bootstrap(np.var, 30, seed=1) == bootstrap(np.var, 30, seed=1) != bootstrap(np.var, 30, seed=2)


@pytest.mark.parametrize("outcomes", [np.zeros(4, bool), np.ones(4, bool)])
@pytest.mark.parametrize("measure", [auc_interval, partial(ks_interval, seed=0)])
def test_a_sample_with_one_outcome_is_refused(outcomes, measure):
    with pytest.raises(InputError, match="of 4 loans"):
        measure(outcomes, np.linspace(0, 1, 4))
