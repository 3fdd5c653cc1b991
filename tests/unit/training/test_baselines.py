import numpy as np
import pytest

from feature_repo.contract import FeatureSpec
from training.baselines import LOGISTIC, PLAIN_XGBOOST, SCORECARD, fit_baselines
from training.uncertainty import auc_interval

ALL = (SCORECARD, LOGISTIC, PLAIN_XGBOOST)


def spec(name, kind="number", **more):
    return FeatureSpec(name=name, view="v", kind=kind, description="", unit="", **more)


SPECS = [
    spec("debt", risk="increases"),
    spec("income", risk="decreases"),
    spec("home", "category", categories=("OWN", "RENT")),
    spec("verified", "flag"),
    spec("constant"),
    spec("absent"),
]


@pytest.fixture(scope="module")
def loans():
    random = np.random.default_rng(5)
    n = 3000
    debt, income = random.normal(size=n), random.normal(size=n)
    home = random.choice(["OWN", "RENT", None], n, p=[0.5, 0.4, 0.1])
    log_odds = -1.5 + debt - 0.7 * income + 0.8 * (home == "RENT")
    defaulted = random.random(n) < 1 / (1 + np.exp(-log_odds))
    gone = random.random(n) < 0.1
    values = {
        "debt": np.where(gone, None, debt),
        "income": income.astype(object),
        "home": home.astype(object),
        "verified": random.choice([True, False, None], n).astype(object),
        "constant": np.full(n, 7.0, object),
        "absent": np.full(n, None, object),
    }
    fitted = np.arange(n) < 2000
    return {"fitted_rows": fitted, "score_rows": ~fitted, "defaulted": defaulted}, values, log_odds


def test_every_baseline_ranks_nearly_as_the_truth_does(loans):
    rows, values, log_odds = loans
    found = fit_baselines(SPECS, values, **rows, seed=7, which=ALL)
    y = rows["defaulted"][2000:]
    best = auc_interval(y, log_odds[2000:]).estimate
    for name in ALL:
        assert len(found[name]) == 1000
        assert auc_interval(y, found[name]).estimate > best - 0.06, name
        assert abs(found[name].mean() - y.mean()) < 0.05, name


def test_the_same_seed_gives_the_same_numbers(loans):
    rows, values, _ = loans
    first, second = (fit_baselines(SPECS, values, **rows, seed=7, which=ALL) for _ in range(2))
    for name in ALL:
        np.testing.assert_array_equal(first[name], second[name])


def test_the_scorecard_takes_the_contracts_direction(loans):
    rows, values, _ = loans
    turned = [spec("debt", risk="decreases")]
    found = fit_baselines(turned, values, **rows, seed=7, which=(SCORECARD,))[SCORECARD]
    known = np.array([value is not None for value in values["debt"][2000:]])
    assert len(np.unique(found[known])) == 1, "no bins rise against the truth: one is left"


def test_missing_values_and_values_never_seen_are_scored(loans):
    rows, values, _ = loans
    strange = {name: column.copy() for name, column in values.items()}
    strange["home"][2000:] = "CASTLE"
    strange["debt"][2000:] = None
    for name, pd in fit_baselines(SPECS, strange, **rows, seed=7, which=ALL).items():
        assert ((pd > 0) & (pd < 1)).all(), name


def test_with_nothing_to_learn_from_there_is_no_baseline(loans):
    rows, values, _ = loans
    assert fit_baselines(SPECS[4:], values, **rows, seed=7) == {}


def test_a_few_hundred_loans_are_enough(loans):
    rows, values, _ = loans
    few = rows | {"fitted_rows": np.arange(3000) < 150}
    assert set(fit_baselines(SPECS, values, **few, seed=7, which=ALL)) == set(ALL)
