"""Why an applicant is declined, in words: principal, specific, true, and never padded.

References
----------
12 CFR 1002.9(b)(2) and its official comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from feature_repo.contract import FeatureSpec
from feature_repo.stores.stored import StoredView
from services.scoring.inputs import REQUEST, Inputs
from services.scoring.model import ScoringModel
from services.scoring.policy_sections import KnockOut
from services.scoring.schemas import Reason


def of_rules(rules: Sequence[KnockOut], model: ScoringModel) -> tuple[Reason, ...]:
    """Return the reasons of the knock-out rules that declined, in the order of the policy."""
    reasons: dict[str, Reason] = {}
    for rule in rules:
        text = rule.reason or model.specs[rule.feature].reason
        reasons.setdefault(text, Reason(rule.code, rule.feature, text, None, (rule.feature,)))
    return tuple(reasons.values())[: model.policy.legal.max_reasons]


def of_model(
    impacts: Mapping[str, float], inputs: Inputs, views: Mapping[str, StoredView], model: ScoringModel
) -> tuple[Reason, ...]:
    """Return the principal reasons of the model: groups of features that raised the risk, largest first.

    Parameters
    ----------
    impacts : mapping of str to float
        Log-odds by model feature against the reference population.
    views : mapping of str to StoredView
        What the store held.
    """
    return tuple(islice(_raised(impacts, inputs, views, model), model.policy.legal.max_reasons))


def key_factors(
    impacts: Mapping[str, float], inputs: Inputs, views: Mapping[str, StoredView], model: ScoringModel
) -> tuple[str, ...]:
    """Return what affected the credit score adversely, most important first; parameters as for `of_model`.

    Inquiries that did so are told whatever the number of other factors.

    References
    ----------
    15 USC 1681g(f)(1)(C) and (f)(9).
    """
    rule = model.policy.disclosure
    raised = list(_raised(impacts, inputs, views, model))
    told = [*raised[: rule.max_key_factors], *(one for one in raised if rule.inquiries in one.features)]
    return tuple(dict.fromkeys(reason.reason for reason in told))


def _raised(
    impacts: Mapping[str, float], inputs: Inputs, views: Mapping[str, StoredView], model: ScoringModel
) -> Iterator[Reason]:
    """Yield every group of features that raised the risk, largest first.

    Features told in the same words are a group: those that share a reason in the contract, and all
    those of one absent view. A group's impact is the sum of its features', also of those that lowered the risk.
    """
    values, specs = inputs.values, model.specs
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(impacts, key=impacts.__getitem__, reverse=True):
        spec = specs[name]
        if told := (name, spec.reason) if values[name] is not None else _absence(spec, inputs, views, model):
            code, text = told
            if text in groups:
                groups[text].append((code, name))
            elif impacts[name] > 0:  # the largest of them; where it is not, none is
                groups[text] = [(code, name)]
    summed = [(sum([impacts[name] for _, name in members]), text) for text, members in groups.items()]
    for impact, text in sorted(summed, key=lambda one: -one[0]):
        if impact <= 0:
            break
        members = groups[text]
        names = tuple([name for _, name in members if impacts[name] > 0])
        yield Reason(members[0][0], names[0], text, impact, names)


def _absence(
    spec: FeatureSpec, inputs: Inputs, views: Mapping[str, StoredView], model: ScoringModel
) -> tuple[str, str] | None:
    """Return code and text for a value that is missing and raised the risk; None if nothing true can be said of it."""
    if spec.name in model.needs:
        for need in model.needs[spec.name]:
            lacking = model.specs[need]
            if inputs.values[need] is None and lacking.view in model.views:
                return _unknown(lacking) if _known(inputs, lacking, views) else _absent(lacking, model)
    elif spec.view in model.views:
        if _known(inputs, spec, views):
            # "Never delinquent" is no delinquency.
            return None if spec.null_means else _unknown(spec)
        return _absent(spec, model)
    return spec.name, spec.reason


def _known(inputs: Inputs, spec: FeatureSpec, views: Mapping[str, StoredView]) -> bool:
    """Return whether someone did look, and found no value: the view is there, or the request says so."""
    return inputs.origin(spec.name)[0] == REQUEST or views[spec.view].status == "PRESENT"


def _unknown(spec: FeatureSpec) -> tuple[str, str]:
    return f"{spec.name}_unknown", f"Information not available: {spec.description[0].lower()}{spec.description[1:]}"


def _absent(spec: FeatureSpec, model: ScoringModel) -> tuple[str, str]:
    return f"{spec.view}_absent", model.views[spec.view].missing_reason or spec.reason
