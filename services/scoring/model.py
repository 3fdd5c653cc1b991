"""What is in service: a bundle made ready to decide, its policy and request shape checked against its contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from feature_repo.contract import Contract, FeatureSpec, ViewSpec
from feature_repo.stores.plan import OnlinePlan
from services.scoring.inputs import dependencies
from services.scoring.loan_request import RequestReader
from services.scoring.policy import Policy, load_policy
from services.scoring.schemas import ModelName
from training.scorer import Scored
from validation.guard import Guard

T = TypeVar("T")


class Scores(Protocol):
    """What a decision asks of a model."""

    def score(self, values: Mapping[str, Any]) -> Scored:
        """Score one applicant from feature values, missing ones None."""
        ...


@dataclass(frozen=True)
class ScoringModel:
    """A model with all that a decision needs. It is data; it reaches out to nothing.

    Parameters
    ----------
    specs : dict of str to FeatureSpec
        Every feature of the contract by name.
    views : dict of str to ViewSpec
        Every stored view by name.
    needs : dict of str to tuple of str
        Inputs of each on-demand feature.
    scored : tuple of str
        Features that the scorer is given, in contract order.
    """

    name: ModelName
    contract: Contract
    plan: OnlinePlan
    policy: Policy
    scorer: Scores
    guard: Guard
    requests: RequestReader
    specs: dict[str, FeatureSpec]
    views: dict[str, ViewSpec]
    needs: dict[str, tuple[str, ...]]
    scored: tuple[str, ...]

    def scorable(self, values: Mapping[str, T]) -> dict[str, T]:
        """Return what the scorer is given of the values of all features."""
        return dict(zip(self.scored, map(values.__getitem__, self.scored), strict=True))


def assemble(
    name: ModelName,
    contract: Contract,
    plan: OnlinePlan,
    policy: bytes,
    scorer: Scores,
    guard: Guard | None = None,
) -> ScoringModel:
    """Make the parts of a bundle ready to decide.

    Parameters
    ----------
    guard : Guard or None
        None checks what the contract says.

    Raises
    ------
    InputError
        If the policy is wrong, or does not fit the contract.
    """
    rules = load_policy(policy)
    rules.check_contract(contract)
    return ScoringModel(
        name=name,
        contract=contract,
        plan=plan,
        policy=rules,
        scorer=scorer,
        guard=guard or Guard(contract.features),
        requests=RequestReader(contract, rules),
        specs={spec.name: spec for spec in contract.features},
        views={view.name: view for view in contract.views},
        needs=dependencies(contract.on_demand),
        scored=tuple(spec.name for spec in contract.model_features),
    )
