"""Errors of the scoring service, beside those of `feature_repo.errors`."""

from __future__ import annotations

from collections.abc import Mapping

from feature_repo.errors import InputError, UnavailableError


class FieldProblem(InputError):
    """A request is wrong; each problem names its field.

    Parameters
    ----------
    problems : (field, message)
        The field is empty for the body as a whole.
    """

    def __init__(self, *problems: tuple[str, str]) -> None:
        self.problems = problems
        super().__init__("; ".join(message for _, message in problems))


class UnknownError(InputError):
    """The thing asked for is not known: HTTP 404."""


class ConflictError(InputError):
    """The request contradicts an earlier one: HTTP 409."""


class NotReady(UnavailableError):
    """The service cannot decide yet; each fault names what is not there."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        self.faults = faults
        super().__init__("not ready: " + "; ".join(faults.values()))
