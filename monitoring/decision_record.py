"""What the log keeps of a decision: everything that it was made of, and everything that was answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from feature_repo.stores.stored import Scalar, StoredView

Arm = Literal["champion", "challenger"]


class Source(msgspec.Struct, frozen=True, gc=False):
    """Values that a decision read from one place.

    Parameters
    ----------
    event_timestamp : datetime or None
        When stored values were true, UTC; None for those of a request, or that follow from others.
    values : dict
        Feature name to value; None when it was missing, or STALE and therefore not used.
    """

    event_timestamp: datetime | None
    values: dict[str, Scalar | None]


class Shadow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a challenger that does not decide made of the same request.

    Parameters
    ----------
    bundle : str
        Digest of its bundle.
    pd : float or None
        Calibrated probability of default, 0..1; None if it could not decide.
    score : int or None
        Credit score, points.
    recommendation : str
        ``APPROVED``, ``DECLINED`` or ``MANUAL_REVIEW``; empty if it could not decide.
    fault : str
        Why it could not, without values of the request.
    """

    bundle: str
    model_version: str
    pd: float | None = None
    score: int | None = None
    recommendation: str = ""
    fault: str = ""


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision was made of and all that was answered.

    Parameters
    ----------
    decision_id : str
        UUID of version 7, ordered by time.
    decided_at : datetime
        Wall clock, UTC.
    as_of : datetime
        Instant from which freshness was measured, UTC.
    bundle : str
        Digest of the model bundle, ``sha256:<hex>``.
    pd : float
        Calibrated probability of default, 0..1.
    score : int
        Credit score, points.
    request : dict
        What was asked, inline features included.
    features : dict of str to Source
        Every input of the decision by where it came from: stored view, ``"request"`` or on-demand view.
    views : dict of str to StoredView
        What the store held, stale values included.
    impacts : dict of str to float
        Calibrated log-odds by model feature; with `reference_log_odds` they add up to the log-odds of `pd`.
    guard : Any
        Result of the input guard.
    output : Any
        The answer.
    policy_version : str
        Version of the policy in the bundle.
    candor_version : str
        Version of the program that decided.
    arm : {"champion", "challenger"}
        Which of the two models decided.
    experiment : str
        Name of the challenge that ran; empty if none did.
    shadow : Shadow or None
        What a challenger that only looked on would have said.
    """

    decision_id: str
    decided_at: datetime
    as_of: datetime
    applicant_id: str
    bundle: str
    model_version: str
    recommendation: str
    pd: float
    score: int
    request: dict[str, Any]
    features: dict[str, Source]
    views: dict[str, StoredView]
    impacts: dict[str, float]
    reference_log_odds: float
    guard: Any
    output: Any
    policy_version: str
    candor_version: str
    arm: Arm = "champion"
    experiment: str = ""
    shadow: Shadow | None = None
