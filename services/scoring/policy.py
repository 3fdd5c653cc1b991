"""The credit policy: one versioned file of rules, cutoffs, prices and legal numbers, checked when read."""

from __future__ import annotations

import math
from bisect import bisect_left
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from feature_repo.contract import Contract
from feature_repo.errors import InputError
from services.scoring.policy_sections import (
    Affordability,
    Confidence,
    CounterOffers,
    Cutoff,
    Disclosure,
    Evidence,
    ExpectedLoss,
    FirstPayment,
    GuardRule,
    KnockOut,
    Legal,
    RequestDefaults,
    ScoreScale,
    Section,
    Text,
    Tier,
)
from services.scoring.pricing import Loan, price

DEFAULT_POLICY = Path(__file__).with_name("policy.toml")


class Policy(Section, frozen=True, kw_only=True):
    """The whole policy."""

    version: Text
    request: RequestDefaults
    guard: GuardRule
    cutoff: Cutoff
    score: ScoreScale
    confidence: Confidence
    first_payment: FirstPayment
    affordability: Affordability
    counter_offer: CounterOffers
    expected_loss: ExpectedLoss
    legal: Legal
    disclosure: Disclosure
    knock_out: tuple[KnockOut, ...]
    evidence: tuple[Evidence, ...]
    tier: Annotated[tuple[Tier, ...], Meta(min_length=1)]

    @property
    def approve_max_pd(self) -> float:
        """Highest PD that is approved."""
        return self.cutoff.approve_max_pd

    def recommend(self, pd: float) -> Literal["APPROVED", "MANUAL_REVIEW", "DECLINED"]:
        """Return what the cutoffs say of a PD."""
        if pd <= self.cutoff.approve_max_pd:
            return "APPROVED"
        return "MANUAL_REVIEW" if pd <= self.cutoff.decline_above_pd else "DECLINED"

    def tier_of(self, pd: float) -> Tier:
        """Return the tier of a PD, the last one above all of them."""
        index = bisect_left(self.tier, pd, key=lambda tier: tier.max_pd)
        return self.tier[min(index, len(self.tier) - 1)]

    def price(self, principal: int, term_months: int, pd: float) -> Loan:
        """Return the loan of an amount in cents at the price of a PD; errors as for `pricing.price`."""
        tier = self.tier_of(pd)
        fee = tier.fee(principal)
        return price(principal, term_months, tier.rate, fee=fee, odd_days=self.first_payment.odd_days)

    def credit_score(self, pd: float) -> int:
        """Return the credit score of a PD: offset + pdo / ln 2 * ln(good : bad), within the range.

        Examples
        --------
        >>> load_policy(DEFAULT_POLICY.read_bytes()).credit_score(1 / 31)
        720
        """
        scale = self.score
        if pd <= 0 or pd >= 1:
            return scale.max if pd <= 0 else scale.min
        points = scale.points + scale.pdo * (math.log2(1 - pd) - math.log2(pd) - math.log2(scale.odds))
        return min(max(round(points), scale.min), scale.max)

    def confidence_in(self, width: float, absent_views: int) -> Literal["HIGH", "MEDIUM", "LOW"]:
        """Return the confidence in a PD from what is known, not from what was decided.

        Parameters
        ----------
        width : float
            Width of the probability interval.
        absent_views : int
            Views that the model had to do without, missing or stale.
        """
        if width <= self.confidence.high.max_width and absent_views <= self.confidence.high.max_absent_views:
            return "HIGH"
        if width <= self.confidence.medium.max_width and absent_views <= self.confidence.medium.max_absent_views:
            return "MEDIUM"
        return "LOW"

    def check_contract(self, contract: Contract) -> None:
        """Check that every rule reads what the contract has, and has a reason to give.

        Raises
        ------
        InputError
            If a rule does not.
        """
        known = {spec.name: spec for spec in contract.features}
        for rule in self.knock_out:
            if rule.feature not in known:
                raise InputError(f"policy: rule {rule.code!r} reads {rule.feature!r}, which the contract does not have")
            if not (rule.reason or known[rule.feature].reason):
                raise InputError(f"policy: rule {rule.code!r} has no reason to tell, and neither has {rule.feature!r}")
            if known[rule.feature].kind == "category" or rule.is_false != (known[rule.feature].kind == "flag"):
                raise InputError(f"policy: rule {rule.code!r} does not fit the kind of {rule.feature!r}")
        income = known.get(self.affordability.income)
        if income is None or income.kind not in ("number", "count"):
            raise InputError(f"policy: affordability.income {self.affordability.income!r} is no number of the contract")
        views = {view.name: {spec.name for spec in view.features} for view in contract.views}
        for evidence in self.evidence:
            for view in evidence.views:
                if view not in views:
                    raise InputError(f"policy: evidence names {view!r}, which is no view of the contract")
            for name in evidence.or_in_request:
                if not any(name in views[view] for view in evidence.views):
                    raise InputError(f"policy: evidence names {name!r}, which is in none of its views")


def load_policy(text: bytes) -> Policy:
    """Read and check a policy.

    Parameters
    ----------
    text : bytes
        TOML, UTF-8.

    Raises
    ------
    InputError
        If it is not TOML, a key is missing or unknown, or its numbers contradict each other.
    """
    try:
        policy = msgspec.toml.decode(text, type=Policy)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"policy: {error}") from None
    for problem in _problems(policy):
        raise InputError(f"policy {policy.version}: {problem}")
    return policy


def _problems(policy: Policy) -> list[str]:
    limits = [tier.max_pd for tier in policy.tier]
    rates = [tier.rate for tier in policy.tier]
    high, medium = policy.confidence.high, policy.confidence.medium
    terms = policy.counter_offer.terms
    codes = [rule.code for rule in policy.knock_out]
    conditions = [(rule.is_false, rule.above is not None, rule.below is not None) for rule in policy.knock_out]
    checks = {
        "approve_max_pd is above decline_above_pd": policy.cutoff.approve_max_pd > policy.cutoff.decline_above_pd,
        "tiers need rising max_pd": any(a >= b for a, b in zip(limits, limits[1:], strict=False)),
        "tiers need rising rate": any(a >= b for a, b in zip(rates, rates[1:], strict=False)),
        "counter_offer.terms need rising months": any(a >= b for a, b in zip(terms, terms[1:], strict=False)),
        "the last tier ends below decline_above_pd": limits[-1] < policy.cutoff.decline_above_pd,
        f"a rate is above the legal {policy.legal.max_apr} %": rates[-1] > policy.legal.max_apr,
        "score.min is not below score.max": policy.score.min >= policy.score.max,
        "confidence.high is laxer than confidence.medium": high.max_width > medium.max_width
        or high.max_absent_views > medium.max_absent_views,
        "two knock-out rules have one code": len(set(codes)) != len(codes),
        "a knock-out rule needs exactly one of is_false, above, below": any(sum(c) != 1 for c in conditions),
    }
    return [problem for problem, is_there in checks.items() if is_there]
