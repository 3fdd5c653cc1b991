"""The decision, in the order in which a credit policy is written. No I/O, no clock, no chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from feature_repo.stores.stored import StoredFeatures, StoredView
from services.scoring import reasons
from services.scoring.inputs import Input
from services.scoring.loan_request import LoanRequest
from services.scoring.model import ScoringModel
from services.scoring.policy import KnockOut, Policy
from services.scoring.pricing import Loan, price
from services.scoring.schemas import (
    Decision,
    Explained,
    Freshness,
    GuardResult,
    Reason,
    Recommendation,
    Terms,
    iso,
    maybe_iso,
)
from training.scorer import Scored
from validation.guard import Violation

_EXPLAINED = 3


@dataclass(frozen=True)
class Occasion:
    """Which decision this is and when it is made.

    Parameters
    ----------
    decided_at : datetime
        Wall clock, UTC.
    as_of : datetime
        Instant from which freshness is measured, UTC.
    """

    decision_id: str
    decided_at: datetime
    as_of: datetime


@dataclass(frozen=True)
class Verdict:
    """A decision with what it was reached from, for the log."""

    decision: Decision
    scored: Scored


def decide(
    request: LoanRequest, stored: StoredFeatures, inputs: Mapping[str, Input], model: ScoringModel, occasion: Occasion
) -> Verdict:
    """Decide on one request.

    Parameters
    ----------
    stored : StoredFeatures
        What the store held of the applicant.
    inputs : mapping of str to Input
        Every feature of the contract, gathered from both.

    Raises
    ------
    InputError
        If the amount is too small for so many payments.
    """
    policy = model.policy
    values = {name: item.value for name, item in inputs.items()}
    violations = model.guard.check(values)
    knocked_out = [rule for rule in policy.knock_out if rule.fires(values[rule.feature])]
    scored = model.scorer.score({spec.name: values[spec.name] for spec in model.contract.model_features})
    recommendation, doubts = _recommend(policy, knocked_out, scored.pd, inputs, violations)
    loan = None if recommendation == "DECLINED" else price(request.amount, request.term_months, policy.apr(scored.pd))
    adverse: tuple[Reason, ...] = ()
    if knocked_out:
        adverse = reasons.of_rules(knocked_out, model)
    elif recommendation == "DECLINED":
        adverse = reasons.of_model(scored.impacts, inputs, stored.views, model)
    low, high = scored.interval
    decision = Decision(
        decision_id=occasion.decision_id,
        applicant_id=request.applicant_id,
        decided_at=iso(occasion.decided_at),
        as_of=iso(occasion.as_of),
        credit_score=policy.credit_score(scored.pd),
        default_probability=scored.pd,
        approval_recommendation=recommendation,
        recommended_terms=_terms(loan, approved=recommendation == "APPROVED"),
        explanation=_explain(scored.impacts, inputs),
        adverse_action_reasons=adverse,
        review_reasons=doubts,
        confidence=policy.confidence_in(high - low, _absent_views(stored.views, inputs, model)),
        probability_interval=scored.interval,
        guard=GuardResult(not violations, violations),
        freshness={
            name: Freshness(view.status, maybe_iso(view.event_timestamp), view.age_seconds)
            for name, view in stored.views.items()
        },
        model=model.name,
        policy_version=policy.version,
    )
    return Verdict(decision, scored)


def _recommend(
    policy: Policy,
    knocked_out: Sequence[KnockOut],
    pd: float,
    inputs: Mapping[str, Input],
    violations: Sequence[Violation],
) -> tuple[Recommendation, tuple[str, ...]]:
    """Return the recommendation and why a person has to look at it.

    Implausible data neither approve nor decline. An unknown value that a rule needs only keeps an
    approval back: a decline does not hang on it.
    """
    if knocked_out:
        return "DECLINED", ()
    recommendation = policy.recommend(pd)
    doubts = [violation.message for violation in violations if violation.level == "critical"]
    if recommendation != "DECLINED":
        unknown = [rule for rule in policy.knock_out if rule.when_missing == "review"]
        doubts += [f"{rule.feature} is not known" for rule in unknown if inputs[rule.feature].value is None]
    if recommendation == "MANUAL_REVIEW":
        doubts.append("The default probability lies between approval and decline")
    return ("MANUAL_REVIEW", tuple(doubts)) if doubts else (recommendation, ())


def _terms(loan: Loan | None, approved: bool) -> Terms:
    if loan is None:
        return Terms(approved=False)
    return Terms(
        approved=approved,
        amount=loan.principal / 100,
        term_months=loan.term_months,
        apr=loan.apr,
        monthly_payment=loan.payment / 100,
        last_payment=loan.last_payment / 100,
        finance_charge=loan.finance_charge / 100,
        total_of_payments=loan.total_of_payments / 100,
    )


def _explain(impacts: Mapping[str, float], inputs: Mapping[str, Input]) -> tuple[Explained, ...]:
    """Return the features that weigh most, either way; one without any impact explains nothing."""
    weightiest = sorted((name for name in impacts if impacts[name]), key=lambda name: -abs(impacts[name]))
    return tuple(
        Explained(
            name,
            inputs[name].value,
            impacts[name],
            "increases" if impacts[name] > 0 else "decreases",
            inputs[name].source,
            maybe_iso(inputs[name].event_timestamp),
        )
        for name in weightiest[:_EXPLAINED]
    )


def _absent_views(views: Mapping[str, StoredView], inputs: Mapping[str, Input], model: ScoringModel) -> int:
    """Count the views that were not there and that the request did not make up for."""
    return sum(
        view.status != "PRESENT"
        and any(spec.role == "model" and inputs[spec.name].value is None for spec in model.views[name].features)
        for name, view in views.items()
    )
