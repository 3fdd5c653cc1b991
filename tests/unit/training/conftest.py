import numpy as np
import pytest

from feature_repo.contract import FeatureSpec
from training.columns import columns_of
from training.model import Parameters, fit, margins


def sample(n, seed, k=6):
    """Rows with missing values whose first columns drive default."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, k)).astype(np.float32)
    log_odds = -2 + 1.2 * x[:, 0] - 0.8 * x[:, 1] + 0.5 * x[:, 2] * (x[:, 3] > 0)
    y = random.random(n) < 1 / (1 + np.exp(-log_odds))
    x[random.random(x.shape) < 0.1] = np.nan
    return x, y


@pytest.fixture(scope="session")
def specs():
    risks = ["increases", "decreases", "either", "either", "either", "either"]
    return [
        FeatureSpec(name=f"f{i}", view="v", kind="number", description="", unit="", risk=risk, reason=f"f{i} is bad")
        for i, risk in enumerate(risks)
    ]


@pytest.fixture(scope="session")
def columns(specs):
    return columns_of(specs)


@pytest.fixture(scope="session")
def fitted(columns):
    booster = fit(Parameters(), columns, *sample(4000, 1), rounds=60, seed=3)
    x, y = sample(2000, 4)
    return booster, x, y, margins(booster, x)
