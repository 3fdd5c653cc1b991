"""What a candidate's bundle shows before it is promoted: in service, and against the champion on the same loans."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.bundle import Bundle
from training.columns import Column
from training.promotion_gate import GateLine, PromotionGate, latency_line, size_line
from training.scored import Bools, Floats
from training.scorer import Scorer
from training.uncertainty import Interval, auc_difference

if TYPE_CHECKING:
    from training.dataset import Dataset

_SCORES = 300
_MOST = 0.5  # of loans
_EXTREMES = (-sys.float_info.max, sys.float_info.max)


def bundle_lines(gate: PromotionGate, bundle: Bundle) -> list[GateLine]:
    """Hold a bundle's tables, its time for one score and its guard against the gate."""
    tables = sum(array.nbytes for array in bundle.scorer.tables.arrays().values())
    return [size_line(gate, tables), latency_line(gate, seconds_per_score(bundle)), guard_line(bundle)]


def guard_line(bundle: Bundle) -> GateLine:
    """Tell whether the guard has a rule for every feature of the model: its value counts those without.

    A feature has one if text that means nothing is refused as its value, and so is one end or the other of the numbers.
    """

    def refuses(name: str, value: object) -> bool:
        return any(violation.feature == name for violation in bundle.guard.check({name: value}))

    free = [
        name
        for name in bundle.scorer.features
        if not (refuses(name, "\0") and any(refuses(name, number) for number in _EXTREMES))
    ]
    note = f"the guard has no rule for {', '.join(free)}: declare a range or categories" if free else ""
    return GateLine("guard", len(free), 0, not free, note)


def seconds_per_score(bundle: Bundle) -> float:
    """Return the median time of one score with its explanation, over the applicants that the bundle keeps."""
    with np.load(bundle.path / "verified.npz", allow_pickle=False) as stored:
        applicants = [decode(bundle.scorer.columns, row) for row in stored["rows"].tolist()]
    times = []
    for index in range(_SCORES):
        start = time.perf_counter()
        bundle.scorer.score(applicants[index % len(applicants)])
        times.append(time.perf_counter() - start)
    return median(times)


def decode(columns: tuple[Column, ...], row: list[float]) -> dict[str, Any]:
    """Return feature values that `training.columns.encode` makes this row of; what is missing is left out."""
    values: dict[str, Any] = {}
    for column, x in zip(columns, row, strict=True):
        if x != x:
            continue
        if not column.category:
            values[column.feature] = x
        elif x or column.feature not in values:
            values[column.feature] = column.category if x else ""
    return values


def comparison_lines(
    gate: PromotionGate,
    dataset: Dataset,
    candidate: Scorer,
    champion: Scorer,
    name: str,
    aside: str = "",
    *,
    cutoff: float,
    uncompared: bool = False,
) -> list[GateLine]:
    """Hold a candidate against the champion on the candidate's own out-of-time loans.

    Parameters
    ----------
    dataset : Dataset
        That of the candidate.
    name : str
        What the champion is called in notes.
    aside : str
        What else is to be said in them.
    cutoff : float
        Highest PD that the candidate's policy approves.
    uncompared : bool
        Whether somebody vouches for the candidate where the champion lacks features that it was trained with. A
        candidate that is worse even then is refused all the same.

    Raises
    ------
    InputError
        If the out-of-time loans have one outcome only.
    """
    rows = dataset.is_oot
    defaulted = np.asarray(dataset.defaulted[rows])
    shares = missing_shares(dataset, champion)
    lost = lost_features(shares)
    if lost:
        aside += f"; {name} had to do without {', '.join(lost)}"
    there = [feature for feature in champion.features if feature in dataset.table.column_names]
    own, others = scores(candidate, dataset.values(rows)), scores(champion, dataset.values(rows, there))
    fair = both_would_approve(own, others, dataset.decided_here[rows], cutoff)
    return [champion_line(shares, name, uncompared), *fair_lines(gate, defaulted, own, others, fair, name, aside)]


def fair_lines(
    gate: PromotionGate, defaulted: Bools, candidate: Floats, champion: Floats, fair: Bools, name: str, aside: str = ""
) -> list[GateLine]:
    """Hold the differences on the fair ones of n loans against the gate, and that of the AUC on all as well.

    On all the AUC flatters a candidate that has not decided itself. One that is worse even there is worse: it must not
    pass because loans that it would wrongly decline are left out. The Brier score on all would wrong it, since a
    champion's approvals are where the champion is calibrated and any other model is not.

    Parameters
    ----------
    fair : ndarray of bool, shape (n,)
        As `both_would_approve` gives it; other parameters as for `difference_lines`.
    """
    if fair.all():
        return difference_lines(gate, defaulted, candidate, champion, name, aside)
    out = f"{int((~fair).sum()):,} loans decided here that one of both would not approve"
    on_all, *_ = difference_lines(gate, defaulted, candidate, champion, name, f"{aside}; with {out}")
    bad, count = int(defaulted[fair].sum()), int(fair.sum())
    if bad in (0, count):
        note = f"{count:,} loans with {bad:,} defaults are too few to tell; without {out}"
        return [on_all, GateLine("auc_doubt", -1.0, 0.0 - gate.max_auc_doubt, gate.max_auc_doubt >= 1, note)]
    auc, *others = difference_lines(
        gate, defaulted[fair], candidate[fair], champion[fair], name, f"{aside}; without {out}"
    )
    return [auc if on_all.passed else on_all, *others]


def both_would_approve(candidate: Floats, champion: Floats, decided_here: Bools, cutoff: float) -> Bools:
    """Return which loans are fair to both of two models: of those decided here, the ones that both would approve.

    Loans decided here are those that a champion approved. That cuts off its own worst scores and not the candidate's,
    so that it ranks them less well than it ranks all that apply, and a candidate that is worse would look as good. Cut
    at one PD, both end alike. Some of these loans an earlier champion or a challenger approved, so that the
    highest PD that the champion gives to any of them says nothing of where its own approvals end.

    Parameters
    ----------
    candidate, champion : ndarray of float64, shape (n,)
        PD by each.
    decided_here : ndarray of bool, shape (n,)
        Loans from the home's own decisions.
    cutoff : float
        Highest PD that is approved; the champion's approvals may end lower.
    """
    if not decided_here.any():
        return np.ones(len(candidate), bool)
    end = min(cutoff, champion[decided_here].max())
    fair: Bools = ~decided_here | ((candidate <= end) & (champion <= end))
    return fair


class Missing(NamedTuple):
    """Shares of loans without a value of a feature, before the out-of-time window and in it, 0..1."""

    before: float
    now: float

    def __str__(self) -> str:
        return f"missing for {self.now:.1%} of loans, {self.before:.1%} before"


def missing_shares(dataset: Dataset, champion: Scorer) -> dict[str, Missing]:
    """Return for how many loans each feature that the champion reads is missing."""
    oot = dataset.is_oot
    return {name: Missing(dataset.missing(name, ~oot), dataset.missing(name, oot)) for name in champion.features}


def lost_features(shares: Mapping[str, Missing]) -> tuple[str, ...]:
    """Return what the champion reads and no longer gets: it is not there out of time, or no more for most loans."""
    return tuple(name for name, of in shares.items() if of.now == 1 or (of.now > _MOST and of.before <= _MOST))


def champion_line(shares: Mapping[str, Missing], name: str, uncompared: bool) -> GateLine:
    """Tell whether the champion is measured as it was made: the value counts the features that it had to do without.

    One that lost features it was trained with ranks worse than it did, so that whoever is set against it looks
    good: that is no evidence, and a person has to answer for it.
    """
    lost = lost_features(shares)
    note = ""
    if lost:
        told = ", ".join(f"{feature} ({shares[feature]})" for feature in lost)
        note = f"{name} cannot be compared with fairly: the loans out of time lack {told}, which it reads"
        note += "; vouched for" if uncompared else "; if they are gone for good, vouch by --uncompared and say --why"
    elif shares:
        most = max(shares, key=lambda feature: shares[feature].now - shares[feature].before)
        if shares[most].now > shares[most].before:
            note = f"of what {name} reads, {most} has gone missing most: {shares[most]}"
    return GateLine("champion_features", len(lost), 0, not lost or uncompared, note)


def difference_lines(
    gate: PromotionGate, defaulted: Bools, candidate: Floats, champion: Floats, name: str, aside: str = ""
) -> list[GateLine]:
    """Hold the differences of AUC and Brier score of n loans against the gate.

    Parameters
    ----------
    defaulted : ndarray of bool, shape (n,)
        Outcomes.
    candidate, champion : ndarray of float64, shape (n,)
        PD by each.
    """
    auc = auc_difference(defaulted, candidate, champion, gate.level)
    brier = brier_difference(defaulted, candidate, champion, gate.level)
    aside = f"; {100 * gate.level:.4g} % interval of {len(defaulted):,} loans){aside}"
    return [
        GateLine(
            "auc_difference",
            auc.estimate,
            0.0 - gate.max_auc_loss,
            auc.high >= -gate.max_auc_loss,
            f"AUC {_than(auc, name)}{aside}",
        ),
        GateLine(
            "auc_doubt",
            auc.low,
            0.0 - gate.max_auc_doubt,
            auc.low >= -gate.max_auc_doubt,
            f"the least that AUC against {name} may be; below the line, {len(defaulted):,} loans with "
            f"{int(defaulted.sum()):,} defaults are too few to tell",
        ),
        GateLine(
            "brier_difference",
            brier.estimate,
            gate.max_brier_rise,
            brier.low <= gate.max_brier_rise,
            f"Brier score {_than(brier, name)}{aside}",
        ),
    ]


def brier_difference(defaulted: Bools, challenger_pd: Floats, champion_pd: Floats, level: float) -> Interval:
    """Return by how much the challenger's Brier score is above the champion's on the same loans.

    The Brier score is proper: it falls with better ranking and with better calibration, and is lowest for the true PD.
    The interval is that of a mean of n independent differences; Diebold and Mariano, "Comparing Predictive
    Accuracy", Journal of Business & Economic Statistics 13, 1995, for forecasts of one step.

    Returns
    -------
    Interval
        In -1..1. Of one loan -1..1.
    """
    losses = (challenger_pd - defaulted) ** 2 - (champion_pd - defaulted) ** 2
    mean = float(losses.mean())
    if len(losses) < 2:
        return Interval(mean, -1.0, 1.0)
    reach = NormalDist().inv_cdf((1 + level) / 2) * float(losses.std(ddof=1)) / len(losses) ** 0.5
    return Interval(mean, max(mean - reach, -1.0), min(mean + reach, 1.0))


def scores(scorer: Scorer, values: Mapping[str, NDArray[np.object_]]) -> Floats:
    """Return the PD of n loans by the very way of the service, shape (n,)."""
    names = list(values)
    rows = zip(*(column.tolist() for column in values.values()), strict=True)
    return np.array([scorer.score(dict(zip(names, row, strict=True))).pd for row in rows], dtype=np.float64)


def _than(difference: Interval, name: str) -> str:
    side = "below" if difference.estimate < 0 else "above"
    return f"{abs(difference.estimate):.4f} {side} that of {name} ({difference.low:+.4f} to {difference.high:+.4f}"
