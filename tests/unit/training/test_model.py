import numpy as np
import pytest

from tests.unit.training.conftest import sample
from training.folds import expanding_folds
from training.model import Parameters, fit, held_out_loss, margins
from training.uncertainty import auc_interval


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(columns):
    def model(seed):
        booster = fit(Parameters(), columns, *sample(2000, 1), rounds=30, seed=seed)
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


def folds(n):
    decided = np.arange(n).astype("M8[h]")
    return expanding_folds(decided, sample(n, 1)[1], 4)


def test_rounds_are_where_the_folds_log_loss_is_lowest(columns):
    x, y = sample(1200, 1)
    parameters = Parameters(max_rounds=60, early_stopping_rounds=60, eta=0.3)
    *_, held = held_out_loss(parameters, columns, x, y, folds(1200), seed=3)
    losses = []
    for rounds in (held.rounds - 3, held.rounds, held.rounds + 3):
        total = 0.0
        for fold in folds(1200):
            booster = fit(parameters, columns, x[fold.earlier], y[fold.earlier], rounds=rounds, seed=3)
            z = margins(booster, x[fold.later])
            total += float(np.sum(np.logaddexp(0, z) - y[fold.later] * z))
        losses.append(total / sum(len(fold.later) for fold in folds(1200)))
    assert losses[1] == min(losses)
    assert held.loss == pytest.approx(losses[1], abs=1e-6)


def test_early_stopping_cuts_the_rounds(columns):
    *_, held = held_out_loss(Parameters(max_rounds=500, eta=0.5), columns, *sample(800, 1), folds(800), seed=3)
    assert held.rounds < 200


def test_rows_handed_over_in_parts_give_the_same_model(columns, monkeypatch):
    whole = fit(Parameters(), columns, *sample(3000, 1), rounds=20, seed=3)
    monkeypatch.setattr("training.model.BATCH", 700)
    parts = fit(Parameters(), columns, *sample(3000, 1), rounds=20, seed=3)
    x = sample(500, 2)[0]
    np.testing.assert_allclose(margins(whole, x), margins(parts, x), atol=0.05)


def test_permuted_labels_leave_nothing_to_learn(columns):
    x, y = sample(4000, 1)
    permuted = np.random.default_rng(5).permutation(y)
    booster = fit(Parameters(), columns, x[:2000], permuted[:2000], rounds=60, seed=3)
    auc = auc_interval(permuted[2000:], margins(booster, x[2000:]), level=0.999)
    assert auc.low < 0.5 < auc.high
    assert auc.high - auc.low < 0.2, "and the sample is large enough to tell"
