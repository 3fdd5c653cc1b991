"""Many decisions at once: one pass of the model, then each through the same core as a single one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from feature_repo.errors import InputError
from monitoring.decision_record import DecisionRecord
from services.scoring.decide import decide
from services.scoring.inputs import gather
from services.scoring.model import Scores, ScoringModel
from services.scoring.record import ALONE, Case, Role, to_record
from training.scorer import Scored


class Foreseen:
    """A scorer that knows some applicants already, and asks another about the rest.

    Parameters
    ----------
    scorer : Scores
        Its word on a row does not depend on the rows beside it, so that what it said is as good as asking again.
    rows : sequence of tuple
        Values of each applicant, in the order of the mapping that `score` is given.
    """

    def __init__(self, scorer: Scores, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        self._scorer = scorer
        columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
        self._known: dict[tuple[Any, ...], Scored] = dict(
            zip(rows, scorer.score_many(columns) if rows else (), strict=True)
        )

    def score(self, values: Mapping[str, Any]) -> Scored:
        """Score one applicant."""
        return self._known.get(tuple(values.values())) or self._scorer.score(values)

    def score_many(self, values: Mapping[str, Sequence[Any]]) -> list[Scored]:
        """Score n applicants, none of them known."""
        return self._scorer.score_many(values)


def settle_together(
    cases: Sequence[Case], model: ScoringModel, roles: Sequence[Role] | None = None
) -> list[DecisionRecord | InputError]:
    """Return `settle` of each case, or the error that it raises."""
    names = [spec.name for spec in model.contract.model_features]
    gathered = [gather(case.request, case.stored, model.contract) for case in cases]
    rows = [tuple(inputs[name].value for name in names) for inputs in gathered]
    knowing = dataclasses.replace(model, scorer=Foreseen(model.scorer, names, rows))
    found: list[DecisionRecord | InputError] = []
    for case, inputs, role in zip(cases, gathered, roles or [ALONE] * len(cases), strict=True):
        try:
            verdict = decide(case.request, case.stored, inputs, knowing, case.occasion)
            found.append(to_record(case, inputs, verdict, role))
        except InputError as error:
            found.append(error)
    return found
