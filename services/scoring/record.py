"""What the log keeps of a decision, and the number under which it keeps it."""

from __future__ import annotations

import secrets
import time
import uuid
from datetime import datetime
from importlib.metadata import version

import msgspec

from feature_repo.stores.stored import StoredFeatures
from monitoring.decision_record import Arm, DecisionRecord, LoggedFeature, Shadow
from services.scoring.decide import Occasion, Verdict
from services.scoring.inputs import Input
from services.scoring.loan_request import LoanRequest
from services.scoring.schemas import maybe_iso

_VERSION = version("candor")


def to_record(
    request: LoanRequest,
    stored: StoredFeatures,
    inputs: dict[str, Input],
    verdict: Verdict,
    occasion: Occasion,
    answer: bytes,
    *,
    arm: Arm = "champion",
    experiment: str = "",
    shadow: Shadow | None = None,
) -> DecisionRecord:
    """Return what the log keeps of a decision: everything that it was made of.

    Parameters
    ----------
    answer : bytes
        The decision as JSON, as it is answered.
    """
    decision = verdict.decision
    times: dict[datetime | None, str | None] = {None: None}  # the features of a view share theirs
    for view in stored.views.values():
        times[view.event_timestamp] = maybe_iso(view.event_timestamp)
    return DecisionRecord(
        decision_id=occasion.decision_id,
        decided_at=occasion.decided_at,
        as_of=occasion.as_of,
        applicant_id=request.applicant_id,
        bundle=decision.model.bundle,
        model_version=decision.model.version,
        policy_version=decision.policy_version,
        candor_version=_VERSION,
        recommendation=decision.approval_recommendation,
        pd=decision.default_probability,
        score=decision.credit_score,
        request=request.asked,
        features={
            name: LoggedFeature(item.value, item.source, times[item.event_timestamp]) for name, item in inputs.items()
        },
        views=stored.views,
        impacts=verdict.scored.impacts,
        reference_log_odds=verdict.scored.reference_log_odds,
        guard=decision.guard,
        output=msgspec.Raw(answer),
        arm=arm,
        experiment=experiment,
        shadow=shadow,
    )


def new_decision_id() -> str:
    """Return a UUID of version 7: milliseconds since 1970, a fraction of one, then chance.

    References
    ----------
    RFC 9562, sections 5.7 and 6.2 (method 3).
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 4096 // 1_000_000
    number = milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))
