import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from feature_repo.contract import FeatureSpec
from training import baselines
from training.baselines import FITS, PLAIN_PARAMETERS, PLAIN_ROUNDS, fit_baselines
from training.columns import columns_of, encode

EVERYTHING = tuple(FITS)
pytestmark = pytest.mark.filterwarnings("error")


def spec(name, kind="number", risk="either", categories=()):
    return FeatureSpec(name=name, view="v", kind=kind, description="", unit="", risk=risk, categories=categories)


SPECS = [
    spec("debt", risk="increases"),
    spec("income", risk="decreases"),
    spec("age_of_account"),
    spec("verified", "flag"),
    spec("home", "category", categories=("OWN", "RENT")),
]


def loans(n=3000, seed=1):
    """Loans whose default hangs on debt, income, home and on whether the account's age is known."""
    random = np.random.default_rng(seed)
    debt, income = random.normal(size=n), random.lognormal(10, 0.5, n)
    known, renting = random.random(n) < 0.7, random.random(n) < 0.5
    defaulted = random.random(n) < expit(-2 + debt - 0.8 * (np.log(income) - 10) + 0.9 * ~known + 0.5 * renting)
    values = {
        "debt": debt.astype(object),
        "income": income.astype(object),
        "age_of_account": np.where(known, random.random(n), None),
        "verified": (random.random(n) < 0.5).astype(object),
        "home": np.where(renting, "RENT", np.where(random.random(n) < 0.2, None, "OWN")).astype(object),
    }
    return values, defaulted


def halves(n):
    earlier = np.arange(n) < n // 2
    return earlier, ~earlier


def fitted(specs=SPECS, which=EVERYTHING, **more):
    values, defaulted = more.pop("loans", None) or loans()
    earlier, later = more.pop("rows", None) or halves(len(defaulted))
    return fit_baselines(specs, values, earlier, defaulted, later, 7, which), defaulted[later]


def test_every_baseline_ranks_loans_that_it_has_not_seen():
    found, outcomes = fitted()
    assert list(found.pd) == ["scorecard", "logistic", "plain_xgboost"]
    assert found.absent == {}
    for pd in found.pd.values():
        assert roc_auc_score(outcomes, pd) > 0.7
        assert ((pd > 0) & (pd < 1)).all()


@pytest.mark.parametrize("name", ["scorecard", "logistic"])
def test_mean_pd_of_the_loans_fitted_on_is_their_default_rate(name):
    values, defaulted = loans()
    everyone = np.ones(len(defaulted), bool)
    found = fit_baselines(SPECS, values, everyone, defaulted, everyone, 7)
    assert found.pd[name].mean() == pytest.approx(defaulted.mean(), abs=1e-4)


@pytest.mark.parametrize(("risk", "sign"), [("increases", 1), ("decreases", -1)])
def test_the_scorecard_follows_the_contracts_direction_where_the_data_wobble(risk, sign):
    random = np.random.default_rng(3)
    x = random.random(4000)
    defaulted = random.random(4000) < 0.2 + sign * 0.15 * np.sin(5 * x) * (x < 0.6) + sign * 0.3 * (x >= 0.6)
    values = {"x": np.append(x, np.linspace(0, 1, 400)).astype(object)}
    rows = np.arange(4400) < 4000
    found = fit_baselines([spec("x", risk=risk)], values, rows, np.append(defaulted, np.zeros(400, bool)), ~rows, 1)
    steps = np.diff(found.pd["scorecard"]) * sign
    assert (steps >= -1e-12).all()
    assert steps.max() > 0.05


def test_a_missing_value_has_a_bin_of_its_own_in_the_scorecard():
    random = np.random.default_rng(4)
    x, absent = random.random(4000), random.random(4000) < 0.3
    defaulted = random.random(4000) < np.where(absent, 0.5, 0.1)
    everyone = np.ones(4000, bool)
    values = {"x": np.where(absent, None, x)}
    found = fit_baselines([spec("x")], values, everyone, defaulted, everyone, 1)
    assert found.pd["scorecard"][absent][0] == pytest.approx(defaulted[absent].mean(), abs=0.02)
    assert np.unique(found.pd["scorecard"][absent]).size == 1


def test_the_logistic_regression_is_that_of_hand_made_columns():
    values, defaulted = loans()
    earlier, later = halves(len(defaulted))
    found = fit_baselines(SPECS, values, earlier, defaulted, later, 7, ["logistic"])
    ages = values["age_of_account"].astype(float)
    numbers = [values["debt"], values["income"], np.where(np.isnan(ages), np.nanmedian(ages[earlier]), ages)]
    by_hand = np.column_stack([*numbers, values["verified"], np.isnan(ages)]).astype(float)
    by_hand = (by_hand - by_hand[earlier].mean(axis=0)) / by_hand[earlier].std(axis=0)
    homes = np.column_stack([[home == value for home in values["home"]] for value in ("OWN", "RENT", None)])
    x = np.column_stack([by_hand, homes])
    model = LogisticRegression(max_iter=1000).fit(x[earlier], defaulted[earlier])
    np.testing.assert_allclose(found.pd["logistic"], model.predict_proba(x[later])[:, 1], atol=1e-4)


def test_plain_xgboost_is_xgboost_with_the_stated_parameters_and_no_constraints():
    values, defaulted = loans()
    earlier, later = halves(len(defaulted))
    found = fit_baselines(SPECS, values, earlier, defaulted, later, 7, ["plain_xgboost"])
    matrix = encode(columns_of(SPECS), values)
    bare = xgboost.train(
        {**PLAIN_PARAMETERS, "seed": 7}, xgboost.DMatrix(matrix[earlier], defaulted[earlier]), PLAIN_ROUNDS
    )
    assert "monotone_constraints" not in PLAIN_PARAMETERS
    assert np.corrcoef(found.pd["plain_xgboost"], bare.predict(xgboost.DMatrix(matrix[later])))[0, 1] > 0.999


def test_features_of_one_value_or_none_change_nothing():
    values, defaulted = loans()
    rows = halves(len(defaulted))
    more = values | {
        "constant": np.full(len(defaulted), 3.0, object),
        "nothing": np.full(len(defaulted), None, object),
        "late": np.where(rows[0], None, 1.0),
        "one_word": np.full(len(defaulted), "A", object),
    }
    specs = [*SPECS, spec("constant"), spec("nothing"), spec("late"), spec("one_word", "category", categories=("A",))]
    wide, _ = fitted(specs, loans=(more, defaulted), rows=rows)
    narrow, _ = fitted(loans=(values, defaulted), rows=rows)
    for name in EVERYTHING:
        np.testing.assert_array_equal(wide.pd[name], narrow.pd[name])


def test_outcomes_of_loans_that_were_not_fitted_on_are_not_looked_at():
    values, defaulted = loans()
    rows = halves(len(defaulted))
    honest, _ = fitted(loans=(values, defaulted), rows=rows)
    blind, _ = fitted(loans=(values, defaulted & rows[0]), rows=rows)
    for name in EVERYTHING:
        np.testing.assert_array_equal(honest.pd[name], blind.pd[name])


def test_a_category_or_a_gap_never_seen_before_is_scored():
    values, defaulted = loans()
    rows = halves(len(defaulted))
    values["home"] = np.where(rows[1], "CASTLE", values["home"])
    values["debt"] = np.where(rows[1], None, values["debt"])
    found, _ = fitted(loans=(values, defaulted), rows=rows)
    assert all(np.isfinite(pd).all() for pd in found.pd.values())


def test_many_loans_are_sampled_by_the_seed_and_that_is_said(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_ROWS", 1000)
    values, defaulted = loans()
    rows = halves(len(defaulted))
    first, again, other = (
        fit_baselines(SPECS, values, rows[0], defaulted, rows[1], seed, EVERYTHING) for seed in (7, 7, 8)
    )
    assert (first.rows, first.of) == (1000, 1500)
    for name in EVERYTHING:
        np.testing.assert_array_equal(first.pd[name], again.pd[name])
        assert (first.pd[name] != other.pd[name]).any()


def test_one_outcome_or_no_feature_is_told_and_nothing_fitted():
    values, defaulted = loans(60)
    found, _ = fitted(loans=(values, np.zeros(60, bool)))
    assert found.pd == {}
    assert found.absent == {name: "0 defaults of 30 loans: a model needs both outcomes" for name in EVERYTHING}
    found, _ = fitted([spec("nothing")], loans=({"nothing": np.full(60, None, object)}, defaulted))
    assert found.absent["scorecard"] == "no feature has more than one value"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.integers(2, 60))
def test_a_tiny_sample_gives_a_pd_or_a_reason(seed, n):
    values, _ = loans(n, seed)
    defaulted = np.random.default_rng(seed).random(n) < 0.3
    everyone = np.ones(n, bool)
    found = fit_baselines(SPECS, values, everyone, defaulted, everyone, seed, EVERYTHING)
    assert {*found.pd, *found.absent} == set(EVERYTHING)
    assert all(np.isfinite(pd).all() for pd in found.pd.values())
    assert all(found.absent.values())


def test_fitting_prints_nothing(capfd):
    fitted()
    assert capfd.readouterr() == ("", "")
