"""Probabilities against scipy's, and the correction for many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitoring import chance
from monitoring.summaries import population_stability


@pytest.mark.parametrize("bins", [2, 5, 11, 21])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.999, 0.99999])
def test_stability_by_chance_is_chi_squared(bins, quantile):
    n, m = 5000, 20000
    psi = stats.chi2.ppf(quantile, bins - 1) * (1 / n + 1 / m)
    assert chance.of_stability(psi, bins, n, m) == pytest.approx(1 - quantile, rel=0.15, abs=0.02)


def test_stability_of_samples_of_one_population_is_as_probable_as_is_said():
    rng = np.random.default_rng(3)
    shares = np.full(10, 0.1)
    found = [
        chance.of_stability(
            population_stability(rng.multinomial(2000, shares), rng.multinomial(5000, shares)), 10, 2000, 5000
        )
        for _ in range(2000)
    ]
    for probability in (0.01, 0.1, 0.5):
        assert np.mean(np.array(found) <= probability) == pytest.approx(probability, abs=0.03)


@given(st.integers(50, 5000), st.integers(50, 5000), st.floats(0.02, 0.5))
def test_a_distance_is_never_said_to_be_less_probable_than_it_is(n, m, distance):
    exact = stats.kstwobign.sf(distance * np.sqrt(n * m / (n + m)))
    assert chance.of_distance(distance, n, m) >= exact * (1 - 1e-9)


def test_shares_are_compared_as_in_a_chi_squared_test_of_two_by_two():
    table = np.array([[50, 950], [80, 920]])
    exact = stats.chi2_contingency(table, correction=False).pvalue
    assert chance.of_shares(50, 1000, 80, 1000) == pytest.approx(exact, rel=1e-9)
    assert chance.of_shares(0, 1000, 0, 10) == 1
    assert chance.of_shares(1000, 1000, 10, 10) == 1


def test_what_cannot_differ_is_chance():
    assert chance.of_stability(0.0, 1, 100, 100) == 1


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(1e-6, 0.5))
def test_the_correction_is_at_least_as_sharp_as_bonferronis_and_never_sharper_than_none(probabilities, level):
    real = chance.beyond_chance(probabilities, level)
    assert len(real) == len(probabilities)
    for is_real, probability in zip(real, probabilities, strict=True):
        assert is_real or probability > level / len(probabilities)
        assert not is_real or probability <= level


def test_the_correction_stops_at_the_first_that_may_be_chance():
    # By hand, at 0.05: 0.01 <= 0.05/4; 0.014 <= 0.05/3; 0.04 > 0.05/2, and so 0.045 is not looked at any more.
    assert chance.beyond_chance([0.045, 0.01, 0.04, 0.014], 0.05) == [False, True, False, True]


def test_of_many_families_without_any_difference_few_have_one_called_real():
    rng = np.random.default_rng(5)
    wrong = sum(any(chance.beyond_chance(rng.random(200).tolist(), 0.05)) for _ in range(2000))
    assert wrong / 2000 == pytest.approx(0.05, abs=0.015)
