"""The contract in plain data: what each feature means, its unit, range, risk direction and reason.

It is read once from the Feast registry (`feature_repo.registry`) and travels inside the model
bundle, so that the scoring service knows every feature without importing Feast.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["number", "count", "flag", "category"]
Role = Literal["model", "policy", "protected"]
Risk = Literal["increases", "decreases", "either"]


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One feature as declared in the Feast definitions.

    Parameters
    ----------
    name : str
        Feature name, unique in the contract.
    view : str
        Feature view that it belongs to; ``"request"`` for inputs of the request itself.
    kind : {"number", "count", "flag", "category"}
        How it is stored: double, 64-bit integer, boolean or string.
    role : {"model", "policy", "protected"}
        ``model`` features are scored, ``policy`` features feed knock-out rules only, and
        ``protected`` ones are measured for fairness and never read by a decision.
    unit : str
        Unit of the value, for example ``"currency/year"``, ``"ratio"`` or ``"months"``.
    low, high : float or None
        Plausible range, inclusive; outside it a value is an error, not a rarity.
    risk : {"increases", "decreases", "either"}
        What a larger value does to default risk; ``increases`` and ``decreases`` become
        monotone constraints of the model.
    reason : str
        Principal reason told to a declined applicant when this feature raised the risk; features that
        share it are one group.
    null_means : str
        What an absent value says, empty when it is plainly missing.
    categories : tuple of str
        Allowed values of a category, in the order of their one-hot columns.
    """

    name: str
    view: str
    kind: Kind
    description: str
    unit: str
    role: Role = "model"
    low: float | None = None
    high: float | None = None
    risk: Risk = "either"
    reason: str = ""
    null_means: str = ""
    categories: tuple[str, ...] = ()


class ViewSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One stored feature view: its source table, time to live and missing-data reason.

    Parameters
    ----------
    ttl_seconds : int
        Age, measured on the home's clock, beyond which a stored row is STALE; 0 means never.
    missing_reason : str
        Principal reason told when a decline came from this view being absent.
    """

    name: str
    table: str
    ttl_seconds: int
    missing_reason: str
    features: tuple[FeatureSpec, ...]


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """All that one FeatureService promises: stored views, request inputs, on-demand features."""

    service: str
    views: tuple[ViewSpec, ...]
    request: tuple[FeatureSpec, ...]
    on_demand: tuple[FeatureSpec, ...]

    @property
    def features(self) -> tuple[FeatureSpec, ...]:
        """Every feature, stored ones first, then request inputs, then on-demand features."""
        stored = tuple(spec for view in self.views for spec in view.features)
        return stored + self.request + self.on_demand

    @property
    def model_features(self) -> tuple[FeatureSpec, ...]:
        """The features that a model may use, in contract order."""
        return tuple(spec for spec in self.features if spec.role == "model")

    def feature(self, name: str) -> FeatureSpec:
        """Return the feature called `name`.

        Raises
        ------
        KeyError
            If the contract has no such feature.
        """
        for spec in self.features:
            if spec.name == name:
                return spec
        raise KeyError(name)
