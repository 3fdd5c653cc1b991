from dataclasses import replace

import msgspec
import pytest

from feature_repo.errors import InputError
from feature_repo.stores.stored import StoredFeatures, StoredView
from services.scoring.decide import Occasion, decide
from services.scoring.inputs import dependencies, gather
from services.scoring.policy import DEFAULT_POLICY
from tests.unit.services.harness import CONTRACT, DAY, DERIVED, GOOD, NOW, LinearScorer, a_model

OCCASION = Occasion("0190aaaa-0000-7000-8000-000000000000", NOW, NOW)
MISSING = StoredView("MISSING", None, None, {})
DENIED = 5.0  # a base that declines whatever the weights add


def held(**changes):
    views = {name: StoredView("PRESENT", NOW - DAY, 86400, dict(values)) for name, values in GOOD.items()}
    for name, change in changes.items():
        views[name] = (
            change
            if isinstance(change, StoredView)
            else StoredView("PRESENT", NOW - DAY, 86400, views[name].values | change)
        )
    return StoredFeatures("A1", views)


def stale(view):
    return StoredView("STALE", NOW - 900 * DAY, 900 * 86400, dict(GOOD[view]))


def run(stored=None, scorer=None, policy=None, **asked):
    model = a_model(scorer, policy)
    stored = stored or held()
    request = model.requests.read(msgspec.json.encode({"applicant_id": "A1", "purchase_amount": 3500} | asked))
    return decide(request, stored, gather(request, stored, CONTRACT), model, OCCASION).decision


def texts(decision):
    return [reason.reason for reason in decision.adverse_action_reasons]


def test_a_good_applicant_is_approved_at_the_best_rate():
    decision = run()
    assert decision.approval_recommendation == "APPROVED"
    assert decision.default_probability < 0.06
    assert decision.adverse_action_reasons == decision.review_reasons == ()
    assert decision.confidence == "HIGH"
    assert decision.guard.passed
    terms = decision.recommended_terms
    assert (terms.approved, terms.amount, terms.term_months) == (True, 3500.0, 12)


def test_the_documented_loan_comes_out_to_the_cent():
    terms = run(scorer=LinearScorer(base=-6.0)).recommended_terms
    assert msgspec.to_builtins(terms) == {
        "approved": True,
        "amount": 3500.0,
        "term_months": 12,
        "apr": 8.99,
        "monthly_payment": 306.06,
        "last_payment": 306.10,
        "finance_charge": 172.76,
        "total_of_payments": 3672.76,
        "note_rate": 8.99,
        "origination_fee": 0.0,
        "amount_financed": 3500.0,
    }


def test_the_answer_has_every_documented_field():
    answer = msgspec.to_builtins(run())
    assert answer.keys() >= {
        "decision_id", "applicant_id", "decided_at", "credit_score", "default_probability", "approval_recommendation",
        "recommended_terms", "explanation", "adverse_action_reasons", "confidence", "probability_interval", "guard",
        "freshness", "model",
    }  # fmt: skip
    assert answer["decided_at"] == "2026-06-01T12:00:00.000000Z"
    assert answer["freshness"]["credit_bureau"] == {
        "status": "PRESENT",
        "event_timestamp": "2026-05-31T12:00:00.000000Z",
        "age_seconds": 86400,
    }
    assert answer["model"] == {
        "name": "candor-pd",
        "version": "3",
        "feature_service": "credit_decision_v1",
        "bundle": "sha256:3",
    }
    assert answer["explanation"][0].keys() == {"feature", "value", "impact", "direction", "source", "event_timestamp"}


def test_the_explanation_is_the_three_that_weigh_most_either_way():
    weights = {"debt_to_income_ratio": -20.0, "num_inquiries": 0.3, "annual_income": 1e-6, "instalment_to_income": 3.0}
    decision = run(held(credit_bureau={"num_inquiries": 5}), LinearScorer(weights=weights))
    assert [(item.feature, item.direction, item.source) for item in decision.explanation] == [
        ("debt_to_income_ratio", "decreases", "credit_bureau"),
        ("num_inquiries", "increases", "credit_bureau"),
        ("instalment_to_income", "increases", "affordability"),
    ]
    assert decision.explanation[0].value == 0.1
    assert decision.explanation[2].event_timestamp is None


def test_an_impact_of_nothing_explains_nothing():
    assert run(scorer=LinearScorer(weights={})).explanation == ()


def test_a_value_in_the_request_goes_before_the_store_and_is_marked():
    scorer = LinearScorer(weights={"debt_to_income_ratio": 1.0})
    (item,) = run(scorer=scorer, debt_to_income_ratio=0.5).explanation
    assert (item.value, item.source, item.event_timestamp) == (0.5, "request", None)


def test_request_time_features_follow_the_value_of_the_request():
    scorer = LinearScorer(weights={"purchase_to_income": 1.0})
    (stored,) = run(scorer=scorer).explanation
    (inline,) = run(scorer=scorer, annual_income=7000).explanation
    assert (stored.value, inline.value) == (3500 / 60000, 0.5)


@pytest.mark.parametrize(("pd_base", "expected"), [(-1.30, "MANUAL_REVIEW"), (-1.40, "APPROVED"), (-1.2, "DECLINED")])
def test_between_the_cutoffs_a_person_decides(pd_base, expected):
    decision = run(scorer=LinearScorer(base=pd_base, weights={"num_inquiries": 1e-9}), num_inquiries=1)
    assert decision.approval_recommendation == expected
    if expected == "MANUAL_REVIEW":
        assert "between approval and decline" in decision.review_reasons[0]
        assert decision.recommended_terms.approved is False
        assert decision.recommended_terms.apr == 35.99
    if expected == "DECLINED":
        assert msgspec.to_builtins(decision.recommended_terms) == {
            name: False if name == "approved" else None for name in decision.recommended_terms.__struct_fields__
        }


# --- knock-out rules


def test_a_minor_is_declined_for_that_reason_only():
    scorer = LinearScorer(base=DENIED)
    for decision in (run(held(applicant_profile={"of_legal_age": False})), run(age=17), run(age=17, scorer=scorer)):
        assert decision.approval_recommendation == "DECLINED"
        (reason,) = decision.adverse_action_reasons
        assert (reason.code, reason.feature, reason.reason) == ("not_of_legal_age", "of_legal_age", "Not of legal age")
        assert reason.impact is None
        assert not decision.recommended_terms.approved


def test_an_amount_or_term_beyond_the_policy_is_declined_in_its_words():
    decision = run(purchase_amount=2_000_000, term_months=120)
    assert [reason.code for reason in decision.adverse_action_reasons] == [
        "amount_above_limit",
        "term_above_limit",
    ]
    assert texts(decision)[0] == "Amount of credit requested is above the most that we lend"
    assert run(purchase_amount=49.99).adverse_action_reasons[0].code == "amount_below_limit"


def test_age_changes_nothing_but_the_legal_age():
    answers = [msgspec.to_builtins(run(age=age)) for age in (18, 40, 99)]
    assert answers[0] == answers[1] == answers[2]


def test_without_a_known_legal_age_nobody_is_approved_by_the_machine():
    decision = run(held(applicant_profile={"of_legal_age": None}))
    assert decision.approval_recommendation == "MANUAL_REVIEW"
    assert decision.review_reasons == ("of_legal_age is not known",)
    assert run(held(applicant_profile={"of_legal_age": None}), age=30).approval_recommendation == "APPROVED"
    declined = run(held(applicant_profile={"of_legal_age": None}), LinearScorer(base=DENIED))
    assert declined.approval_recommendation == "DECLINED"


# --- reasons of the model


def test_reasons_are_what_raised_the_risk_largest_first_and_at_most_four():
    weights = {
        "debt_to_income_ratio": 1.0, "num_inquiries": 0.2, "annual_income": -1e-4, "inflow_90d": 1e-5,
        "purchase_amount": 1e-4, "term_months": 0.001,
    }  # fmt: skip
    stored = held(credit_bureau={"debt_to_income_ratio": 3.0, "num_inquiries": 10})
    decision = run(stored, LinearScorer(base=8.0, weights=weights))
    assert decision.approval_recommendation == "DECLINED"
    assert [reason.feature for reason in decision.adverse_action_reasons] == [
        "debt_to_income_ratio",
        "num_inquiries",
        "purchase_amount",
        "inflow_90d",
    ]
    assert texts(decision)[0] == "debt_to_income_ratio is bad"
    impacts = [reason.impact for reason in decision.adverse_action_reasons]
    assert impacts == sorted(impacts, reverse=True)


def test_reasons_are_never_padded():
    decision = run(scorer=LinearScorer(base=DENIED, weights={"debt_to_income_ratio": 1.0, "annual_income": -1e-9}))
    assert [reason.feature for reason in decision.adverse_action_reasons] == ["debt_to_income_ratio"]


def test_nobody_is_declined_for_no_reason():
    decision = run(scorer=LinearScorer(base=DENIED, weights={}))
    assert decision.approval_recommendation == "MANUAL_REVIEW"
    assert decision.review_reasons == ("No specific reason could be told for a decline",)


def the_reason_of_both(stored, weights):
    """The one reason of a decline to which two features, told in the same words, come together."""
    model = a_model(LinearScorer(base=DENIED, weights=weights))
    together = {"debt_to_income_ratio": "Owes much", "num_inquiries": "Owes much"}
    specs = {
        name: msgspec.structs.replace(spec, reason=together.get(name, spec.reason))
        for name, spec in model.specs.items()
    }
    request = model.requests.read(b'{"applicant_id": "A1", "purchase_amount": 3500}')
    inputs = gather(request, stored, CONTRACT)
    (reason,) = decide(request, stored, inputs, replace(model, specs=specs), OCCASION).decision.adverse_action_reasons
    return reason


def test_features_that_share_a_reason_are_told_once():
    stored = held(credit_bureau={"num_inquiries": 2})
    reason = the_reason_of_both(stored, {"debt_to_income_ratio": 2.0, "num_inquiries": 0.5})
    assert (reason.code, reason.feature, reason.reason) == ("num_inquiries", "num_inquiries", "Owes much")
    assert reason.features == ("num_inquiries", "debt_to_income_ratio")
    assert reason.impact == pytest.approx(1.2)


def test_of_a_group_only_what_raised_the_risk_is_named_with_its_reason():
    stored = held(credit_bureau={"num_inquiries": 2})
    reason = the_reason_of_both(stored, {"debt_to_income_ratio": 2.0, "num_inquiries": -0.001})
    assert reason.features == ("debt_to_income_ratio",)


def test_no_reasons_without_a_decline():
    assert run(scorer=LinearScorer(base=-1.3, weights={"num_inquiries": 0.1})).adverse_action_reasons == ()


@pytest.mark.parametrize("absent", [MISSING, stale("credit_bureau")])
def test_an_absent_view_is_one_reason_in_its_own_words(absent):
    scorer = LinearScorer(base=DENIED, weights={}, missing={"debt_to_income_ratio": 1.0, "num_inquiries": 0.5})
    decision = run(held(credit_bureau=absent), scorer)
    (reason,) = decision.adverse_action_reasons
    assert (reason.code, reason.feature) == ("credit_bureau_absent", "debt_to_income_ratio")
    assert reason.reason == "No recent credit bureau report was available"
    assert reason.impact == 1.5
    assert decision.freshness["credit_bureau"].status == absent.status
    assert all(item.value is None for item in decision.explanation)


def test_an_absent_view_that_lowered_the_risk_is_no_reason():
    missing = {"debt_to_income_ratio": -1.0, "num_inquiries": 0.5}
    scorer = LinearScorer(base=DENIED, weights={"inflow_90d": 1e-5}, missing=missing)
    assert texts(run(held(credit_bureau=MISSING), scorer)) == ["inflow_90d is bad"]


def test_never_delinquent_is_no_missing_value_and_no_delinquency():
    scorer = LinearScorer(base=DENIED, weights={"num_inquiries": 0.1}, missing={"months_since_delinquency": 2.0})
    assert texts(run(held(credit_bureau={"num_inquiries": 1}), scorer)) == ["num_inquiries is bad"]
    assert texts(run(held(credit_bureau=MISSING), scorer)) == ["No recent credit bureau report was available"]


def test_a_derived_feature_without_its_input_is_told_as_that_inputs_absence():
    scorer = LinearScorer(base=DENIED, weights={}, missing={"instalment_to_inflow": 1.0})
    assert texts(run(held(account_cashflow=MISSING), scorer)) == ["No recent bank account information was available"]
    (text,) = texts(run(held(account_cashflow={"inflow_90d": None}), scorer))
    assert text.startswith("Information not available: ")


def test_a_gap_in_a_report_that_is_there_is_not_told_as_an_absent_report():
    scorer = LinearScorer(base=DENIED, weights={}, missing={"debt_to_income_ratio": 1.0})
    (text,) = texts(run(held(credit_bureau={"debt_to_income_ratio": None}), scorer))
    assert text.startswith("Information not available: ")
    (text,) = texts(run(held(credit_bureau=MISSING), scorer))
    assert "bureau report" in text


def test_an_inline_null_takes_nothing_away():
    stored = held(credit_bureau={"debt_to_income_ratio": 0.9})
    assert run(stored, debt_to_income_ratio=None).default_probability == run(stored).default_probability


def test_inputs_of_derived_features_are_found():
    assert dependencies(CONTRACT.on_demand) == {
        "instalment_to_income": ("purchase_amount", "term_months", "annual_income"),
        "purchase_to_income": ("purchase_amount", "annual_income"),
        "debt_to_income_after": ("purchase_amount", "term_months", "annual_income", "debt_to_income_ratio"),
        "instalment_to_inflow": ("purchase_amount", "term_months", "inflow_90d"),
    }


# --- stale and missing values, the guard, confidence


def test_a_stale_value_is_none_to_the_model():
    stored = held(credit_bureau=stale("credit_bureau"))
    request = a_model().requests.read(b'{"applicant_id": "A1", "purchase_amount": 3500}')
    inputs = gather(request, stored, CONTRACT)
    assert inputs.values["debt_to_income_ratio"] is None
    assert inputs.origin("debt_to_income_ratio") == ("credit_bureau", NOW - 900 * DAY)
    assert inputs.values["debt_to_income_after"] is None
    assert inputs.values["instalment_to_income"] is not None


def test_confidence_falls_with_absent_views_that_the_request_does_not_replace():
    gone = held(credit_bureau=MISSING, account_cashflow=stale("account_cashflow"))
    assert run(held(credit_bureau=MISSING)).confidence == "MEDIUM"
    assert run(gone).confidence == "LOW"
    assert run(gone, inflow_90d=9000).confidence == "MEDIUM"


def test_confidence_falls_with_the_width_of_the_interval_whatever_the_decision():
    for base in (-6.0, DENIED):
        scorers = [LinearScorer(base=base, weights={}, width=width) for width in (0.01, 0.1, 0.5)]
        widths = [run(scorer=scorer) for scorer in scorers]
        assert [decision.confidence for decision in widths][0] == "HIGH"
    middle = [run(scorer=LinearScorer(base=0.0, weights={}, width=width)).confidence for width in (0.04, 0.1, 0.5)]
    assert middle == ["HIGH", "MEDIUM", "LOW"]


@pytest.mark.parametrize("base", [-6.0, DENIED])
def test_implausible_stored_data_go_to_a_person(base):
    decision = run(held(credit_bureau={"debt_to_income_ratio": 99.0}), LinearScorer(base=base, weights={}))
    assert decision.approval_recommendation == "MANUAL_REVIEW"
    assert not decision.guard.passed
    assert [violation.feature for violation in decision.guard.violations] == ["debt_to_income_ratio"]
    assert decision.adverse_action_reasons == ()


def test_the_model_sees_model_features_only():
    assert set(DERIVED) <= set(LinearScorer().features)
    for name in ("of_legal_age", "age", "applicant_id"):
        with pytest.raises(InputError, match=f"the model reads {name}, not among the model features"):
            a_model(LinearScorer(features=(*DERIVED, name)))


def test_the_same_request_is_decided_the_same_bit_for_bit():
    assert msgspec.json.encode(run(num_inquiries=3)) == msgspec.json.encode(run(num_inquiries=3))


def test_the_policys_version_is_told():
    text = DEFAULT_POLICY.read_text().replace('version = "2026.2"', 'version = "lender-7"')
    assert run(policy=text.encode()).policy_version == "lender-7"
