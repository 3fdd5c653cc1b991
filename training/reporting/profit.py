"""What loans would have earned at each cutoff, and the cutoff at which they would have earned most.

Every loan is taken at the price of its own PD, so that a cutoff only decides which loans are made.

References
----------
Thomas, Crook and Edelman, "Credit Scoring and Its Applications", 2nd edition, SIAM 2017: cutoffs by profit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evidence import Economics
from training.scored import Floats, ScoredLoans
from training.uncertainty import Interval, bootstrap

Indices = NDArray[np.int64]

RESAMPLES = 300


@dataclass(frozen=True)
class ProfitCurve:
    """Profit of approving up to each of k cutoffs.

    Parameters
    ----------
    cutoff : ndarray of float64, shape (k,)
        Rising; the first is 0 and approves nobody, the others are the PDs that occur.
    profit : ndarray of float64, shape (k,)
        Realised, of all loans approved, in currency.
    approved : ndarray of int64, shape (k,)
        Loans.
    """

    cutoff: Floats
    profit: Floats
    approved: Indices


@dataclass(frozen=True)
class Outcome:
    """What one cutoff would have done to a sample of loans: counts and currency."""

    cutoff: float
    loans: int
    approved: int
    bads: int
    profit: float

    @property
    def approval_rate(self) -> float:
        """Share approved, 0..1."""
        return self.approved / self.loans

    @property
    def bad_rate(self) -> float | None:
        """Share of those approved that defaulted, 0..1; None if nobody was."""
        return self.bads / self.approved if self.approved else None


def profit_curve(loans: ScoredLoans, economics: Economics) -> ProfitCurve:
    """Return the realised profit at every cutoff: gains of the good loans approved, less losses of the bad ones."""
    order, ends = _ranked(loans.pd)
    earned = np.cumsum(_worth(loans, economics)[order])[ends]
    return ProfitCurve(
        cutoff=np.append(0.0, loans.pd[order][ends]),
        profit=np.append(0.0, earned),
        approved=np.append(0, ends + 1),
    )


def best_cutoff(
    loans: ScoredLoans, economics: Economics, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Return the highest PD to approve for the most profit, with a bootstrap interval over loans.

    The lowest of several that earn the same, and 0 if every cutoff loses. A wide interval says that profit is flat
    around its top, or that the loans are few.

    Parameters
    ----------
    loans : ScoredLoans
        Never of the out-of-time window: what is chosen by it cannot be tested on it.
    economics : Economics
        Of the same loans.
    seed : int
        Of the bootstrap.
    resamples : int
    level : float
        Of the interval, 0..1.
    """
    order, ends = _ranked(loans.pd)
    worth = _worth(loans, economics)[order]
    cutoffs = np.append(0.0, loans.pd[order][ends])

    def best(weights: Floats) -> float:
        earned = np.cumsum(weights[order] * worth)[ends]
        return float(cutoffs[np.argmax(np.append(0.0, earned))])

    return bootstrap(best, len(loans), seed=seed, resamples=resamples, level=level)


def outcome_at(loans: ScoredLoans, economics: Economics, cutoff: float) -> Outcome:
    """Return what a cutoff would have done to these loans."""
    approved = loans.pd <= cutoff
    return Outcome(
        cutoff=cutoff,
        loans=len(loans),
        approved=int(approved.sum()),
        bads=int(loans.defaulted[approved].sum()),
        profit=float(_worth(loans, economics)[approved].sum()),
    )


def profit_difference(
    loans: ScoredLoans,
    economics: Economics,
    cutoff: float,
    other: float,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return profit at a cutoff less profit at another, with a bootstrap interval over loans, in currency."""
    worth = _worth(loans, economics)
    between = worth * ((loans.pd <= cutoff).astype(np.float64) - (loans.pd <= other))
    return bootstrap(lambda weights: float(weights @ between), len(loans), seed=seed, resamples=resamples)


def _worth(loans: ScoredLoans, economics: Economics) -> Floats:
    return np.where(loans.defaulted, -economics.loss_if_bad, economics.gain_if_good)


def _ranked(pd: Floats) -> tuple[Indices, Indices]:
    """Return loans by rising PD, and where in that order each distinct PD ends."""
    order = np.argsort(pd, kind="stable")
    ordered = pd[order]
    return order, np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
