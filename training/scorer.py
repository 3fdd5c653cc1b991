"""The pure scorer of a bundle: feature values in; PD, interval and impacts out. No XGBoost needed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import msgspec

from training.columns import Column
from training.lookup import Switch
from training.probability import Calibration, probability
from training.reference_shap import ShapTables


class Scored(msgspec.Struct, frozen=True, gc=False):
    """The model's word on one applicant.

    Parameters
    ----------
    pd : float
        Calibrated probability of default, 0..1.
    interval : tuple of float
        Lower and upper probability; holds `pd`.
    reference_log_odds : float
        Calibrated log-odds of the reference population, to which the impacts are relative.
    impacts : dict of str to float
        Calibrated log-odds by feature; with `reference_log_odds` they add up to the log-odds of `pd`.
    """

    pd: float
    interval: tuple[float, float]
    reference_log_odds: float
    impacts: dict[str, float]


class Scorer:
    """Score applicants from their feature values.

    Parameters
    ----------
    columns : sequence of Column
        The k columns of the model.
    tables : ShapTables
        The compiled ensemble.
    calibration : Calibration
        Raw log-odds to PD.
    """

    def __init__(self, columns: Sequence[Column], tables: ShapTables, calibration: Calibration) -> None:
        self.columns = tuple(columns)
        self.tables = tables
        self.calibration = calibration
        self.features = tuple(dict.fromkeys(column.feature for column in columns))
        self._numbers, self._categories = _readers(self.columns, tables.switches)
        place = {feature: index for index, feature in enumerate(self.features)}
        self._lookup = tables.lookup([place[column.feature] for column in columns])
        self._reference_log_odds = calibration.log_odds(tables.reference_margin)

    def score(self, values: Mapping[str, Any]) -> Scored:
        """Score one applicant.

        Parameters
        ----------
        values : mapping of str to float, int, bool, str or None
            Feature name to its value, missing as None or NaN; what the model does not know is ignored. A number is
            compared as float32, and a category that the model was not trained on is none of those that it was.
        """
        codes = 0
        for name, thresholds, between, missing in self._numbers:  # `Switch.at` without the call
            x = values.get(name)
            codes |= missing if x is None or x != x else between[bisect_right(thresholds, x)]
        for name, category in self._categories:
            codes |= category.at(values.get(name))
        sums = self._lookup.sums(codes)
        margin = self.tables.base_margin + sums.item(0)
        return Scored(
            pd=probability(self.calibration.log_odds(margin)),
            interval=self.calibration.interval(margin),
            reference_log_odds=self._reference_log_odds,
            impacts=dict(zip(self.features, (sums[1:] * self.calibration.slope).tolist(), strict=True)),
        )


@dataclass(frozen=True)
class _Category:
    """What one category adds to the codes: of each value that has a column, of any other, of none."""

    known: dict[str, int]
    other: int
    missing: int

    def at(self, value: object) -> int:
        return self.known.get(value, self.other) if isinstance(value, str) else self.missing


def _readers(
    columns: Sequence[Column], switches: Sequence[Switch]
) -> tuple[list[tuple[str, list[float], list[int], int]], list[tuple[str, _Category]]]:
    """Return how numbers and categories become codes; what has no condition is left out."""
    numbers: list[tuple[str, list[float], list[int], int]] = []
    marks: dict[str, dict[str, Switch]] = {}
    for column, switch in zip(columns, switches, strict=False):
        if column.category:
            marks.setdefault(column.feature, {})[column.category] = switch
        elif switch.thresholds or switch.missing or any(switch.codes):
            numbers.append((column.feature, switch.thresholds, switch.codes, switch.missing))
    categories = []
    for feature, by_value in marks.items():
        own = list(by_value.values())
        known = {value: _together(one.at(float(one is mark)) for one in own) for value, mark in by_value.items()}
        other = _together(one.at(0.0) for one in own)
        categories.append((feature, _Category(known, other, _together(one.missing for one in own))))
    return numbers, categories


def _together(codes: Iterable[int]) -> int:
    return reduce(or_, codes, 0)
