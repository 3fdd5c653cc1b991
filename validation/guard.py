"""The plausibility check of one request: a suite compiled to one Python function.

It runs on the way to every decision, so it knows nothing of Great Expectations, pandas or Feast: it reads the suite as
the plain JSON that Great Expectations writes. The suites of `validation.suites` ask the same of whole tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from feature_repo.contract import FeatureSpec
from feature_repo.errors import InputError
from validation.guard_source import code_of, function_source
from validation.rules import Code, Expectation, Level, Suite, request_suite


class Violation(msgspec.Struct, frozen=True):
    """One value that the suite does not allow.

    Parameters
    ----------
    feature : str
        Name of the feature; of a pair the first.
    rule : str
        What kind of rule it breaks: type, finite, range, category, null, pattern, length or pair.
    message : str
        What is expected, without the value itself.
    level : {"critical", "warning"}
        Level of the same rule in the suites.
    """

    feature: str
    rule: Code
    message: str
    level: Level = "critical"


class Guard:
    """Check the values of one request.

    Parameters
    ----------
    specs : iterable of FeatureSpec
        Features to check by what the contract says of them; a value under any other name is not looked at.

    Examples
    --------
    >>> spec = FeatureSpec(name="credit_utilization", view="credit_bureau", kind="number",
    ...                    description="", unit="ratio", low=0, high=5)
    >>> guard = Guard([spec])
    >>> guard.check({"credit_utilization": 0.3})
    ()
    >>> guard.check({"credit_utilization": 7.0})[0].message
    'credit_utilization must be between 0 and 5 (ratio)'
    """

    def __init__(self, specs: Iterable[FeatureSpec]) -> None:
        self._compile(request_suite(specs))

    @classmethod
    def of_suite(cls, suite: Suite) -> Guard:
        """Return the guard of a suite.

        Raises
        ------
        InputError
            If one of its expectations cannot be asked of one request.
        """
        guard = cls.__new__(cls)
        guard._compile(suite)
        return guard

    @classmethod
    def of_json(cls, data: bytes) -> Guard:
        """Return the guard of a suite in Great Expectations' JSON; errors as for `of_suite`."""
        try:
            return cls.of_suite(msgspec.json.decode(data, type=Suite))
        except msgspec.DecodeError as error:
            raise InputError(f"the guard's suite cannot be read ({error})") from None

    def _compile(self, suite: Suite) -> None:
        source, names = function_source(suite)
        exec(compile(source, f"<suite {suite.name}>", "exec"), names)
        self._unmet: Callable[[Mapping[str, object]], list[int]] = names["check"]
        self._violations = tuple(map(_violation, suite.expectations))
        self.source = source
        """The function that it runs, for people."""

    def check(self, values: Mapping[str, object]) -> tuple[Violation, ...]:
        """Return what is wrong with a request's values, empty if nothing is.

        Parameters
        ----------
        values : mapping of str to object
            Python values by feature name. None and NaN mean that a value is missing, which is the
            model's business, not the contract's.

        Returns
        -------
        tuple of Violation
            In the order of the suite's columns, at most one for each, then pairs.
        """
        unmet = self._unmet(values)
        return tuple([self._violations[index] for index in unmet]) if unmet else ()


def _violation(one: Expectation) -> Violation:
    column, meta = one.kwargs.get("column") or one.kwargs["column_A"], one.meta or {}
    rule = meta.get("rule") or one.type.removeprefix("expect_").replace("_", " ")
    level: Level = "critical" if one.severity == "critical" else "warning"
    return Violation(column, meta.get("code") or code_of(one.type), f"{column} {rule}", level)
