"""The model beside its baselines, on the same loans, and the true PD where a simulator knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sklearn.metrics import brier_score_loss

from training.evaluate import expected_calibration_error
from training.scored import Bools, Floats
from training.uncertainty import Interval, auc_difference, auc_interval, ks_interval

_SEED = 0
MODEL = "this model"


@dataclass(frozen=True)
class ModelRow:
    """How one model did out of time.

    Parameters
    ----------
    name : str
    auc, ks, gini : Interval
        By DeLong, by Newcombe, and 2 AUC - 1.
    brier, ece : float
    lift : Interval or None
        AUC of the reported model less that of this one, paired; None for the reported model itself.
    """

    name: str
    auc: Interval
    ks: Interval
    gini: Interval
    brier: float
    ece: float
    lift: Interval | None

    @property
    def verdict(self) -> str:
        """What the lift's interval says of the reported model."""
        if self.lift is None:
            return ""
        return "better" if self.lift.low > 0 else "worse" if self.lift.high < 0 else "within noise"


@dataclass(frozen=True)
class Truth:
    """How near the model's ranking comes to that of the PD which drew the outcomes.

    Parameters
    ----------
    model, true : Interval
        Ginis.
    share : float or None
        Of the true PD's Gini that the model reaches; None if the true PD does not rank these loans at all.
    """

    model: Interval
    true: Interval
    share: float | None


def compare(defaulted: Bools, pd: Floats, rivals: Mapping[str, Floats]) -> list[ModelRow]:
    """Return a row for the model and for each rival."""
    return [_measure(MODEL, defaulted, pd, None)] + [
        _measure(name, defaulted, other, auc_difference(defaulted, pd, other)) for name, other in rivals.items()
    ]


def truth(defaulted: Bools, pd: Floats, true_pd: Floats) -> Truth:
    """Compare the model with the PD that a simulator drew the outcomes by."""
    model, true = _gini(auc_interval(defaulted, pd)), _gini(auc_interval(defaulted, true_pd))
    return Truth(model, true, model.estimate / true.estimate if true.estimate > 0 else None)


def _measure(name: str, defaulted: Bools, pd: Floats, lift: Interval | None) -> ModelRow:
    auc = auc_interval(defaulted, pd)
    return ModelRow(
        name=name,
        auc=auc,
        ks=ks_interval(defaulted, pd, seed=_SEED),
        gini=_gini(auc),
        brier=float(brier_score_loss(defaulted, pd)),
        ece=expected_calibration_error(pd, defaulted),
        lift=lift,
    )


def _gini(auc: Interval) -> Interval:
    return Interval(2 * auc.estimate - 1, 2 * auc.low - 1, 2 * auc.high - 1)
