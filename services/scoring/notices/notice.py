"""The notice that a decision calls for: adverse action, counter-offer, risk-based pricing, or none.

References
----------
12 CFR 1002.9 (adverse action), 15 USC 1681m(a) and 1681g(f) (credit score), 12 CFR 1022.72 and 1022.73 (risk-based
pricing).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from monitoring.decision_record import DecisionRecord
from services.scoring import reasons
from services.scoring.inputs import Inputs
from services.scoring.model import ScoringModel
from services.scoring.notices.lender import Bureau, Lender, Party
from services.scoring.schemas import Decision, Terms

Kind = Literal["adverse_action", "counter_offer", "risk_based_pricing", "none"]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The credit score that was used.

    Parameters
    ----------
    score, lowest, highest : int
        Points, and the range of possible scores.
    date : str
        When it was computed, ISO 8601, UTC.
    key_factors : tuple of str
        What affected it adversely, most important first: at most four, and inquiries on top where they did.
    """

    score: int
    lowest: int
    highest: int
    date: str
    key_factors: tuple[str, ...]
    text: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice to one applicant about one decision.

    Parameters
    ----------
    sample : bool
        Whether it carries sample details of a lender; such a notice is not to be sent.
    why : str
        What the decision was, and so why this kind of notice is due or none.
    date : str
        Day of the decision, ISO 8601, UTC.
    amount, term_months : float, int
        What was requested: currency, months.
    terms : Terms or None
        Terms offered: of a counter-offer, or approved.
    principal_reasons : tuple of str
        Why what was requested was refused, most important first.
    ecoa : str
        Statement of the Equal Credit Opportunity Act; `agency` is its last words. Empty where none is due.
    score : Score or None
        Credit score disclosure, where a consumer report was used.
    sources : tuple of Party
        Consumer reporting agencies whose information was used.
    statements : tuple of str
        What the law has to be said of the report.
    """

    kind: Kind
    sample: bool
    why: str
    decision_id: str
    applicant_id: str
    date: str
    creditor: Party
    amount: float
    term_months: int
    offer_text: str = ""
    terms: Terms | None = None
    principal_reasons: tuple[str, ...] = ()
    ecoa: str = ""
    agency: Party | None = None
    score: Score | None = None
    sources: tuple[Party, ...] = ()
    statements: tuple[str, ...] = ()


def notice_of(record: DecisionRecord, model: ScoringModel, lender: Lender) -> Notice:
    """Return the notice of a logged decision.

    Parameters
    ----------
    record : DecisionRecord
        The decision as the log holds it.
    model : ScoringModel
        The bundle that it cites.
    """
    decision = msgspec.convert(record.output, Decision)
    wording = lender.wording
    bare = Notice(
        kind="none",
        sample=lender.sample,
        why="",
        decision_id=record.decision_id,
        applicant_id=record.applicant_id,
        date=decision.decided_at[:10],
        creditor=lender.creditor,
        amount=float(_asked(record, "purchase_amount")),
        term_months=int(_asked(record, "term_months")),
    )
    used = _reports_used(record, model, lender)
    if decision.approval_recommendation == "MANUAL_REVIEW":
        return msgspec.structs.replace(bare, why="A person has not decided yet.")
    if decision.approval_recommendation == "APPROVED":
        if not _is_above_the_best(decision.recommended_terms, model):
            return msgspec.structs.replace(bare, why="Approved on the best terms.")
        if not used:
            return msgspec.structs.replace(bare, why="Approved without a consumer report.")
        return msgspec.structs.replace(
            bare,
            kind="risk_based_pricing",
            why="Approved on terms less favorable than the best, based on a consumer report.",
            terms=decision.recommended_terms,
            score=_score(record, decision, model, wording.score),
            sources=tuple(bureau.agency for bureau in used),
            statements=wording.risk_based_pricing,
        )
    # Rules look at neither report nor score; price, limits and model do.
    rules = {rule.code for rule in model.policy.knock_out}
    scored = not any(reason.code in rules for reason in decision.adverse_action_reasons)
    return msgspec.structs.replace(
        bare,
        kind="counter_offer" if decision.counter_offer else "adverse_action",
        why="Credit was not approved as requested.",
        offer_text=wording.counter_offer if decision.counter_offer else "",
        terms=decision.counter_offer,
        principal_reasons=tuple(reason.reason for reason in decision.adverse_action_reasons),
        ecoa=wording.ecoa,
        agency=lender.agency,
        score=_score(record, decision, model, wording.score) if used and scored else None,
        sources=tuple(bureau.agency for bureau in used) if scored else (),
        statements=wording.adverse_report if used and scored else (),
    )


def _asked(record: DecisionRecord, name: str) -> float | int:
    value = Inputs.of(record.features).values[name]
    if value is None or isinstance(value, str):
        raise ValueError(f"record {record.decision_id} has no {name}")
    return value


def _reports_used(record: DecisionRecord, model: ScoringModel, lender: Lender) -> list[Bureau]:
    """Return the agencies of whose reports the model read a value."""
    inputs = Inputs.of(record.features)

    def was_read(bureau: Bureau, view: str) -> bool:
        names = [spec.name for spec in model.views[view].features if spec.name in record.impacts]
        known = [name for name in names if inputs.values[name] is not None]
        return any(bureau.requests_bring_reports or inputs.origin(name)[0] == view for name in known)

    return [b for b in lender.bureau if any(view in model.views and was_read(b, view) for view in b.views)]


def _is_above_the_best(terms: Terms, model: ScoringModel) -> bool:
    best = model.policy.tier[0]
    if terms.note_rate is None or terms.amount is None or terms.origination_fee is None:
        return False
    return terms.note_rate > best.rate or round(terms.origination_fee * 100) > best.fee(round(terms.amount * 100))


def _score(record: DecisionRecord, decision: Decision, model: ScoringModel, text: str) -> Score:
    inputs = Inputs.of(record.features)
    scale = model.policy.score
    return Score(
        score=decision.credit_score,
        lowest=scale.min,
        highest=scale.max,
        date=decision.decided_at,
        key_factors=reasons.key_factors(record.impacts, inputs, record.views, model),
        text=text,
    )
