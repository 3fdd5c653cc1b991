"""The values that a decision reads: what the store holds, what the request brings, what follows from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feature_repo.contract import Contract, FeatureSpec
from feature_repo.on_demand import affordability
from feature_repo.stores.stored import Scalar, StoredFeatures
from monitoring.decision_record import Input
from services.scoring.loan_request import LoanRequest

REQUEST = "request"
_TYPICAL: dict[str, float] = {
    "purchase_amount": 1000.0,
    "term_months": 12,
    "annual_income": 30000.0,
    "debt_to_income_ratio": 0.2,
    "inflow_90d": 6000.0,
}


def gather(request: LoanRequest, stored: StoredFeatures, contract: Contract) -> dict[str, Input]:
    """Return every feature of the contract by name: the request goes before the store.

    Parameters
    ----------
    stored : StoredFeatures
        What the store holds of this applicant; values of STALE views are read as missing.
    """
    inputs: dict[str, Input] = {}
    for view in contract.views:
        held = stored.views[view.name]
        values = held.values if held.status == "PRESENT" else {}
        origin = view.name, held.event_timestamp
        for spec in view.features:
            inputs[spec.name] = Input(values.get(spec.name), *origin)
    for spec in contract.request:
        inputs[spec.name] = Input(None, REQUEST)
    # An inline null brings nothing: it must not take away what the store knows.
    inputs |= {name: Input(value, REQUEST) for name, value in request.given.items() if value is not None}
    derived = derive({name: inputs[name].value if name in inputs else None for name in _TYPICAL})
    for spec in contract.on_demand:
        inputs[spec.name] = Input(derived[spec.name], spec.view)
    return inputs


def derive(values: Mapping[str, Scalar | None]) -> dict[str, float | None]:
    """Return the on-demand features of one applicant, by the same function as in training."""
    columns: dict[str, Sequence[float | None]] = {name: [_number(values.get(name))] for name in _TYPICAL}
    return {name: column[0] for name, column in affordability(columns).items()}


def dependencies(on_demand: tuple[FeatureSpec, ...]) -> dict[str, tuple[str, ...]]:
    """Return the inputs without which each on-demand feature is missing, found by leaving them out."""
    missing_without = {name: derive(_TYPICAL | {name: None}) for name in _TYPICAL}
    return {
        spec.name: tuple(name for name, derived in missing_without.items() if derived[spec.name] is None)
        for spec in on_demand
    }


def _number(value: Scalar | None) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)
