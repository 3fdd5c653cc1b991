"""Champion and challenger: who decides on whom, and what is kept of the one that does not. No I/O.

With a share above 0 the challenger decides on that share of applicants, the same ones every time; with
a share of 0 it looks on: the champion decides, and what the challenger would have said is logged with
it. Whatever goes wrong with a challenger, the champion decides.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from feature_repo.errors import CandorError, InputError
from monitoring.decision_record import DecisionRecord, Shadow
from services.scoring.errors import FieldProblem
from services.scoring.model import ScoringModel
from services.scoring.record import Case, Role, settle_all

_logger = logging.getLogger(__name__)
_WHOLE = 2**64


@dataclass(frozen=True)
class Challenge:
    """A challenger in service.

    Parameters
    ----------
    experiment : str
        Name of the challenge; it salts the choice of applicants, so that another challenge chooses others.
    share : float
        Share of applicants that it decides on, 0..1; 0 looks on at all.
    """

    experiment: str
    share: float
    model: ScoringModel

    @property
    def looks_on(self) -> bool:
        """Whether it decides on nobody and is asked about everybody."""
        return self.share == 0

    def takes(self, applicant_id: str) -> bool:
        """Return whether it decides on an applicant: a hash of the ID falls below the share.

        Examples
        --------
        >>> half = Challenge("new-trees", 0.5, None)
        >>> [half.takes(f"APP_{number}") for number in range(6)]
        [True, False, True, False, True, False]
        """
        salted = f"{self.experiment}\\0{applicant_id}".encode()
        return int.from_bytes(hashlib.sha256(salted).digest()[:8], "big") < self.share * _WHOLE

    def asked_about(self, applicant_id: str) -> bool:
        """Return whether it is asked about an applicant at all."""
        return self.looks_on or self.takes(applicant_id)


def settle_between(
    cases: Sequence[Case], champion: ScoringModel, challenge: Challenge, theirs: Sequence[Case | Exception | None]
) -> list[DecisionRecord | InputError]:
    """Decide on cases by champion and challenger.

    Parameters
    ----------
    cases : sequence of Case
        As the champion reads them.
    theirs : sequence of Case, Exception or None
        The same as the challenger reads them; why it cannot; or None where it is not asked.
    """
    made = _challengers(challenge, theirs)
    roles = [_role(challenge, answer) for answer in made]
    found: dict[int, DecisionRecord | InputError] = {
        index: answer
        for index, answer in enumerate(made)
        if isinstance(answer, DecisionRecord) and not challenge.looks_on
    }
    rest = [index for index in range(len(cases)) if index not in found]
    settled = settle_all([cases[index] for index in rest], champion, [roles[index] for index in rest])
    found |= zip(rest, settled, strict=True)
    return [found[index] for index in range(len(cases))]


def _challengers(
    challenge: Challenge, theirs: Sequence[Case | Exception | None]
) -> list[DecisionRecord | Exception | None]:
    asked = [case for case in theirs if isinstance(case, Case)]
    role = Role("challenger", challenge.experiment)
    answers: list[DecisionRecord | InputError] | list[Exception]
    try:
        answers = settle_all(asked, challenge.model, [role] * len(asked))
    except Exception as error:  # whatever is wrong with it, the champion decides
        _logger.exception("challenger %s cannot decide", challenge.model.name.version)
        answers = [error] * len(asked)
    rest = iter(answers)
    return [next(rest) if isinstance(case, Case) else case for case in theirs]


def _role(challenge: Challenge, answer: DecisionRecord | Exception | None) -> Role:
    if answer is None:
        return Role("champion", challenge.experiment)
    name = challenge.model.name
    if isinstance(answer, DecisionRecord):
        shadow = Shadow(
            bundle=name.bundle,
            model_version=name.version,
            pd=answer.pd,
            score=answer.score,
            recommendation=answer.recommendation,
        )
    else:
        shadow = Shadow(bundle=name.bundle, model_version=name.version, fault=_fault(answer))
    return Role("champion", challenge.experiment, shadow)


def _fault(error: Exception) -> str:
    """Say why a challenger could not decide, without values of the request."""
    if isinstance(error, FieldProblem):
        return f"refused {', '.join(field or 'the body' for field, _ in error.problems)}"
    if isinstance(error, InputError):
        return "refused the request"
    return str(error) if isinstance(error, CandorError) else f"failed with {type(error).__name__}"
