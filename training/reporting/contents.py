"""All numbers of a report, before anything is drawn or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from training.evaluate import ReliabilityBin, brier_parts, decile_shares, population_stability, reliability_bins
from training.evidence import Evidence
from training.loans import DECIDED_HERE
from training.reporting.drivers import Driver, drivers
from training.reporting.profit import Outcome, best_cutoff, outcome_at, profit_difference
from training.reporting.rivals import ModelRow, Truth, compare, truth
from training.reporting.tables import Confusion, GainsRow, Row, by_band, by_segment, by_vintage, confusion, gains, row
from training.scored import ScoredLoans
from training.uncertainty import Interval

_SIDES = ("train", "out of time", DECIDED_HERE)
_NEARLY_ALL = 0.99


@dataclass(frozen=True)
class Step:
    """One step of the waterfall: loans left after it, and loans that it took out, None where it only sorts them."""

    name: str
    left: int
    removed: int | None


@dataclass(frozen=True)
class Window:
    """A sample of loans: its first and last day of decision, ISO, UTC."""

    first: str
    last: str
    total: Row


@dataclass(frozen=True)
class StabilityRow:
    """PDs up to a bound, above the one before: shares of the loans fitted on and out of time."""

    up_to: float
    fitted: float
    oot: float


@dataclass(frozen=True)
class Profit:
    """The policy's cutoff and the most profitable one: found on the last slice, then shown out of time.

    Parameters
    ----------
    best : Interval
        PD.
    difference : Interval
        Profit out of time at the best cutoff less at the policy's, in currency.
    """

    best: Interval
    policy_last: Outcome
    best_last: Outcome
    policy_oot: Outcome
    best_oot: Outcome
    difference: Interval

    @property
    def hardly_declines(self) -> bool:
        """Whether the most profitable cutoff declines fewer than one in a hundred loans that it was found on."""
        return self.best_last.approval_rate > _NEARLY_ALL


@dataclass(frozen=True)
class Contents:
    """All numbers of a report."""

    facts: Mapping[str, str]
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    cutoff: float
    waterfall: list[Step]
    windows: list[Window]
    models: list[ModelRow]
    reliability: list[ReliabilityBin]
    brier: Mapping[str, float]
    gains: list[GainsRow]
    confusion: Confusion
    vintages: list[Row]
    bands: list[Row]
    segments: Mapping[str, list[Row]]
    psi: float
    compared: tuple[int, int]
    stable_up_to: float
    stability: list[StabilityRow]
    profit: Profit
    drivers: list[Driver]
    truth: Truth | None

    @property
    def psi_by_chance(self) -> float:
        """The mean PSI of two samples of one population of these sizes.

        Yurdakul and Naranjo, "Statistical Properties of the Population Stability Index", Journal of Risk Model
        Validation 14, 2020: over 1/n + 1/m it is chi-squared with one degree of freedom less than bins.
        """
        fitted, oot = self.compared
        return (len(self.stability) - 1) * (1 / max(fitted, 1) + 1 / max(oot, 1))

    @property
    def model(self) -> ModelRow:
        """The reported model's row."""
        return self.models[0]

    @property
    def oot(self) -> Row:
        """All loans out of time."""
        return self.windows[-1].total


def contents(evidence: Evidence) -> Contents:
    """Compute the numbers of a report.

    Raises
    ------
    InputError
        If the out-of-time window has only one outcome.
    """
    oot = evidence.oot
    compared = evidence.compared_pd
    bounds, fitted_shares, oot_shares = decile_shares(*compared)
    return Contents(
        facts=evidence.facts,
        parameters=evidence.parameters,
        metrics=evidence.metrics,
        cutoff=evidence.cutoff,
        waterfall=_waterfall(evidence.waterfall),
        windows=[
            _window("fitted on", evidence.fitted),
            _window("calibrated on", evidence.last),
            _window("out of time", oot),
        ],
        models=compare(oot.defaulted, oot.pd, evidence.rivals),
        reliability=reliability_bins(oot.pd, oot.defaulted),
        brier=brier_parts(oot.pd, oot.defaulted),
        gains=gains(oot),
        confusion=confusion(oot, evidence.cutoff),
        vintages=by_vintage(oot),
        bands=by_band(oot, evidence.highest_score),
        segments={name: by_segment(oot, found) for name, found in evidence.segments.items()},
        psi=population_stability(*compared),
        compared=(len(compared[0]), len(compared[1])),
        stable_up_to=evidence.stable_up_to,
        stability=[
            StabilityRow(bound, float(fitted), float(later))
            for bound, fitted, later in zip(bounds, fitted_shares, oot_shares, strict=True)
        ],
        profit=_profit(evidence),
        drivers=drivers(evidence.impacts),
        truth=None if evidence.true_pd is None else truth(oot.defaulted, oot.pd, evidence.true_pd),
    )


def _waterfall(counts: Mapping[str, int]) -> list[Step]:
    steps: list[Step] = []
    before = None
    for name, left in counts.items():
        steps.append(Step(name, left, None if before is None or name in _SIDES else before - left))
        before = left
    return steps


def _window(name: str, loans: ScoredLoans) -> Window:
    first, last = (str(instant.astype("M8[D]")) for instant in (loans.decided.min(), loans.decided.max()))
    return Window(first, last, row(name, loans, len(loans)))


def _profit(evidence: Evidence) -> Profit:
    last, oot = evidence.last, evidence.oot
    best = best_cutoff(last, evidence.last_economics)
    return Profit(
        best=best,
        policy_last=outcome_at(last, evidence.last_economics, evidence.cutoff),
        best_last=outcome_at(last, evidence.last_economics, best.estimate),
        policy_oot=outcome_at(oot, evidence.oot_economics, evidence.cutoff),
        best_oot=outcome_at(oot, evidence.oot_economics, best.estimate),
        difference=profit_difference(oot, evidence.oot_economics, best.estimate, evidence.cutoff),
    )
