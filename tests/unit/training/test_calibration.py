import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError
from training.calibration import calibrate
from training.evaluate import (
    brier_parts,
    decile_shares,
    expected_calibration_error,
    metrics,
    population_stability,
    reliability_bins,
)
from training.probability import probability


@pytest.fixture(scope="module")
def skewed():
    """Margins whose true log-odds are 0.6 m - 1."""
    random = np.random.default_rng(0)
    margins = random.normal(-1, 1.5, size=8000)
    return margins, random.random(8000) < 1 / (1 + np.exp(1 - 0.6 * margins))


def test_the_sigmoid_finds_slope_and_intercept(skewed):
    fitted = calibrate(*skewed)
    assert fitted.slope == pytest.approx(0.6, abs=0.06)
    assert fitted.intercept == pytest.approx(-1, abs=0.08)


def test_calibration_lowers_the_error_out_of_sample(skewed):
    margins, y = skewed
    fitted = calibrate(margins[:4000], y[:4000])
    before = 1 / (1 + np.exp(-margins[4000:]))
    after = np.array([probability(fitted.log_odds(m)) for m in margins[4000:]])
    assert expected_calibration_error(after, y[4000:]) < 0.025 < expected_calibration_error(before, y[4000:])


def test_intervals_are_ordered_hold_the_pd_and_narrow_with_data(skewed):
    margins, y = skewed
    few, many = calibrate(margins[:200], y[:200]), calibrate(margins, y)
    widths = []
    for fitted in (few, many):
        bounds = [(fitted.interval(m), probability(fitted.log_odds(m))) for m in np.linspace(-6, 4, 41)]
        assert all(0 <= low <= pd <= high <= 1 for (low, high), pd in bounds)
        widths.append(np.mean([high - low for (low, high), _ in bounds[10:30]]))
    assert widths[1] < widths[0]


@pytest.mark.parametrize("y", [np.zeros(50, bool), np.ones(50, bool)])
def test_one_outcome_alone_is_refused(y):
    with pytest.raises(InputError, match="needs both outcomes"):
        calibrate(np.linspace(-1, 1, 50), y)


def test_a_model_that_ranks_backwards_is_refused(skewed):
    margins, y = skewed
    with pytest.raises(InputError, match="backwards"):
        calibrate(-margins, y)


@pytest.mark.parametrize(("log_odds", "expected"), [(0, 0.5), (2, 0.8807970779778823), (-900, 0.0), (900, 1.0)])
def test_probability_does_not_overflow(log_odds, expected):
    assert probability(log_odds) == pytest.approx(expected)


def test_metrics_by_hand():
    pd, y = np.array([0.1, 0.2, 0.3, 0.9]), np.array([False, True, False, True])
    found = metrics("oot", pd, y, cutoff=0.25)
    assert {name: value for name, value in found.items() if not name.endswith(("_low", "_high"))} == pytest.approx(
        {"oot_auc": 0.75, "oot_ks": 0.5, "oot_gini": 0.5, "oot_brier": (0.01 + 0.64 + 0.09 + 0.01) / 4,
         "oot_ece": (0.1 + 0.8 + 0.3 + 0.1) / 4, "oot_accuracy": 0.5, "oot_brier_reliability": 0.1875,
         "oot_brier_resolution": 0.25, "oot_brier_uncertainty": 0.25, "oot_brier_within": 0.0}
    )  # fmt: skip
    assert 0 <= found["oot_auc_low"] < 0.75 < found["oot_auc_high"] <= 1
    assert 0 <= found["oot_ks_low"] < 0.5 < found["oot_ks_high"] <= 1


def test_metrics_of_a_single_default_say_that_nothing_is_known():
    found = metrics("oot", np.array([0.1, 0.2, 0.3]), np.array([False, True, False]), 0.2)
    assert (found["oot_auc"], found["oot_auc_low"], found["oot_auc_high"]) == (0.5, 0, 1)


def test_the_parts_of_a_brier_score_by_hand():
    # two bins of two: mean PDs 0.15 and 0.5, bad rates 0.5 and 1; in the first the worse PD is the better loan's
    pd, y = np.array([0.1, 0.2, 0.4, 0.6]), np.array([True, False, True, True])
    within = (2 * (0.05**2 + 2 * 0.05 * 0.5) + 2 * 0.1**2) / 4
    assert brier_parts(pd, y, bins=2) == pytest.approx(
        {"brier_reliability": (0.35**2 + 0.5**2) / 2, "brier_resolution": 0.25**2,
         "brier_uncertainty": 0.75 * 0.25, "brier_within": within}
    )  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_parts_of_a_brier_score_add_up_to_it(rows):
    pd, y = np.array([pd for pd, _ in rows]), np.array([bad for _, bad in rows])
    parts = brier_parts(pd, y)
    total = parts["brier_reliability"] - parts["brier_resolution"] + parts["brier_uncertainty"] + parts["brier_within"]
    assert total == pytest.approx(np.mean((pd - y) ** 2))
    assert min(parts["brier_reliability"], parts["brier_resolution"], parts["brier_uncertainty"]) >= 0


def test_nothing_is_left_within_bins_of_one_pd_each():
    pd = np.repeat([0.1, 0.4, 0.7], 20)
    y = np.random.default_rng(3).random(60) < pd
    assert brier_parts(pd, y, bins=3)["brier_within"] == pytest.approx(0, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_reliability_bins_hold_every_loan_once_in_order_of_pd(rows):
    pd, y = np.array([pd for pd, _ in rows]), np.array([bad for _, bad in rows])
    bins = reliability_bins(pd, y)
    assert sum(part.loans for part in bins) == len(rows)
    assert sum(part.bads for part in bins) == y.sum()
    assert all(a.mean_pd <= b.mean_pd + 1e-12 for a, b in zip(bins, bins[1:], strict=False))
    assert max(part.loans for part in bins) - min(part.loans for part in bins) <= 1


def test_population_stability_by_hand():
    reference = np.arange(100)
    current = np.concatenate([np.repeat(5, 20), np.repeat(95, 80)])
    p, q_ends = 10.5 / 105, {0: 20.5 / 105, 9: 80.5 / 105}
    expected = sum((q - p) * np.log(q / p) for q in [*q_ends.values(), *[0.5 / 105] * 8])
    assert population_stability(reference, current) == pytest.approx(expected)


def test_a_population_is_stable_against_itself_and_unmoved_by_rescaling():
    scores = np.random.default_rng(5).integers(300, 850, 3000)
    later = np.random.default_rng(6).integers(320, 850, 2000)
    assert population_stability(scores, scores) == 0
    assert population_stability(scores / 850, later / 850) == pytest.approx(population_stability(scores, later))
    assert 0 < population_stability(scores, later) < 0.1


def test_ties_across_deciles_make_fewer_bins():
    borders, reference, current = decile_shares(np.array([0.1] * 95 + [0.2] * 5), np.array([0.1, 0.3]))
    assert borders == [0.1, np.inf]
    assert reference == pytest.approx([95.5 / 101, 5.5 / 101])
    assert current == pytest.approx([0.5, 0.5])
    assert population_stability(np.zeros(10), np.zeros(4)) == 0


def test_metrics_of_one_outcome_are_refused():
    with pytest.raises(InputError, match="0 defaults of 3"):
        metrics("oot", np.array([0.1, 0.2, 0.3]), np.zeros(3, bool), 0.2)
