import numpy as np

from tests.unit.training.conftest import sample
from training.model import Parameters, fit, margins


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(columns):
    def model(seed):
        booster = fit(Parameters(max_rounds=30), columns, *sample(2000, 1), seed=seed)
        return bytes(booster.save_raw("ubj"))

    assert model(5) == model(5)
    assert model(5) != model(6)


def test_constraints_hold_everywhere(fitted):
    booster, x, _, _ = fitted
    rows = np.repeat(x[:50], 40, axis=0)
    for column, sign in ((0, 1), (1, -1)):
        swept = rows.copy()
        swept[:, column] = np.tile(np.linspace(-4, 4, 40, dtype=np.float32), 50)
        steps = np.diff(margins(booster, swept).reshape(50, 40), axis=1) * sign
        assert (steps >= -1e-6).all()
        assert (steps > 1e-3).any()


def test_early_stopping_cuts_the_rounds(columns):
    booster = fit(Parameters(max_rounds=500, eta=0.5), columns, *sample(800, 1), seed=3)
    assert booster.num_boosted_rounds() < 200
