"""What is in service: a bundle made ready to decide, its policy and request shape checked against its contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from feature_repo.contract import Contract, FeatureSpec, ViewSpec
from feature_repo.errors import InputError
from feature_repo.stores.plan import OnlinePlan
from services.scoring.inputs import dependencies
from services.scoring.loan_request import RequestReader
from services.scoring.policy import Policy, load_policy
from services.scoring.schemas import ModelName
from training.scorer import Scored
from validation.guard import Guard


class Scores(Protocol):
    """What a decision asks of a model."""

    @property
    def features(self) -> tuple[str, ...]:
        """The features that it reads, those of the impacts."""
        ...

    def score(self, values: Mapping[str, Any]) -> Scored:
        """Score one applicant from feature values, missing ones None; what it does not read is ignored."""
        ...


@dataclass(frozen=True)
class Proof:
    """What has to be known of a view before the machine approves.

    Parameters
    ----------
    view : str
        Must be PRESENT.
    instead : tuple of str
        Features that make up for it if all of them are known; none if there are none.
    otherwise : str
        What is told where it is not there.
    """

    view: str
    instead: tuple[str, ...]
    otherwise: str


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
    read : dict of str to tuple of str
        Features that the scorer reads, by stored view.
    required : tuple of str
        Features that the policy has to know before the machine approves.
    proofs : tuple of Proof
        What it has to know besides.
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
    read: dict[str, tuple[str, ...]]
    required: tuple[str, ...]
    proofs: tuple[Proof, ...]


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
        If the policy is wrong or does not fit the contract, or the scorer reads what is no model feature of it.
    """
    rules = load_policy(policy)
    rules.check_contract(contract)
    features = frozenset(scorer.features)
    if strange := sorted(features.difference(spec.name for spec in contract.model_features)):
        raise InputError(f"the model reads {', '.join(strange)}, not among the model features of {contract.service}")
    views = {view.name: view for view in contract.views}
    read = {name: tuple(spec.name for spec in view.features if spec.name in features) for name, view in views.items()}
    return ScoringModel(
        name=name,
        contract=contract,
        plan=plan,
        policy=rules,
        scorer=scorer,
        guard=guard or Guard(contract.features),
        requests=RequestReader(contract, rules),
        specs={spec.name: spec for spec in contract.features},
        views=views,
        needs=dependencies(contract.on_demand),
        read=read,
        required=_required(rules),
        proofs=tuple(_proofs(rules, views, read)),
    )


def _required(policy: Policy) -> tuple[str, ...]:
    names = [rule.feature for rule in policy.knock_out if rule.when_missing == "review"]
    if policy.affordability.when_missing == "review":
        names.append(policy.affordability.income)
    return tuple(dict.fromkeys(names))


def _proofs(policy: Policy, views: Mapping[str, ViewSpec], read: Mapping[str, tuple[str, ...]]) -> Iterator[Proof]:
    """Yield for each rule of evidence the first of its views that the model reads at all."""
    for evidence in policy.evidence:
        for view in evidence.views:
            if read[view]:
                instead = tuple(name for name in read[view] if name in evidence.or_in_request)
                yield Proof(view, instead, views[view].missing_reason or f"{view} is not there")
                break
