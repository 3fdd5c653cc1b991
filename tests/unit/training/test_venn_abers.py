import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from training.calibration import calibrate

TIED = st.tuples(st.integers(-4, 4), st.booleans())


def least_of_greatest(margins, labels, place):
    """The isotonic fit at a place by its closed form: the greatest over starts of the least mean over ends."""
    order = np.argsort(margins, kind="stable")
    x, y = margins[order], labels[order]
    starts = [i for i in range(len(x)) if x[i] <= place and (i == 0 or x[i - 1] < x[i])]
    ends = [i + 1 for i in range(len(x)) if x[i] >= place and (i == len(x) - 1 or x[i + 1] > x[i])]
    return max(min(y[start:end].mean() for end in ends) for start in starts)


@given(st.lists(TIED, min_size=1, max_size=24))
def test_intervals_are_the_isotonic_fits_of_one_more_loan_of_either_outcome(rows):
    rows = [*[(-5, False), (5, True)] * 24, (5, False), *rows]  # so that the sigmoid rises, whatever is drawn
    margins, defaulted = np.array([float(m) for m, _ in rows]), np.array([bad for _, bad in rows])
    fitted = calibrate(margins, defaulted)
    for label, bounds in ((0, fitted.lower), (1, fitted.upper)):
        expected = [
            least_of_greatest(np.append(margins, place), np.append(defaulted, label).astype(float), place)
            for place in fitted.grid
        ]
        assert list(bounds) == pytest.approx(expected, abs=1e-12)


def test_intervals_are_those_of_scikit_learn():
    random = np.random.default_rng(1)
    margins = random.normal(-1.5, 1, 3000).astype(np.float32).astype(np.float64)
    defaulted = random.random(3000) < 1 / (1 + np.exp(-margins))
    fitted = calibrate(margins, defaulted)
    for label, bounds in ((0, fitted.lower), (1, fitted.upper)):
        for place, bound in zip(fitted.grid[::10], bounds[::10], strict=True):
            isotonic = IsotonicRegression().fit(np.append(margins, place), np.append(defaulted, label))
            assert bound == pytest.approx(isotonic.predict([place])[0], abs=1e-12)


def test_intervals_by_hand():
    margins = np.array([-2.0, -2.0, -1.0, -1.0, 0.0, 1.0])
    fitted = calibrate(margins, np.array([False, False, True, False, False, True]))
    # At -2 one more good loan makes 0 of 3, a bad one 1 of 3. At 1 they make 1 of 2 and 2 of 2.
    assert (fitted.lower[0], fitted.upper[0], fitted.lower[-1], fitted.upper[-1]) == (0, 1 / 3, 1 / 2, 1)
