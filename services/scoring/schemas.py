"""What the scoring service answers, as it goes over the wire. Times are ISO 8601 in UTC with microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

import msgspec

from feature_repo.stores.stored import Scalar, Status
from validation.guard import Violation

_LENGTH = len("2026-11-22T12:00:00.000000Z")
Recommendation = Literal["APPROVED", "DECLINED", "MANUAL_REVIEW"]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Terms of the loan; of a request under review those that it would have, of a declined one none.

    Parameters
    ----------
    amount, monthly_payment, last_payment, finance_charge, total_of_payments : float or None
        Currency, exact to the cent. The finance charge is interest and fee; with `amount_financed` it makes up the
        total of payments.
    apr : float or None
        Annual percentage rate, percent, fee included.
    note_rate : float or None
        Rate at which interest is charged, percent a year.
    origination_fee, amount_financed : float or None
        Charge paid at consummation, and the amount less that charge; currency.
    """

    approved: bool
    amount: float | None = None
    term_months: int | None = None
    apr: float | None = None
    monthly_payment: float | None = None
    last_payment: float | None = None
    finance_charge: float | None = None
    total_of_payments: float | None = None
    note_rate: float | None = None
    origination_fee: float | None = None
    amount_financed: float | None = None


class ExpectedLoss(msgspec.Struct, frozen=True):
    """PD x loss given default x exposure at default, and the finance charge less the cost of funds; currency.

    Parameters
    ----------
    covered : bool
        Whether the margin is at least the expected loss.
    """

    amount: float
    margin: float
    covered: bool


class Explained(msgspec.Struct, frozen=True):
    """One feature and what it did to the default risk, in log-odds against the reference population."""

    feature: str
    value: Scalar | None
    impact: float
    direction: Literal["increases", "decreases"]
    source: str
    event_timestamp: str | None


class Reason(msgspec.Struct, frozen=True):
    """One principal reason for a decline.

    Parameters
    ----------
    code : str
        Feature, knock-out rule, or ``<view>_absent`` for data that were not there.
    feature : str
        Feature that it comes from; of several, the one that weighs most.
    impact : float or None
        Log-odds by which it raised the default risk; None for a knock-out rule.
    features : tuple of str
        All that raised the risk among those that it speaks of; its `impact` sums up these and those that lowered it.
    """

    code: str
    feature: str
    reason: str
    impact: float | None
    features: tuple[str, ...]


class Freshness(msgspec.Struct, frozen=True):
    """What the store held of one view, and how old it was on the clock of the decision, in seconds."""

    status: Status
    event_timestamp: str | None
    age_seconds: int | None


class GuardResult(msgspec.Struct, frozen=True):
    """Whether every value was plausible, and which were not."""

    passed: bool
    violations: tuple[Violation, ...]


class ModelName(msgspec.Struct, frozen=True):
    """The model that decided: its registered version and the digest of its bundle."""

    name: str
    version: str
    feature_service: str
    bundle: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision.

    Parameters
    ----------
    credit_score : int
        Points within the range of the policy, falling as the default probability rises.
    default_probability : float
        Calibrated probability of default, 0..1, within `probability_interval`.
    explanation : tuple of Explained
        The three features that weigh most, either way.
    adverse_action_reasons : tuple of Reason
        At most four, largest first; empty unless declined.
    counter_offer : Terms or None
        When only amount, term, payment or charges stood against an approval: terms that a new request would be
        approved on. The request itself is declined, and the reasons say why.
    expected_loss : ExpectedLoss or None
        Of the terms recommended; None where there are none.
    review_reasons : tuple of str
        Why a person decides; empty unless under review.
    confidence : {"HIGH", "MEDIUM", "LOW"}
        From the width of the interval and the views that were absent, never from the decision.
    """

    decision_id: str
    applicant_id: str
    decided_at: str
    as_of: str
    credit_score: int
    default_probability: float
    approval_recommendation: Recommendation
    recommended_terms: Terms
    counter_offer: Terms | None
    expected_loss: ExpectedLoss | None
    explanation: tuple[Explained, ...]
    adverse_action_reasons: tuple[Reason, ...]
    review_reasons: tuple[str, ...]
    confidence: Literal["HIGH", "MEDIUM", "LOW"]
    probability_interval: tuple[float, float]
    guard: GuardResult
    freshness: dict[str, Freshness]
    model: ModelName
    policy_version: str


class StoredViewAnswer(msgspec.Struct, frozen=True):
    """One view as the store holds it; values of a STALE view are shown, but no decision uses them."""

    status: Status
    event_timestamp: str | None
    age_seconds: int | None
    features: dict[str, Scalar | None]


class ApplicantFeatures(msgspec.Struct, frozen=True):
    """What the store knows of an applicant, its age measured at `as_of`."""

    applicant_id: str
    as_of: str
    views: dict[str, StoredViewAnswer]


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the service stands on: each check says ``ok`` or what is wrong and what to do.

    Parameters
    ----------
    warnings : dict of str to str
        What is wrong although the service can decide, such as a promoted bundle that is damaged.
    """

    status: Literal["ok", "degraded"]
    checks: dict[str, str]
    model: ModelName | None
    warnings: dict[str, str] = {}


class ProblemItem(msgspec.Struct, frozen=True):
    """One thing that is wrong; `field` is empty for the request as a whole."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as RFC 9457 has it; `request_id` finds it in the service's log."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: tuple[ProblemItem, ...] = ()


def iso(instant: datetime) -> str:
    """Return an instant as ISO 8601 in UTC, with microseconds and Z.

    Examples
    --------
    >>> iso(datetime(2026, 11, 22, 12, tzinfo=UTC))
    '2026-11-22T12:00:00.000000Z'
    """
    zoned = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    text = msgspec.json.encode(zoned)[1:-1].decode()  # a fifth of the time of `isoformat`
    return text if len(text) == _LENGTH else f"{text[:-1]}.000000Z"


def maybe_iso(instant: datetime | None) -> str | None:
    """Return `iso` of an instant that many decisions share, None of None."""
    return None if instant is None else _iso_again(instant)


_iso_again = lru_cache(1 << 14)(iso)
