"""Limits on terms, evidence, counter-offers and the expected loss, each under the policy in force or a change of it."""

import msgspec
import pytest

from feature_repo.stores.stored import StoredFeatures
from services import present
from services.scoring.decide import decide
from services.scoring.errors import FieldProblem
from services.scoring.inputs import gather
from services.scoring.policy import DEFAULT_POLICY
from tests.unit.services.harness import CONTRACT, LinearScorer, a_model
from tests.unit.services.test_decide import MISSING, OCCASION, held, run, stale

TEXT = DEFAULT_POLICY.read_text()
SAFE = LinearScorer(base=-6.0, weights={})
NOBODY = StoredFeatures("A1", {view.name: MISSING for view in CONTRACT.views})
# What a checkout can tell of somebody that no store has seen.
NINE = {
    "annual_income": 65000, "age": 35, "debt_to_income_ratio": 0.2, "credit_utilization": 0.3, "num_inquiries": 1,
    "months_since_delinquency": 40, "home_ownership": "OWN", "inflow_90d": 16000, "loan_purpose": "other",
}  # fmt: skip


def changed(*pairs):
    text = TEXT
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text.encode()


def codes(decision):
    return [reason.code for reason in decision.adverse_action_reasons]


# --- evidence


@pytest.mark.parametrize("given", [{"annual_income": 65000}, {"credit_utilization": 0.1}, {"age": 35}])
def test_somebody_unknown_is_not_approved_on_a_single_value(given):
    decision = run(NOBODY, SAFE, **given)
    assert decision.approval_recommendation == "MANUAL_REVIEW"
    assert decision.review_reasons
    assert decision.recommended_terms.monthly_payment == 306.06


def test_somebody_unknown_who_brings_the_evidence_is_decided_on():
    decision = run(NOBODY, SAFE, **NINE)
    assert decision.approval_recommendation == "APPROVED"
    assert decision.confidence == "HIGH"
    assert decision.recommended_terms.approved


@pytest.mark.parametrize("absent", [MISSING, stale("credit_bureau")])
def test_without_a_bureau_report_a_person_decides(absent):
    decision = run(held(credit_bureau=absent), SAFE)
    assert decision.approval_recommendation == "MANUAL_REVIEW"
    assert decision.review_reasons == ("No recent credit bureau report was available",)
    half = run(held(credit_bureau=absent), SAFE, debt_to_income_ratio=0.2)
    assert half.approval_recommendation == "MANUAL_REVIEW"
    whole = run(held(credit_bureau=absent), SAFE, debt_to_income_ratio=0.2, credit_utilization=0.3)
    assert whole.approval_recommendation == "APPROVED"


def test_a_decline_does_not_wait_for_evidence():
    scorer = LinearScorer(base=5.0, missing={"debt_to_income_ratio": 1.0})
    decision = run(NOBODY, scorer, age=35)
    assert decision.approval_recommendation == "DECLINED"
    assert codes(decision) == ["credit_bureau_absent"]


def reads(*features):
    """A model of a portfolio that fills only some views."""
    return LinearScorer(base=-6.0, weights={}, features=features)


def test_a_view_that_the_model_does_not_read_is_not_missed():
    gone = held(credit_bureau=MISSING, applicant_profile={"of_legal_age": True, "annual_income": None})
    decision = run(gone, reads("inflow_90d"))
    assert (decision.approval_recommendation, decision.confidence) == ("APPROVED", "HIGH")
    decision = run(held(credit_bureau=MISSING, account_cashflow=MISSING), reads("inflow_90d"))
    assert decision.review_reasons == ("No recent bank account information was available",)


# --- limits


def test_a_payment_above_the_share_of_income_is_declined_in_the_words_of_the_policy():
    decision = run(held(applicant_profile={"annual_income": 7000}), SAFE)
    assert codes(decision) == ["payment_above_share_of_income"]
    assert decision.adverse_action_reasons[0].reason == "Monthly payment would be high against income"
    assert decision.recommended_terms.amount is None
    assert decision.expected_loss is None
    exactly = 306.06 * 12 / 0.5
    assert run(held(applicant_profile={"annual_income": exactly}), SAFE).approval_recommendation == "APPROVED"
    assert run(held(applicant_profile={"annual_income": exactly - 0.01}), SAFE).approval_recommendation == "DECLINED"


def test_an_unknown_income_does_what_the_policy_says():
    unknown = held(applicant_profile={"annual_income": None})
    assert run(unknown, SAFE).approval_recommendation == "APPROVED"
    policy = changed(('max_share = 0.5\nwhen_missing = "ignore"', 'max_share = 0.5\nwhen_missing = "review"'))
    assert run(unknown, SAFE, policy).review_reasons == ("annual_income is not known",)


def test_a_fee_raises_the_apr_and_not_the_payments():
    policy = changed(("max_pd = 0.04\n", "max_pd = 0.04\nfee_percent = 1.0\nfee_flat = 15.0\n"))
    terms = run(scorer=SAFE, policy=policy).recommended_terms
    assert (terms.monthly_payment, terms.note_rate, terms.apr) == (306.06, 8.99, 11.71)
    assert (terms.origination_fee, terms.amount_financed, terms.finance_charge) == (50.0, 3450.0, 222.76)


def test_charges_above_the_legal_limit_are_not_offered():
    policy = changed(("max_pd = 0.04\n", "max_pd = 0.04\nfee_flat = 50.0\n"))
    assert run(scorer=SAFE, policy=policy).approval_recommendation == "APPROVED"
    decision = run(scorer=SAFE, policy=policy, purchase_amount=300)
    assert decision.approval_recommendation == "DECLINED"
    assert codes(decision) == ["apr_above_legal_limit"]
    assert decision.recommended_terms.apr is None
    # Over a longer term the same fee weighs less.
    assert decision.counter_offer.amount == 300
    assert decision.counter_offer.term_months == 18
    assert decision.counter_offer.apr <= 36


def test_the_first_payment_may_be_due_later():
    terms = run(scorer=SAFE, policy=changed(("odd_days = 0", "odd_days = 15"))).recommended_terms
    assert terms.monthly_payment > 306.06
    assert terms.apr == 8.99


def test_implausible_stored_data_are_refused_where_the_policy_says_so():
    stored = held(credit_bureau={"debt_to_income_ratio": 99.0})
    with pytest.raises(FieldProblem) as refused:
        run(stored, SAFE, changed(('critical = "review"', 'critical = "refuse"')))
    assert [field for field, _ in refused.value.problems] == ["debt_to_income_ratio"]


# --- counter-offers

RISKY = LinearScorer(base=-4.0, weights={"instalment_to_income": 2.0, "purchase_amount": 1e-5, "term_months": 0.01})
CASES = [
    (7000, {}),
    (3000, {}),
    (20000, {"purchase_amount": 90_000, "term_months": 24}),
    (60000, {"term_months": 61}),
    (60000, {"term_months": 120}),
    (1e6, {"purchase_amount": 1_234_567.89, "term_months": 48}),
    (60000, {"purchase_amount": 5e6, "term_months": 90}),
]


@pytest.mark.parametrize(("income", "asked"), CASES)
@pytest.mark.parametrize("scorer", [SAFE, RISKY])
def test_who_asks_for_the_counter_offer_is_approved_on_it(income, asked, scorer):
    stored = held(applicant_profile={"annual_income": income})
    decision = run(stored, scorer, **asked)
    assert decision.approval_recommendation == "DECLINED"
    assert decision.adverse_action_reasons
    assert not decision.recommended_terms.approved
    countered = decision.counter_offer
    assert countered.amount <= asked.get("purchase_amount", 3500)
    again = run(stored, scorer, purchase_amount=countered.amount, term_months=countered.term_months)
    assert again.approval_recommendation == "APPROVED"
    assert again.recommended_terms == countered


def test_the_whole_amount_goes_over_the_nearest_longer_term():
    decision = run(held(applicant_profile={"annual_income": 7000}), SAFE)
    assert (decision.counter_offer.amount, decision.counter_offer.term_months) == (3500, 18)
    assert codes(decision) == ["payment_above_share_of_income"]


def test_a_term_beyond_the_longest_is_countered_with_the_longest():
    assert run(scorer=SAFE, term_months=120).counter_offer.term_months == 60


def test_an_amount_beyond_the_most_is_countered_with_the_most_over_the_same_term():
    stored = held(applicant_profile={"annual_income": 9e6})
    countered = run(stored, SAFE, purchase_amount=2e6, term_months=24).counter_offer
    assert (countered.amount, countered.term_months) == (1_000_000, 24)


def test_the_amount_is_the_most_that_passes():
    stored = held(applicant_profile={"annual_income": 1500})
    countered = run(stored, SAFE).counter_offer
    assert (countered.amount % 10, countered.term_months) == (0, 60)
    more = run(stored, SAFE, purchase_amount=countered.amount + 10, term_months=60)
    assert more.approval_recommendation == "DECLINED"


@pytest.mark.parametrize("scorer", [SAFE, RISKY])
@pytest.mark.parametrize("income", [60, 150, 400])
def test_nobody_could_be_approved_on_more_credit(income, scorer):
    model = a_model(scorer)
    stored = held(applicant_profile={"annual_income": income})
    asked = {"applicant_id": "A1", "purchase_amount": 400, "term_months": 12}

    def approved(**terms):
        request = model.requests.read(msgspec.json.encode(asked | terms))
        return decide(request, stored, gather(request, stored, CONTRACT), model, OCCASION).decision

    best = approved().counter_offer
    passing = [
        (amount, term)
        for amount in range(50, 401, 10)
        for term in (12, *model.policy.counter_offer.terms)
        if approved(purchase_amount=amount, term_months=term).approval_recommendation == "APPROVED"
    ]
    longer = [(amount, term) for amount, term in passing if term >= 12]
    if not longer:
        assert best is None
    else:
        most = max(amount for amount, _ in longer)
        assert (best.amount, best.term_months) == (most, min(term for amount, term in longer if amount == most))
        assert most == max(amount for amount, _ in passing)


@pytest.mark.parametrize(
    ("stored", "scorer", "asked"),
    [
        (held(applicant_profile={"of_legal_age": False}), SAFE, {"term_months": 61}),  # no terms make one older
        (held(applicant_profile={"of_legal_age": None}), SAFE, {"term_months": 61}),  # not known
        (held(credit_bureau=MISSING), SAFE, {"term_months": 61}),  # no evidence
        (held(credit_bureau={"debt_to_income_ratio": 99.0}), SAFE, {"term_months": 61}),  # implausible
        (held(), LinearScorer(base=5.0), {"term_months": 61}),  # too risky at any terms
        (held(), LinearScorer(base=5.0), {}),
        (held(), SAFE, {"purchase_amount": 20}),  # nobody is talked into more than was asked for
        (held(applicant_profile={"annual_income": 0}), SAFE, {}),
    ],
)
def test_where_terms_are_not_all_that_is_wrong_there_is_no_counter_offer(stored, scorer, asked):
    decision = run(stored, scorer, **asked)
    assert decision.approval_recommendation == "DECLINED"
    assert decision.counter_offer is None
    assert decision.adverse_action_reasons


def test_a_counter_offer_costs_few_scorings():
    calls = []

    class Counting(LinearScorer):
        def score(self, values):
            calls.append(values)
            return super().score(values)

    model = a_model(Counting(base=-6.0, weights={}))
    stored = held(applicant_profile={"annual_income": 1500})
    request = model.requests.read(msgspec.json.encode({"applicant_id": "A1", "purchase_amount": 1e6}))
    assert decide(request, stored, gather(request, stored, CONTRACT), model, OCCASION).decision.counter_offer
    assert len(calls) < 20


def test_whom_the_model_declines_on_any_terms_is_told_what_the_model_says():
    stored = held(applicant_profile={"annual_income": 3000}, credit_bureau={"num_inquiries": 20})
    decision = run(stored, LinearScorer(base=-2.0, weights={"num_inquiries": 0.3}))
    assert codes(decision) == ["num_inquiries"]
    assert decision.counter_offer is None


# --- the expected loss


def test_the_expected_loss_is_set_against_the_margin():
    decision = run(scorer=SAFE)
    loss = decision.expected_loss
    assert loss.amount == pytest.approx(decision.default_probability * 0.65 * 0.6 * 3500, abs=0.005)
    funds = 23061.39 * 0.04 / 12  # the sum of what is owed in each of the twelve months
    assert loss.margin == pytest.approx(172.76 - funds, abs=0.01)
    assert loss.covered


def test_a_margin_below_the_expected_loss_does_what_the_policy_says():
    short = ("loss_given_default = 0.65", "loss_given_default = 1.0"), ("funding_rate = 4.0", "funding_rate = 8.9")
    scorer = LinearScorer(base=-3.5, weights={})
    shown = run(scorer=scorer, policy=changed(*short))
    assert (shown.approval_recommendation, shown.expected_loss.covered) == ("APPROVED", False)
    review = changed(*short, ('when_short = "ignore"', 'when_short = "review"'))
    assert run(scorer=scorer, policy=review).review_reasons == ("The margin does not cover the expected loss",)


def test_the_terminal_shows_counter_offer_fee_and_doubts():
    policy = changed(("max_pd = 0.04\n", "max_pd = 0.04\nfee_flat = 15.0\n"))
    poor = run(held(applicant_profile={"annual_income": 7000}), SAFE, policy)
    text = present.decision(msgspec.to_builtins(poor))
    assert "  instead  3,500.00 in 18 payments of 208.58 (last 208.49), APR 9.55 %, fee 15.00, total 3,754.35" in text
    assert "  reason   Monthly payment would be high against income" in text
    assert "terms    " not in text
    doubtful = present.decision(msgspec.to_builtins(run(held(credit_bureau=MISSING), SAFE)))
    assert "  review   No recent credit bureau report was available" in doubtful
