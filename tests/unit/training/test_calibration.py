import numpy as np
import pytest

from feature_repo.errors import InputError
from training.calibration import calibrate
from training.evaluate import expected_calibration_error, metrics
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
    assert found == pytest.approx(
        {"oot_auc": 0.75, "oot_ks": 0.5, "oot_gini": 0.5, "oot_brier": (0.01 + 0.64 + 0.09 + 0.01) / 4,
         "oot_ece": (0.1 + 0.8 + 0.3 + 0.1) / 4, "oot_accuracy": 0.5}
    )  # fmt: skip


def test_metrics_of_one_outcome_are_refused():
    with pytest.raises(InputError, match="0 defaults of 3"):
        metrics("oot", np.array([0.1, 0.2, 0.3]), np.zeros(3, bool), 0.2)
