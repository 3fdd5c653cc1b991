"""Why an applicant is declined, in words: principal, specific, true, and never padded.

References
----------
12 CFR 1002.9(b)(2) and its official comment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feature_repo.contract import FeatureSpec
from feature_repo.stores.stored import StoredView
from services.scoring.inputs import REQUEST, Input
from services.scoring.model import ScoringModel
from services.scoring.policy_sections import KnockOut
from services.scoring.schemas import Reason


def of_rules(rules: Sequence[KnockOut], model: ScoringModel) -> tuple[Reason, ...]:
    """Return the reasons of the knock-out rules that declined, in the order of the policy."""
    reasons: dict[str, Reason] = {}
    for rule in rules:
        text = rule.reason or model.specs[rule.feature].reason
        reasons.setdefault(text, Reason(rule.code, rule.feature, text, None))
    return tuple(reasons.values())[: model.policy.legal.max_reasons]


def of_model(
    impacts: Mapping[str, float], inputs: Mapping[str, Input], views: Mapping[str, StoredView], model: ScoringModel
) -> tuple[Reason, ...]:
    """Return the reasons of the model: features that raised the risk, largest first.

    Features told in the same words, such as all those of one absent view, are one reason with the
    sum of their impacts.

    Parameters
    ----------
    impacts : mapping of str to float
        Log-odds by model feature against the reference population.
    views : mapping of str to StoredView
        What the store held.
    """
    groups: dict[str, Reason] = {}
    for name, impact in sorted(impacts.items(), key=lambda item: -item[1]):
        told = _words(model.specs[name], inputs, views, model)
        if told is None:
            continue
        code, text = told
        largest = groups.get(text)
        groups[text] = (
            Reason(code, name, text, impact)
            if largest is None
            else Reason(largest.code, largest.feature, text, (largest.impact or 0.0) + impact)
        )
    raised = [reason for reason in groups.values() if reason.impact is not None and reason.impact > 0]
    raised.sort(key=lambda reason: -(reason.impact or 0.0))
    return tuple(raised[: model.policy.legal.max_reasons])


def _words(
    spec: FeatureSpec, inputs: Mapping[str, Input], views: Mapping[str, StoredView], model: ScoringModel
) -> tuple[str, str] | None:
    """Return code and text for a feature that raised the risk; None if nothing true can be said of it."""
    item = inputs[spec.name]
    if item.value is None and spec.name in model.needs:
        for need in model.needs[spec.name]:
            lacking = model.specs[need]
            if inputs[need].value is None and lacking.view in model.views:
                return _unknown(lacking) if _known(inputs[need], lacking, views) else _absent(lacking, model)
    elif item.value is None and spec.view in model.views:
        if _known(item, spec, views):
            # "Never delinquent" is no delinquency.
            return None if spec.null_means else _unknown(spec)
        return _absent(spec, model)
    return spec.name, spec.reason


def _known(item: Input, spec: FeatureSpec, views: Mapping[str, StoredView]) -> bool:
    """Return whether someone did look, and found no value: the view is there, or the request says so."""
    return item.source == REQUEST or views[spec.view].status == "PRESENT"


def _unknown(spec: FeatureSpec) -> tuple[str, str]:
    return f"{spec.name}_unknown", f"Information not available: {spec.description[0].lower()}{spec.description[1:]}"


def _absent(spec: FeatureSpec, model: ScoringModel) -> tuple[str, str]:
    return f"{spec.view}_absent", model.views[spec.view].missing_reason or spec.reason
