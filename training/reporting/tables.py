"""The tables of a report: one row a group of loans, every loan in exactly one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.scored import ScoredLoans
from training.uncertainty import Interval, auc_interval, share_interval

FEWEST_PER_OUTCOME = 10
FEWEST_PER_SEGMENT = 10
DECILES = 10
BAND_POINTS = 50
_MONTHS_SHOWN = 13


@dataclass(frozen=True)
class Row:
    """Loans of one group.

    Parameters
    ----------
    name : str
    loans, bads : int
    share : float
        Of all loans of the sample, 0..1.
    bad_rate : Interval
        With Wilson's interval, 0..1.
    mean_pd : float
        0..1.
    auc : Interval or None
        By DeLong; None if either outcome has fewer than ``FEWEST_PER_OUTCOME`` loans.
    """

    name: str
    loans: int
    bads: int
    share: float
    bad_rate: Interval
    mean_pd: float
    auc: Interval | None


@dataclass(frozen=True)
class GainsRow:
    """A tenth of the loans, the worst scores first.

    Parameters
    ----------
    lowest_score, highest_score : int
    loans, bads : int
    mean_pd : float
        0..1.
    bads_caught, goods_lost : float
        Share of all bads and of all goods down to this row, 0..1; their difference is KS here.
    lift : float
        Bad rate down to this row over that of all loans.
    """

    lowest_score: int
    highest_score: int
    loans: int
    bads: int
    mean_pd: float
    bads_caught: float
    goods_lost: float
    lift: float

    @property
    def bad_rate(self) -> float:
        """Share that defaulted, 0..1."""
        return self.bads / self.loans

    @property
    def ks(self) -> float:
        """Excess of the bads caught over the goods lost."""
        return self.bads_caught - self.goods_lost


@dataclass(frozen=True)
class Confusion:
    """What a cutoff does to loans whose outcome is known: counts."""

    approved_good: int
    approved_bad: int
    declined_good: int
    declined_bad: int

    @property
    def approved(self) -> int:
        """Loans approved."""
        return self.approved_good + self.approved_bad

    @property
    def declined(self) -> int:
        """Loans not approved, those for review among them."""
        return self.declined_good + self.declined_bad

    @property
    def approval_rate(self) -> float:
        """Share approved, 0..1."""
        return self.approved / (self.approved + self.declined)

    @property
    def bad_rate_approved(self) -> float | None:
        """Bad rate of those approved, 0..1; None if nobody was."""
        return self.approved_bad / self.approved if self.approved else None

    @property
    def bad_rate_declined(self) -> float | None:
        """Bad rate of those declined, 0..1; None if nobody was."""
        return self.declined_bad / self.declined if self.declined else None


def row(name: str, loans: ScoredLoans, of: int) -> Row:
    """Return one row on loans, of which there is at least one, out of ``of``."""
    bads = int(loans.defaulted.sum())
    enough = min(bads, len(loans) - bads) >= FEWEST_PER_OUTCOME
    return Row(
        name=name,
        loans=len(loans),
        bads=bads,
        share=len(loans) / of,
        bad_rate=share_interval(bads, len(loans)),
        mean_pd=float(loans.pd.mean()),
        auc=auc_interval(loans.defaulted, loans.pd) if enough else None,
    )


def by_vintage(loans: ScoredLoans) -> list[Row]:
    """Return a row for each month of decision, or each quarter if there are more than a year of them; in UTC."""
    months = loans.decided.astype("M8[M]").astype(np.int64)
    if int(months.max() - months.min()) < _MONTHS_SHOWN - 1:
        return _rows(loans, months, lambda month: f"{1970 + month // 12}-{month % 12 + 1:02}")
    return _rows(loans, months // 3, lambda quarter: f"{1970 + quarter // 4} Q{quarter % 4 + 1}")


def by_band(loans: ScoredLoans, highest: int | None = None) -> list[Row]:
    """Return a row for each band of ``BAND_POINTS`` points of the credit score that holds any loan, the worst first.

    Parameters
    ----------
    highest : int or None
        Where scores end, so that no band is said to reach beyond.
    """

    def name(band: int) -> str:
        first, last = band * BAND_POINTS, (band + 1) * BAND_POINTS - 1
        last = last if highest is None else min(last, highest)
        return f"{first} to {last}" if last > first else str(first)

    return _rows(loans, loans.score // BAND_POINTS, name)


def by_segment(loans: ScoredLoans, segments: NDArray[np.object_]) -> list[Row]:
    """Return a row for each segment, the largest first.

    Segments of fewer than ``FEWEST_PER_SEGMENT`` loans are told together, so that no row is about a person or two.
    """
    names = np.array(["missing" if one is None else str(one) for one in segments])
    found, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
    large = np.flatnonzero(counts >= FEWEST_PER_SEGMENT)
    rows = [row(str(found[code]), loans.where(codes == code), len(loans)) for code in large]
    rows.sort(key=lambda one: (-one.loans, one.name))
    rest = counts[codes] < FEWEST_PER_SEGMENT
    if rest.any():
        name = f"{len(found) - len(large)} with fewer than {FEWEST_PER_SEGMENT} loans each"
        rows.append(row(name, loans.where(rest), len(loans)))
    return rows


def gains(loans: ScoredLoans) -> list[GainsRow]:
    """Return tenths of the loans by falling PD; fewer if there are fewer loans.

    A tie across two tenths is cut where it falls, so that each holds as many loans as it says.
    """
    order = np.argsort(-loans.pd, kind="stable")
    all_bads, seen, caught = int(loans.defaulted.sum()), 0, 0
    all_goods = len(loans) - all_bads
    found = []
    for part in np.array_split(order, min(DECILES, len(order))):
        bads = int(loans.defaulted[part].sum())
        seen, caught = seen + len(part), caught + bads
        found.append(
            GainsRow(
                lowest_score=int(loans.score[part].min()),
                highest_score=int(loans.score[part].max()),
                loans=len(part),
                bads=bads,
                mean_pd=float(loans.pd[part].mean()),
                bads_caught=caught / all_bads,
                goods_lost=(seen - caught) / all_goods,
                lift=(caught / seen) / (all_bads / len(loans)),
            )
        )
    return found


def confusion(loans: ScoredLoans, cutoff: float) -> Confusion:
    """Return what approving up to a PD does."""
    approved = loans.pd <= cutoff
    return Confusion(
        approved_good=int((approved & ~loans.defaulted).sum()),
        approved_bad=int((approved & loans.defaulted).sum()),
        declined_good=int((~approved & ~loans.defaulted).sum()),
        declined_bad=int((~approved & loans.defaulted).sum()),
    )


def _rows(loans: ScoredLoans, keys: NDArray[np.int64], name: Callable[[int], str]) -> list[Row]:
    return [row(name(int(key)), loans.where(keys == key), len(loans)) for key in np.unique(keys)]
