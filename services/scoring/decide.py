"""The decision, in the order in which a credit policy is written. No I/O, no clock, no chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from feature_repo.stores.stored import Scalar, StoredFeatures, StoredView
from services.scoring import offer, reasons
from services.scoring.errors import FieldProblem
from services.scoring.inputs import Inputs
from services.scoring.loan_request import LoanRequest
from services.scoring.model import ScoringModel
from services.scoring.pricing import Loan
from services.scoring.schemas import (
    Decision,
    Explained,
    Freshness,
    GuardResult,
    Reason,
    Recommendation,
    iso,
    maybe_iso,
)
from training.scorer import Scored
from validation.guard import Violation

_EXPLAINED = 3


class Occasion(msgspec.Struct, frozen=True, gc=False):
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


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A decision with what it was reached from, for the log."""

    decision: Decision
    scored: Scored


def decide(
    request: LoanRequest, stored: StoredFeatures, inputs: Inputs, model: ScoringModel, occasion: Occasion
) -> Verdict:
    """Decide on one request.

    Parameters
    ----------
    stored : StoredFeatures
        What the store held of the applicant.
    inputs : Inputs
        Every feature of the contract, gathered from both.

    Raises
    ------
    InputError
        If the amount is too small for so many payments.
    FieldProblem
        If stored values are implausible and the policy refuses such requests.
    """
    policy = model.policy
    values = inputs.values
    violations = model.guard.check(values)
    critical = [violation for violation in violations if violation.level == "critical"]
    if critical and policy.guard.critical == "refuse":
        raise FieldProblem(*((violation.feature, f"stored value: {violation.message}") for violation in critical))
    scored = model.scorer.score(values)
    weighed = _weigh(request, stored, inputs, values, scored, critical, model)
    is_approved, loan = weighed.recommendation == "APPROVED", weighed.loan
    low, high = scored.interval
    decision = Decision(
        decision_id=occasion.decision_id,
        applicant_id=request.applicant_id,
        decided_at=iso(occasion.decided_at),
        as_of=iso(occasion.as_of),
        credit_score=policy.credit_score(scored.pd),
        default_probability=scored.pd,
        approval_recommendation=weighed.recommendation,
        recommended_terms=offer.terms_of(loan, approved=is_approved),
        counter_offer=offer.terms_of(weighed.counter, approved=True) if weighed.counter else None,
        expected_loss=offer.expected_loss(loan, scored.pd, policy) if loan else None,
        explanation=_explain(scored.impacts, inputs),
        adverse_action_reasons=weighed.adverse,
        review_reasons=weighed.doubts,
        confidence=policy.confidence_in(high - low, _absent_views(stored.views, values, model)),
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


class _Weighed(msgspec.Struct, frozen=True, gc=False):
    """What became of a request: reasons only of a decline, doubts only of a review."""

    recommendation: Recommendation
    adverse: tuple[Reason, ...] = ()
    doubts: tuple[str, ...] = ()
    loan: Loan | None = None
    counter: Loan | None = None


def _weigh(
    request: LoanRequest,
    stored: StoredFeatures,
    inputs: Inputs,
    values: Mapping[str, Scalar | None],
    scored: Scored,
    critical: Sequence[Violation],
    model: ScoringModel,
) -> _Weighed:
    """Apply rules, cutoffs and limits, in this order.

    Implausible data neither approve nor decline, unless a rule does. What is not known only keeps an
    approval back: a decline does not hang on it.
    """
    policy = model.policy
    unknown = _unknown(values, stored.views, model)
    is_sure = not critical and not unknown
    if rules := [rule for rule in policy.knock_out if rule.fires(values[rule.feature])]:
        can_counter = is_sure and offer.are_about_terms(rules, model)
        counter = offer.counter_offer(request, values, model) if can_counter else None
        return _Weighed("DECLINED", reasons.of_rules(rules, model), counter=counter)
    doubts = [violation.message for violation in critical]
    opinion = policy.recommend(scored.pd)
    loan = policy.price(request.amount, request.term_months, scored.pd)
    limits = offer.limits_exceeded(loan, values, policy)
    if limits or opinion == "DECLINED":
        if critical:
            return _Weighed("MANUAL_REVIEW", doubts=tuple(doubts))
        counter = offer.counter_offer(request, values, model) if limits and is_sure else None
        # Whom the model declines on any terms is told what the model says.
        told_limits = bool(counter) or opinion != "DECLINED"
        adverse = limits if told_limits else reasons.of_model(scored.impacts, inputs, stored.views, model)
        if not adverse:
            return _Weighed("MANUAL_REVIEW", doubts=("No specific reason could be told for a decline",))
        return _Weighed("DECLINED", adverse, counter=counter)
    doubts += [*unknown, *offer.doubts_about(loan, scored.pd, policy)]
    if opinion == "MANUAL_REVIEW":
        doubts.append("The default probability lies between approval and decline")
    return _Weighed("MANUAL_REVIEW" if doubts else "APPROVED", doubts=tuple(doubts), loan=loan)


def _unknown(values: Mapping[str, Scalar | None], views: Mapping[str, StoredView], model: ScoringModel) -> list[str]:
    """Return what the machine would have to know before it approves, in words."""
    found = [f"{name} is not known" for name in model.required if values[name] is None]
    for proof in model.proofs:
        if views[proof.view].status != "PRESENT":
            instead = [values[name] for name in proof.instead]
            if not instead or None in instead:
                found.append(proof.otherwise)
    return found


def _explain(impacts: Mapping[str, float], inputs: Inputs) -> tuple[Explained, ...]:
    """Return the features that weigh most, either way; one without any impact explains nothing."""
    names, weights = list(impacts), list(map(abs, impacts.values()))
    explained = []
    for weight in sorted(weights, reverse=True)[:_EXPLAINED]:
        if not weight:
            break
        place = weights.index(weight)
        weights[place] = 0.0  # of equal ones, the next is another
        name = names[place]
        source, event = inputs.origin(name)
        direction: Literal["increases", "decreases"] = "increases" if impacts[name] > 0 else "decreases"
        explained.append(Explained(name, inputs.values[name], impacts[name], direction, source, maybe_iso(event)))
    return tuple(explained)


def _absent_views(views: Mapping[str, StoredView], values: Mapping[str, Scalar | None], model: ScoringModel) -> int:
    """Count the views that the model reads, that were not there and that the request did not make up for."""
    absent = [name for name, view in views.items() if view.status != "PRESENT"]
    return sum(any(values[read] is None for read in model.read[name]) for name in absent)
