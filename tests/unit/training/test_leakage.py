from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from feature_repo.contract import FeatureSpec
from feature_repo.errors import GateError
from training.leak import Leak, Limits
from training.leakage import check_leakage, require_no_leak

LOANS = Path(__file__).resolve().parents[4] / "shared" / "data" / "lendingclub" / "loans_2007_2011.parquet"


def spec(name, kind="number", categories=()):
    return FeatureSpec(name=name, view="v", kind=kind, description="", unit="", categories=categories)


def portfolio(n=6000, seed=1, strength=0.5):
    """Ten honest features, two of them told by the outcome's own cause; amount and term among them."""
    random = np.random.default_rng(seed)
    risk = random.normal(size=n)
    values = {
        "score": risk + random.normal(size=n) / strength,
        "balance": np.round(1000 * (random.normal(size=n) - risk), -2),
        "purchase_amount": np.round(random.lognormal(8, 0.8, n), 2),
        "term_months": random.choice([12.0, 36.0, 60.0], n),
        "months_since_late": np.where(random.random(n) < 0.6, np.nan, random.integers(0, 90, n)),
        **{f"noise_{i}": random.normal(size=n) for i in range(5)},
    }
    defaulted = random.random(n) < norm.cdf(0.8 * risk - 1.3 + 0.2 * (values["term_months"] == 60))
    home = np.where(random.random(n) < 0.05, None, random.choice(["OWN", "RENT"], n)).astype(object)
    objects = {name: column.astype(object) for name, column in values.items()} | {"home": home}
    specs = [spec(name) for name in values] + [spec("home", "category", ("OWN", "RENT"))]
    return specs, objects, defaulted


def with_column(name, column, n=6000, kind="number", categories=()):
    specs, values, defaulted = portfolio(n)
    added = column(np.random.default_rng(9), values, defaulted)
    return [*specs, spec(name, kind, categories)], values | {name: np.asarray(added, dtype=object)}, defaulted


def recoveries(random, values, defaulted):
    return np.where(defaulted & (random.random(len(defaulted)) < 0.3), random.uniform(10, 900, len(defaulted)), 0.0)


def received(random, values, defaulted):
    share = np.where(defaulted, random.uniform(0, 0.95, len(defaulted)), random.uniform(0.9, 1.3, len(defaulted)))
    return share * values["purchase_amount"].astype(float)


def last_payment(random, values, defaulted):
    paid = ~defaulted | (random.random(len(defaulted)) > 0.15)
    return [float(value) if there else None for value, there in zip(random.random(len(paid)), paid, strict=True)]


def settled(random, values, defaulted):
    return [
        "Y" if bad and lucky else "N" for bad, lucky in zip(defaulted, random.random(len(defaulted)) < 0.1, strict=True)
    ]


def late_fees(random, values, defaulted):
    charged = random.random(len(defaulted)) < np.where(defaulted, 0.2, 0.03)
    return np.where(charged, random.uniform(15, 200, len(charged)), 0.0)


def last_amount(random, values, defaulted):
    return random.normal(size=len(defaulted)) - 1.45 * defaulted


def test_honest_features_are_never_flagged():
    specs, values, defaulted = portfolio()
    assert [check_leakage(specs, values, defaulted, seed=seed) for seed in range(2)] == [()] * 2


@pytest.mark.parametrize(
    ("column", "kind", "categories", "test", "why"),
    [
        (recoveries, "number", (), "region", "loans with leaked"),
        (received, "number", (), "for the amount", "its share of the amount"),
        (last_payment, "number", (), "region", "loans with leaked missing defaulted"),
        (settled, "category", ("Y", "N"), "region", "loans with leaked = Y defaulted"),
        (last_amount, "number", (), "jump", "to the AUC of all other features"),
    ],
)
def test_a_column_written_after_the_decision_is_found(column, kind, categories, test, why):
    specs, values, defaulted = with_column("leaked", column, kind=kind, categories=categories)
    leaks = check_leakage(specs, values, defaulted, seed=3)
    assert {leak.feature for leak in leaks} == {"leaked"}
    assert any(leak.test == test and why in leak.why for leak in leaks)


def test_who_knows_the_source_may_vouch_for_a_feature_and_for_no_other():
    leaks = (
        Leak("score", "alone", 0.9, 0.88, 0.85, "too good"),
        Leak("fees", "jump", 0.2, 0.15, 0.12, "adds too much"),
    )
    with pytest.raises(GateError, match=r"leakage: score: too good; fees: adds too much\..*--sound FEATURE=REASON"):
        require_no_leak(leaks)
    with pytest.raises(GateError, match=r"leakage: fees: adds too much\. "):
        require_no_leak(leaks, {"score": "another lender's score, dated before the decision"})
    require_no_leak(leaks, {"score": "x", "fees": "y"})


def test_late_fees_are_found_because_they_add_more_than_an_independent_score_would():
    specs, values, defaulted = with_column("late_fees", late_fees, n=20000)
    (leak,) = check_leakage(specs, values, defaulted, seed=3)
    assert (leak.feature, leak.test) == ("late_fees", "jump")
    assert Limits().interplay < leak.limit < leak.bound < leak.estimate < Limits().jump


def test_the_outcome_itself_is_found_even_on_46_bad_loans():
    specs, values, _ = portfolio(328)
    defaulted = np.arange(328) % 7 == 0
    values = values | {"status": defaulted.astype(object)}
    leaks = check_leakage([*specs, spec("status", "flag")], values, defaulted, seed=3)
    assert {leak.feature for leak in leaks} == {"status"}
    assert {leak.test for leak in leaks} >= {"alone", "region"}


def test_a_region_without_a_default_counts_only_if_it_is_large():
    random = np.random.default_rng(2)
    defaulted = np.append(np.zeros(20000, bool), random.random(20000) < 0.2)
    safe = np.append(np.ones(20000), np.zeros(20000)).astype(object)
    (leak, *_) = check_leakage([spec("closed")], {"closed": safe}, defaulted, seed=1)
    assert leak.why.startswith("0 of 20000 loans with closed = 1 defaulted")
    few = slice(19800, None)  # 200 loans without a default, where 20 % would be 40: strong, and honest
    assert check_leakage([spec("closed")], {"closed": safe[few]}, defaulted[few], seed=1) == ()


def test_one_strong_feature_may_carry_a_thin_contract():
    specs, values, defaulted = with_column("last_amount", last_amount)
    thin = [each for each in specs if each.name in ("last_amount", "purchase_amount", "term_months", "noise_1", "home")]
    assert check_leakage(thin, values, defaulted, seed=3) == ()


def test_a_feature_at_the_limit_is_accused_no_oftener_than_stated():
    def accused(seed):
        random = np.random.default_rng(seed)
        defaulted = random.random(1500) < 0.2
        apart = np.sqrt(2) * norm.ppf(Limits().auc)  # AUC of two unit normals that far apart: the limit
        values = {"at_the_limit": (random.normal(size=1500) + apart * defaulted).astype(object)}
        return any(leak.test == "alone" for leak in check_leakage([spec("at_the_limit")], values, defaulted, seed=seed))

    assert np.mean([accused(seed) for seed in range(200)]) <= Limits().error


def test_too_few_defaults_tell_nothing():
    defaulted = np.arange(500) < 9
    assert check_leakage([spec("status")], {"status": defaulted.astype(object)}, defaulted, seed=1) == ()


def test_a_sample_is_drawn_by_the_seed_alone():
    specs, values, defaulted = with_column("recoveries", recoveries)
    small = Limits(rows=3000, model_rows=2000)
    first = check_leakage(specs, values, defaulted, seed=4, limits=small)
    assert first == check_leakage(specs, values, defaulted, seed=4, limits=small)
    assert first != check_leakage(specs, values, defaulted, seed=5, limits=small)
    assert {leak.feature for leak in first} == {"recoveries"}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 400), st.floats(0.1, 0.9), st.integers(1, 30))
def test_features_that_know_nothing_of_the_outcome_are_not_flagged(seed, n, rate, distinct):
    random = np.random.default_rng(seed)
    defaulted = random.random(n) < rate
    values = {"a": random.integers(0, distinct, n).astype(object), "purchase_amount": random.random(n).astype(object)}
    values["b"] = np.where(random.random(n) < 0.3, None, values["a"])
    values["c"] = np.array([None] * n, dtype=object)
    specs = [spec("a"), spec("b"), spec("c"), spec("purchase_amount")]
    assert check_leakage(specs, values, defaulted, seed=seed) == ()


def test_the_gate_names_each_feature_once():
    specs, values, defaulted = with_column("recoveries", recoveries)
    leaks = check_leakage(specs, values, defaulted, seed=3)
    with pytest.raises(GateError, match=r"^leakage: recoveries: [^;]*defaulted[^;]*\. Was it written after") as error:
        require_no_leak(leaks)
    assert error.value.exit_code == 1
    require_no_leak([])


HONEST = {
    "purchase_amount": "loan_amnt",
    "term_months": "term::int",
    "annual_income": "annual_inc",
    "debt_to_income_ratio": "dti / 100",
    "credit_utilization": "revol_util",
    "num_credit_lines": "open_acc",
    "total_credit_lines": "total_acc",
    "num_credit_inquiries": "inq_last_6mths",
    "num_public_records": "pub_rec",
    "revolving_balance": "revol_bal",
    "credit_history_months": "date_diff('month', earliest_cr_line, issue_d)",
    "months_since_last_delinquency": "mths_since_last_delinq",
    "num_late_payments": "delinq_2yrs",
    "income_verified": "(verification_status <> 'Not Verified')::int",
    "employed_long": "(emp_length = '10+ years')::int",
}
LEAKED = {
    **{name: name for name in ("total_pymnt", "total_pymnt_inv", "total_rec_prncp")},
    **{name: name for name in ("recoveries", "collection_recovery_fee")},
    "months_to_last_payment": "date_diff('month', issue_d, last_pymnt_d)",
    "debt_settled": "(debt_settlement_flag = 'Y')::int",
    "settlement_known": "case when settlement_date <> '' then 1 end",
    "outstanding_principal": "funded_amnt - total_rec_prncp",
}
HIDDEN = {
    **{name: name for name in ("total_rec_int", "total_rec_late_fee", "last_pymnt_amnt")},
    "months_to_last_credit_pull": "date_diff('month', issue_d, last_credit_pull_d)",
}


@pytest.fixture(scope="module")
def lending_club():
    if not LOANS.is_file():
        pytest.skip("the real loans are not beside the project (../shared/data)")
    columns = ", ".join(f"({sql})::double as {name}" for name, sql in (HONEST | LEAKED | HIDDEN).items())
    table = duckdb.sql(
        f"select {columns}, issue_d, loan_status like '%Charged Off' as defaulted from"
        f" read_parquet('{LOANS}', file_row_number=true) where issue_d < '2011-07-01' order by file_row_number"
    ).fetchnumpy()
    values = {name: np.ma.filled(table[name], np.nan).astype(object) for name in HONEST | LEAKED | HIDDEN}
    return values, np.asarray(table["defaulted"], bool), np.asarray(table["issue_d"]).astype("M8[D]")


@pytest.mark.real_data
@pytest.mark.parametrize("leaked", HIDDEN)
def test_columns_of_lendingclub_that_leak_only_among_others_are_found(leaked, lending_club):
    values, defaulted, _ = lending_club
    leaks = check_leakage([spec(name) for name in (*HONEST, leaked)], values, defaulted, seed=7)
    assert [(leak.feature, leak.test) for leak in leaks] == [(leaked, "jump")]


@pytest.mark.real_data
def test_all_other_columns_that_lendingclub_wrote_after_the_decision_are_found_at_once(lending_club):
    values, defaulted, _ = lending_club
    told = {name: values[name] for name in (*HONEST, *LEAKED)}
    leaks = check_leakage([spec(name) for name in told], told, defaulted, seed=7)
    assert {leak.feature for leak in leaks} == set(LEAKED)


@pytest.mark.real_data
@pytest.mark.parametrize("before", ["2008-07-01", "2009-01-01", "2010-07-01", "2011-07-01"])
def test_what_lendingclub_knew_when_it_decided_is_not_flagged(before, lending_club):
    values, defaulted, issued = lending_club
    rows = issued < np.datetime64(before)
    chosen = {name: values[name][rows] for name in HONEST}
    assert check_leakage([spec(name) for name in HONEST], chosen, defaulted[rows], seed=7) == ()
