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

DEFAULT_POLICY = Path(__file__).with_name("policy.toml")

Probability = Annotated[float, Meta(gt=0, le=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Text = Annotated[str, Meta(min_length=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the policy; an unknown key is a mistake."""


class KnockOut(_Section, frozen=True, kw_only=True):
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
    when_missing: Literal["review", "ignore"] = "ignore"
    reason: str = ""

    def fires(self, value: float | int | bool | str | None) -> bool:
        """Return whether the rule declines this value; an unknown value never does."""
        if value is None or isinstance(value, str):
            return False
        if self.is_false:
            return value is False
        return (self.above is not None and value > self.above) or (self.below is not None and value < self.below)


class RequestDefaults(_Section, frozen=True, kw_only=True):
    """What a request that does not say is taken to mean."""

    default_term_months: Annotated[int, Meta(ge=1, le=120)]


class Cutoff(_Section, frozen=True, kw_only=True):
    """PD up to which a request is approved, and above which it is declined."""

    approve_max_pd: Probability
    decline_above_pd: Probability


class Tier(_Section, frozen=True, kw_only=True):
    """Annual percentage rate for a PD of at most `max_pd`."""

    max_pd: Probability
    apr: Percent


class ScoreScale(_Section, frozen=True, kw_only=True):
    """Points at given odds, points that double the odds, and the range of the score."""

    points: float
    odds: Annotated[float, Meta(gt=0)]
    pdo: Annotated[float, Meta(gt=0)]
    min: int
    max: int


class ConfidenceLevel(_Section, frozen=True, kw_only=True):
    """Widest probability interval and most absent views of a confidence level."""

    max_width: Probability
    max_absent_views: Annotated[int, Meta(ge=0)]


class Confidence(_Section, frozen=True, kw_only=True):
    """Conditions of HIGH and MEDIUM; whatever meets neither is LOW."""

    high: ConfidenceLevel
    medium: ConfidenceLevel


class Legal(_Section, frozen=True, kw_only=True):
    """Numbers that a law or an official comment sets: age in years, APR in percent, count of reasons."""

    age: Annotated[int, Meta(ge=0, le=130)]
    max_apr: Percent
    max_reasons: Annotated[int, Meta(ge=1, le=4)]


class Policy(_Section, frozen=True, kw_only=True):
    """The whole policy."""

    version: Text
    request: RequestDefaults
    cutoff: Cutoff
    score: ScoreScale
    confidence: Confidence
    legal: Legal
    knock_out: tuple[KnockOut, ...]
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

    def apr(self, pd: float) -> float:
        """Return the annual percentage rate of a PD, that of the last tier above all of them."""
        index = bisect_left([tier.max_pd for tier in self.tier], pd)
        return self.tier[min(index, len(self.tier) - 1)].apr

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
        """Check that every rule reads a feature of the contract and has a reason to give.

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
    rates = [tier.apr for tier in policy.tier]
    high, medium = policy.confidence.high, policy.confidence.medium
    codes = [rule.code for rule in policy.knock_out]
    conditions = [(rule.is_false, rule.above is not None, rule.below is not None) for rule in policy.knock_out]
    checks = {
        "approve_max_pd is above decline_above_pd": policy.cutoff.approve_max_pd > policy.cutoff.decline_above_pd,
        "tiers need rising max_pd": any(a >= b for a, b in zip(limits, limits[1:], strict=False)),
        "tiers need rising apr": any(a >= b for a, b in zip(rates, rates[1:], strict=False)),
        "the last tier ends below decline_above_pd": limits[-1] < policy.cutoff.decline_above_pd,
        f"an apr is above the legal {policy.legal.max_apr} %": rates[-1] > policy.legal.max_apr,
        "score.min is not below score.max": policy.score.min >= policy.score.max,
        "confidence.high is laxer than confidence.medium": high.max_width > medium.max_width
        or high.max_absent_views > medium.max_absent_views,
        "two knock-out rules have one code": len(set(codes)) != len(codes),
        "a knock-out rule needs exactly one of is_false, above, below": any(sum(c) != 1 for c in conditions),
    }
    return [problem for problem, is_there in checks.items() if is_there]
