"""The values that a decision reads: what the store holds, what the request brings, what follows from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from feature_repo.contract import Contract, FeatureSpec
from feature_repo.on_demand import affordability
from feature_repo.stores.stored import Scalar, StoredFeatures
from monitoring.decision_record import Source
from services.scoring.loan_request import LoanRequest

REQUEST = "request"
_TYPICAL: dict[str, float] = {
    "purchase_amount": 1000.0,
    "term_months": 12,
    "annual_income": 30000.0,
    "debt_to_income_ratio": 0.2,
    "inflow_90d": 6000.0,
}


class Inputs(msgspec.Struct, frozen=True, gc=False):
    """Every value that a decision reads.

    Parameters
    ----------
    sources : dict of str to Source
        By where it came from: stored view, `REQUEST`, on-demand view.
    values : dict of str to scalar
        All of them by name, missing ones None.
    """

    sources: dict[str, Source]
    values: dict[str, Scalar | None]

    @classmethod
    def of(cls, sources: dict[str, Source]) -> Inputs:
        """Return the inputs from these sources, none of which has a feature of another."""
        values: dict[str, Scalar | None] = {}
        for source in sources.values():
            values |= source.values
        return cls(sources, values)

    def origin(self, name: str) -> tuple[str, datetime | None]:
        """Return where a value came from, and when it was true."""
        for place, one in self.sources.items():
            if name in one.values:
                return place, one.event_timestamp
        raise KeyError(name)


def gather(request: LoanRequest, stored: StoredFeatures, contract: Contract) -> Inputs:
    """Return every feature of the contract: the request goes before the store.

    Parameters
    ----------
    stored : StoredFeatures
        What the store holds of this applicant; values of STALE views are read as missing.
    """
    # An inline null brings nothing: it must not take away what the store knows.
    given: dict[str, Scalar | None] = {name: value for name, value in request.given.items() if value is not None}
    sources: dict[str, Source] = {}
    for view in contract.views:
        held = stored.views[view.name]
        values = held.values if held.status == "PRESENT" else {}
        # By far the most are as they were: a bundle's plan and contract name the same features.
        if len(values) != len(view.features) or not given.keys().isdisjoint(values):
            values = {spec.name: values.get(spec.name) for spec in view.features if spec.name not in given}
        sources[view.name] = Source(held.event_timestamp, values)
    asked: dict[str, Scalar | None] = {spec.name: None for spec in contract.request}
    sources[REQUEST] = Source(None, asked | given)
    inputs = Inputs.of(sources)
    derived = derive(inputs.values)
    for spec in contract.on_demand:
        if spec.view not in sources:
            sources[spec.view] = Source(None, {})
        sources[spec.view].values[spec.name] = inputs.values[spec.name] = derived[spec.name]
    return inputs


def derive(values: Mapping[str, Scalar | None]) -> dict[str, float | None]:
    """Return the on-demand features of one applicant, by the same function as in training."""
    columns: dict[str, Sequence[float | None]] = {name: [_number(values.get(name))] for name in _TYPICAL}
    return {name: value for name, (value,) in affordability(columns).items()}


def dependencies(on_demand: tuple[FeatureSpec, ...]) -> dict[str, tuple[str, ...]]:
    """Return the inputs without which each on-demand feature is missing, found by leaving them out."""
    missing_without = {name: derive(_TYPICAL | {name: None}) for name in _TYPICAL}
    return {
        spec.name: tuple(name for name, derived in missing_without.items() if derived[spec.name] is None)
        for spec in on_demand
    }


def _number(value: Scalar | None) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)
