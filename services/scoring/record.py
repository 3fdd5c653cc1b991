"""From a request and what the store held to what the log keeps: the one way of every decision. No I/O."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import msgspec

from feature_repo.errors import InputError
from feature_repo.stores.stored import StoredFeatures
from monitoring.decision_record import Arm, DecisionRecord, Shadow
from services.scoring.decide import Occasion, Verdict, decide
from services.scoring.inputs import Inputs, gather
from services.scoring.loan_request import LoanRequest
from services.scoring.model import ScoringModel

_VERSION = version("candor")


class Case(msgspec.Struct, frozen=True, gc=False):
    """All that a decision is made of, beside the model."""

    request: LoanRequest
    stored: StoredFeatures
    occasion: Occasion


@dataclass(frozen=True)
class Role:
    """What part a model had in a decision.

    Parameters
    ----------
    experiment : str
        Name of the challenge that runs, empty if none does.
    shadow : Shadow or None
        What a challenger that only looks on would have said.
    """

    arm: Arm = "champion"
    experiment: str = ""
    shadow: Shadow | None = None


ALONE = Role()


def settle(case: Case, model: ScoringModel, role: Role = ALONE) -> DecisionRecord:
    """Decide on a case, and return what the log keeps; its `output` is the answer as JSON (`msgspec.Raw`).

    Raises
    ------
    InputError
        As `decide` does.
    """
    inputs = gather(case.request, case.stored, model.contract)
    return to_record(case, inputs, decide(case.request, case.stored, inputs, model, case.occasion), role)


def settle_all(
    cases: Sequence[Case], model: ScoringModel, roles: Sequence[Role] | None = None
) -> list[DecisionRecord | InputError]:
    """Return `settle` of each case, or the error that it raises."""
    found: list[DecisionRecord | InputError] = []
    for case, role in zip(cases, roles or [ALONE] * len(cases), strict=True):
        try:
            found.append(settle(case, model, role))
        except InputError as error:
            found.append(error)
    return found


def to_record(case: Case, inputs: Inputs, verdict: Verdict, role: Role) -> DecisionRecord:
    """Return what the log keeps of a decision: everything that it was made of."""
    decision = verdict.decision
    return DecisionRecord(
        decision_id=case.occasion.decision_id,
        decided_at=case.occasion.decided_at,
        as_of=case.occasion.as_of,
        applicant_id=case.request.applicant_id,
        bundle=decision.model.bundle,
        model_version=decision.model.version,
        policy_version=decision.policy_version,
        candor_version=_VERSION,
        recommendation=decision.approval_recommendation,
        pd=decision.default_probability,
        score=decision.credit_score,
        request=case.request.asked,
        features=inputs.sources,
        views=case.stored.views,
        impacts=verdict.scored.impacts,
        reference_log_odds=verdict.scored.reference_log_odds,
        guard=decision.guard,
        output=msgspec.Raw(msgspec.json.encode(decision)),
        arm=role.arm,
        experiment=role.experiment,
        shadow=role.shadow,
    )


def new_decision_id() -> str:
    """Return a UUID of version 7: milliseconds since 1970, a fraction of one, then chance.

    References
    ----------
    RFC 9562, sections 5.7 and 6.2 (method 3).
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 4096 // 1_000_000
    chance = int.from_bytes(os.urandom(8), "big") >> 2
    text = f"{milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | chance:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
