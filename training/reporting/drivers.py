"""Which features drive the PD, how much, and which way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.evidence import Impacts
from training.scored import Floats

CLEAR = 0.5


@dataclass(frozen=True)
class Driver:
    """One feature.

    Parameters
    ----------
    feature : str
    mean_impact : float
        Mean absolute impact, in calibrated log-odds.
    share : float
        Of all features' mean absolute impacts, 0..1.
    direction : {"raises", "lowers", "mixed", "by category", "none"}
        What higher values do to the PD: Spearman's rank correlation of value and impact reaches ``CLEAR`` or not.
    missing : float
        Share of loans without a value, 0..1.
    """

    feature: str
    mean_impact: float
    share: float
    direction: Literal["raises", "lowers", "mixed", "by category", "none"]
    missing: float


def drivers(impacts: Impacts) -> list[Driver]:
    """Return the features by falling mean absolute impact; none if there is no sample."""
    sizes = {name: float(np.abs(found).mean()) if len(found) else 0.0 for name, found in impacts.impacts.items()}
    total = sum(sizes.values())
    return [
        Driver(
            feature=name,
            mean_impact=sizes[name],
            share=sizes[name] / total if total else 0.0,
            direction=_direction(impacts.values[name], impacts.impacts[name]),
            missing=float(np.mean(~present(impacts.values[name]))) if len(impacts.values[name]) else 0.0,
        )
        for name in sorted(sizes, key=lambda name: (-sizes[name], name))
    ]


def present(values: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Return which values are there; NaN is not."""
    return np.array([value is not None and value == value for value in values], dtype=bool)


def numbers(values: NDArray[np.object_]) -> Floats | None:
    """Return numbers and truth values as float64 with NaN where missing; None if the feature is a category."""
    if any(isinstance(value, str) for value in values):
        return None
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)


def _direction(
    values: NDArray[np.object_], impacts: Floats
) -> Literal["raises", "lowers", "mixed", "by category", "none"]:
    there = present(values)
    if not impacts.any() or not there.any():
        return "none"
    found = numbers(values[there])
    if found is None:
        return "by category"
    ranks, impact_ranks = rankdata(found), rankdata(impacts[there])
    if ranks.std() == 0 or impact_ranks.std() == 0:
        return "none"
    correlation = float(np.corrcoef(ranks, impact_ranks)[0, 1])
    return "raises" if correlation >= CLEAR else "lowers" if correlation <= -CLEAR else "mixed"
