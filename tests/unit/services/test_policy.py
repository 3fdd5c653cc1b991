import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError
from services.scoring.policy import DEFAULT_POLICY, load_policy
from tests.unit.services.harness import CONTRACT

TEXT = DEFAULT_POLICY.read_text()
POLICY = load_policy(TEXT.encode())


def changed(old, new):
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new).encode()


def test_the_policy_in_force_fits_its_numbers():
    assert POLICY.request.default_term_months == 12
    assert (POLICY.approve_max_pd, POLICY.cutoff.decline_above_pd) == (0.20, 0.22)
    assert [POLICY.tier_of(pd).rate for pd in (0.001, 0.04, 0.0400001, 0.22)] == [8.99, 8.99, 11.99, 35.99]
    assert POLICY.legal.max_apr == 36.0


@pytest.mark.parametrize(
    ("pd", "recommendation"),
    [(0.0, "APPROVED"), (0.2, "APPROVED"), (0.2000001, "MANUAL_REVIEW"), (0.22, "MANUAL_REVIEW"), (0.221, "DECLINED")],
)
def test_cutoffs_include_their_limit(pd, recommendation):
    assert POLICY.recommend(pd) == recommendation


@pytest.mark.parametrize(
    ("pd", "score"),
    [(1 / 31, 720), (1 / 61, 760), (0.0035, 850), (0.0, 850), (1.0, 300), (1 - 1e-9, 300)],
)
def test_the_score_is_scaled_to_odds(pd, score):
    assert POLICY.credit_score(pd) == score


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_score_never_rises_with_the_risk(a, b):
    low, high = sorted((a, b))
    assert 300 <= POLICY.credit_score(high) <= POLICY.credit_score(low) <= 850
    assert POLICY.tier_of(low).rate <= POLICY.tier_of(high).rate


@pytest.mark.parametrize(
    ("width", "absent", "level"),
    [
        (0.05, 0, "HIGH"),
        (0.06, 0, "MEDIUM"),
        (0.01, 1, "MEDIUM"),
        (0.15, 1, "MEDIUM"),
        (0.16, 0, "LOW"),
        (0.01, 2, "LOW"),
    ],
)
def test_confidence_follows_what_is_known(width, absent, level):
    assert POLICY.confidence_in(width, absent) == level


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('version = "2026.2"', 'version = "2026.2"\nsurprise = 1', "unknown field `surprise`"),
        ("default_term_months = 12", "default_term = 12", "unknown field `default_term`"),
        ("default_term_months = 12", "default_term_months = 12.5", r"Expected `int`.*\$\.request"),
        ("pdo = 40.0", "pdo = 0.0", "> 0.0"),
        ("approve_max_pd = 0.20", "approve_max_pd = 0.23", "approve_max_pd is above decline_above_pd"),
        ("max_pd = 0.06", "max_pd = 0.03", "rising max_pd"),
        ("rate = 11.99", "rate = 8.0", "rising rate"),
        ("rate = 35.99", "rate = 36.5", "above the legal 36.0 %"),
        ("max_pd = 1.0", "max_pd = 0.21", "ends below decline_above_pd"),
        ("max = 850", "max = 300", r"score\.min"),
        ("max_width = 0.15", "max_width = 0.01", r"confidence\.high"),
        ("is_false = true", "is_false = true\nabove = 1.0", "exactly one of"),
        ("is_false = true", "", "exactly one of"),
        ('code = "term_above_limit"', 'code = "amount_above_limit"', "one code"),
        ("odd_days = 0", "odd_days = 30", "<= 29"),
        ("max_share = 0.5", "max_share = 0.0", "> 0.0"),
        ("terms = [3, 6,", "terms = [6, 3,", "rising months"),
        ('critical = "review"', 'critical = "ignore"', r"\$\.guard\.critical"),
        ("max_pd = 0.04", "max_pd = 0.04\nfee_flat = -1.0", ">= 0.0"),
        ("max_reasons = 4", "max_reasons = 5", "<= 4"),
        ("[cutoff]", "[cutoff", "policy"),
    ],
)
def test_a_wrong_policy_is_refused_and_named(old, new, message):
    with pytest.raises(InputError, match=message):
        load_policy(changed(old, new))


def test_a_policy_that_is_not_text_is_refused():
    with pytest.raises(InputError, match="policy"):
        load_policy(b"\xff\xfe")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('feature = "of_legal_age"', 'feature = "of_age"', "the contract does not have"),
        ('feature = "of_legal_age"', 'feature = "annual_income"', "does not fit the kind"),
        ('feature = "purchase_amount"\nabove', 'feature = "home_ownership"\nabove', "does not fit the kind"),
        ('income = "annual_income"', 'income = "home_ownership"', "affordability.income"),
        ('views = ["applicant_profile"]', 'views = ["profile"]', "'profile', which is no view"),
        ('or_in_request = ["annual_income"]', 'or_in_request = ["inflow_90d"]', "'inflow_90d', which is in none"),
    ],
)
def test_a_policy_must_fit_the_contract(old, new, message):
    with pytest.raises(InputError, match=message):
        load_policy(changed(old, new)).check_contract(CONTRACT)


def test_rules_fire_beyond_their_limit_and_never_on_the_unknown():
    rules = {rule.code: rule for rule in POLICY.knock_out}
    assert rules["not_of_legal_age"].fires(False)
    assert not rules["not_of_legal_age"].fires(True)
    assert rules["amount_above_limit"].fires(1_000_000.01)
    assert not rules["amount_above_limit"].fires(1_000_000.0)
    assert rules["amount_below_limit"].fires(49.99)
    assert not rules["amount_below_limit"].fires(50.0)
    assert not any(rule.fires(None) for rule in rules.values())


def test_points_double_the_odds():
    factor = POLICY.score.pdo / math.log(2)
    offset = POLICY.score.points - factor * math.log(POLICY.score.odds)
    for pd in (0.01, 0.05, 0.2, 0.5):
        assert POLICY.credit_score(pd) == round(offset + factor * math.log((1 - pd) / pd))
