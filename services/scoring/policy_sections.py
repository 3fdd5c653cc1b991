"""The parts of the credit policy, each with the numbers that it may hold."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from services.scoring.pricing import MONTH, share_of, to_cents

Probability = Annotated[float, Meta(gt=0, le=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Money = Annotated[float, Meta(ge=0)]
Term = Annotated[int, Meta(ge=1, le=120)]
Text = Annotated[str, Meta(min_length=1)]
Doubt = Literal["review", "ignore"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the policy; an unknown key is a mistake."""


class GuardRule(Section, frozen=True, kw_only=True):
    """What stored values outside their plausible ranges do: go to a person, or refuse the request."""

    critical: Literal["review", "refuse"]


class KnockOut(Section, frozen=True, kw_only=True):
    """A rule that declines whatever the model says.

    Parameters
    ----------
    code : str
        Name of the rule in answers and logs.
    feature : str
        Feature of the contract that it reads.
    is_false : bool
        Fires when a flag is false.
    above, below : float or None
        Fires when a number is strictly above or below.
    when_missing : {"review", "ignore"}
        What an unknown value does.
    reason : str
        Principal reason told; empty for the feature's own.
    """

    code: Text
    feature: Text
    is_false: bool = False
    above: float | None = None
    below: float | None = None
    when_missing: Doubt = "ignore"
    reason: str = ""

    def fires(self, value: float | int | bool | str | None) -> bool:
        """Return whether the rule declines this value; an unknown value never does."""
        if value is None or isinstance(value, str):
            return False
        if self.is_false:
            return value is False
        return (self.above is not None and value > self.above) or (self.below is not None and value < self.below)


class Evidence(Section, frozen=True, kw_only=True):
    """What must be known before the machine approves.

    Parameters
    ----------
    views : tuple of str
        The first of them that the model reads at all must be PRESENT.
    or_in_request : tuple of str
        Features that make up for it: all of them that the model reads from that view, and at least one.
    """

    views: Annotated[tuple[Text, ...], Meta(min_length=1)]
    or_in_request: tuple[Text, ...] = ()


class RequestDefaults(Section, frozen=True, kw_only=True):
    """What a request that does not say is taken to mean."""

    default_term_months: Term


class Cutoff(Section, frozen=True, kw_only=True):
    """PD up to which a request is approved, and above which it is declined."""

    approve_max_pd: Probability
    decline_above_pd: Probability


class Tier(Section, frozen=True, kw_only=True):
    """Price for a PD of at most `max_pd`.

    Parameters
    ----------
    rate : float
        Note rate, percent a year.
    fee_percent, fee_flat : float
        Fee paid at consummation: percent of the amount, and currency on top.
    """

    max_pd: Probability
    rate: Percent
    fee_percent: Percent = 0.0
    fee_flat: Money = 0.0

    def fee(self, principal: int) -> int:
        """Return the fee of an amount in cents, in cents."""
        if not self.fee_percent and not self.fee_flat:
            return 0
        return share_of(principal, self.fee_percent) + to_cents(self.fee_flat)


class FirstPayment(Section, frozen=True, kw_only=True):
    """When the first payment is due: a month and so many days after consummation."""

    odd_days: Annotated[int, Meta(ge=0, lt=MONTH)]


class Affordability(Section, frozen=True, kw_only=True):
    """Largest monthly payment as a share of monthly income.

    Parameters
    ----------
    income : str
        Feature of the contract in currency a year; an income below 1 counts as 1.
    max_share : float
        Payment over a twelfth of the income.
    when_missing : {"review", "ignore"}
        What an unknown income does.
    reason : str
        Principal reason told.
    """

    income: Text
    max_share: Annotated[float, Meta(gt=0)]
    when_missing: Doubt
    reason: Text


class CounterOffers(Section, frozen=True, kw_only=True):
    """Terms in months and steps of the amount, in currency, that a counter-offer may have."""

    terms: Annotated[tuple[Term, ...], Meta(min_length=1)]
    amount_step: Annotated[float, Meta(ge=0.01)]


class ExpectedLoss(Section, frozen=True, kw_only=True):
    """Shares of the exposure lost and of the amount exposed at default, cost of funds in percent a year."""

    loss_given_default: Annotated[float, Meta(ge=0, le=1)]
    exposure_at_default: Annotated[float, Meta(ge=0, le=1)]
    funding_rate: Percent
    when_short: Doubt


class ScoreScale(Section, frozen=True, kw_only=True):
    """Points at given odds, points that double the odds, and the range of the score."""

    points: float
    odds: Annotated[float, Meta(gt=0)]
    pdo: Annotated[float, Meta(gt=0)]
    min: int
    max: int


class ConfidenceLevel(Section, frozen=True, kw_only=True):
    """Widest probability interval and most absent views of a confidence level."""

    max_width: Probability
    max_absent_views: Annotated[int, Meta(ge=0)]


class Confidence(Section, frozen=True, kw_only=True):
    """Conditions of HIGH and MEDIUM; whatever meets neither is LOW."""

    high: ConfidenceLevel
    medium: ConfidenceLevel


class Legal(Section, frozen=True, kw_only=True):
    """Numbers that a law or an official comment sets: age in years, APR in percent, count of reasons.

    Parameters
    ----------
    over_max_apr : str
        Principal reason told when the charges would be above `max_apr`.
    """

    age: Annotated[int, Meta(ge=0, le=130)]
    max_apr: Percent
    over_max_apr: Text
    max_reasons: Annotated[int, Meta(ge=1, le=4)]


class Disclosure(Section, frozen=True, kw_only=True):
    """How many key factors of a score are disclosed, and which feature counts inquiries.

    Parameters
    ----------
    inquiries : str
        Told beyond that number where it affected the score adversely; a contract without it has none to tell.
    """

    max_key_factors: Annotated[int, Meta(ge=1)]
    inquiries: Text
