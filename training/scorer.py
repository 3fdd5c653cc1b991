"""The pure scorer of a bundle: feature values in; PD, interval and impacts out. No XGBoost needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.columns import Column, Layout, Values
from training.probability import Calibration, probability
from training.reference_shap import ShapTables


@dataclass(frozen=True)
class Scored:
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
        self._layout = Layout(columns)
        self.features = tuple(dict.fromkeys(column.feature for column in columns))
        self._reference_log_odds = calibration.log_odds(tables.reference_margin)

    def score(self, values: Mapping[str, Any]) -> Scored:
        """Score one applicant: a batch of one."""
        return self.score_many({name: [value] for name, value in values.items()})[0]

    def score_many(self, values: Mapping[str, Values]) -> list[Scored]:
        """Score n applicants.

        Parameters
        ----------
        values : mapping of str to sequence
            Feature name to its n values, missing as None or NaN; features that the model does not
            know are ignored.

        Returns
        -------
        list of Scored
            One for each applicant, in order.
        """
        margins, impacts = self.tables.explain(self._layout.encode(values))
        impacts *= self.calibration.slope
        return [self._scored(margin, row) for margin, row in zip(margins.tolist(), impacts.tolist(), strict=True)]

    def _scored(self, margin: float, impacts: list[float]) -> Scored:
        by_feature = dict.fromkeys(self.features, 0.0)
        for column, impact in zip(self.columns, impacts, strict=True):
            by_feature[column.feature] += impact
        return Scored(
            pd=probability(self.calibration.log_odds(margin)),
            interval=self.calibration.interval(margin),
            reference_log_odds=self._reference_log_odds,
            impacts=by_feature,
        )
