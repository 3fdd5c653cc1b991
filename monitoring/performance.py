"""How decisions turned out once their labels came: discrimination, calibration, bad rates, and what was answered.

Only loans are measured of which either outcome would be known by now. A default is known as it happens, a repayment
last of all, so that of the outcomes known early most are bad, and every measure of them says so. A lender who reports
only once a loan has ended is waited for to the end of its term, and 90 days more.

Sources
-------
F. Garwood, "Fiducial limits for the Poisson distribution", *Biometrika* 28, 1936: the interval of observed over
expected counts; conservative, since a sum of Bernoulli variables of small probabilities varies a little less.
C. Clopper and E. Pearson, "The use of confidence or fiducial limits", *Biometrika* 26, 1934: that of a bad rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2

from monitoring.answer_mix import MixTally
from monitoring.logged_results import DEFAULTED, UNKNOWN, LoggedResults, Results
from monitoring.performance_report import Matured, Measures, PerformanceReport, Ratio, Vintage
from monitoring.period import Period
from monitoring.segments import BANDS, band_numbers

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Instants = NDArray[np.datetime64]
Measure = Callable[[Bools, Floats], Measures]
"""Measures of defaulted and PD; called with both outcomes among them only."""
GRACE = np.timedelta64(90, "D")
"""A loan that is 90 days past due has defaulted: so long after its last payment its outcome is known."""
LEAST_LOANS, LEAST_BADS = 200, 20
_LEVEL = 0.95


def over_at(decided: Instants, months: Floats) -> Instants:
    """Return when performance windows are over: with the last day of so many months, UTC; NaT for NaN months.

    Examples
    --------
    >>> over_at(np.array(["2024-01-31T12:00"], "datetime64[us]"), np.array([1.0])).astype(str).tolist()
    ['2024-03-01']
    """
    month = decided.astype("datetime64[M]")
    day = decided.astype("datetime64[D]") - month.astype("datetime64[D]")
    there = month + np.where(np.isnan(months), 0, months).astype("timedelta64[M]")
    last = (there + 1).astype("datetime64[D]") - there.astype("datetime64[D]") - 1
    ends: Instants = there.astype("datetime64[D]") + np.minimum(day, last) + 1
    ends[np.isnan(months)] = np.datetime64("NaT")
    return ends


def measure_log(
    log: LoggedResults,
    measure: Measure,
    period: Period,
    *,
    as_of: datetime,
    performance_months: int,
    reported_after_months: int,
    since: datetime,
    least_loans: int = LEAST_LOANS,
    least_bads: int = LEAST_BADS,
) -> PerformanceReport:
    """Measure the decisions that were made from an instant on.

    Parameters
    ----------
    measure : callable
        Of outcomes and PDs, both of shape (n,), the measures that training uses.
    period : Period
        The time that is watched; what was answered in it is told apart.
    as_of : datetime
        The home's clock, UTC: outcomes observed later do not count, nor do loans that mature later.
    performance_months : int
        Months after a decision in which a default counts, as in training; with 0 each does.
    reported_after_months : int
        Months after a decision by which both outcomes are reported, if that is before a loan has ended; 0 means only
        once it has.
    since : datetime
        Wall clock, UTC.
    least_loans, least_bads : int
        Below which discrimination is not measured.

    Raises
    ------
    UnavailableError
        If the log is not there.
    """
    moment = np.datetime64(as_of.astimezone(UTC).replace(tzinfo=None), "us")
    tally = _Tally(moment, performance_months, reported_after_months)
    mixes = MixTally(period.before, period)
    for page in log.pages(since, as_of):
        tally.add(page)
        mixes.add(page)
    loans = _Loans(tally, measure, least_loans, least_bads)
    previous, current = mixes.periods()
    return PerformanceReport(
        as_of=as_of,
        made_at=datetime.now(UTC),
        performance_months=performance_months,
        reported_after_months=reported_after_months,
        least_loans=least_loans,
        least_bads=least_bads,
        matured=loans.of("all", np.ones(len(loans), bool)),
        models=tuple(loans.of(name, loans.model == name) for name in sorted(set(loans.model.tolist()), key=_by_number)),
        bands=tuple(loans.of(name, loans.band == place, is_ranked=False) for place, name in enumerate(BANDS)),
        vintages=tuple(loans.vintage(name, counts) for name, counts in sorted(tally.vintages.items())),
        months=mixes.months(),
        current=current,
        previous=previous,
    )


def expected_auc(pd: Floats) -> float:
    """Return the AUC that loans would have on average if each defaulted with its PD: what ranking them can give at all.

    Loans that were approved have PDs close to one another, and are ranked less well than all that applied, however good
    the model is; an AUC is compared with this, and not with that of another population. Ties count half.

    Parameters
    ----------
    pd : ndarray of float64, shape (n,)
        Probabilities of default, above 0 and below 1, two at least.

    References
    ----------
    .. [1] van Klaveren, Gönen, Steyerberg and Vergouwe, "A new concordance measure for risk prediction models in
       external validation settings", Statistics in Medicine 35, 2016: the model-based concordance.

    Examples
    --------
    >>> round(expected_auc(np.array([0.1, 0.3])), 4)  # 0.3 x 0.9 / (0.3 x 0.9 + 0.1 x 0.7)
    0.7941
    """
    values, places, counts = np.unique(pd, return_inverse=True, return_counts=True)
    bads = np.bincount(places, pd, len(values))
    goods = counts - bads
    below = np.cumsum(goods) - goods
    itself = float(np.sum(pd * (1 - pd)))
    ranked = float(np.sum(bads * (below + goods / 2))) - itself / 2
    return ranked / (float(bads.sum() * goods.sum()) - itself)


def ratio(bads: int, expected: float) -> Ratio:
    """Return observed over expected defaults with Garwood's 95 % interval.

    Parameters
    ----------
    bads : int
    expected : float
        Sum of the PDs, above 0.
    """
    tail = (1 - _LEVEL) / 2
    low = chi2.ppf(tail, 2 * bads) / 2 if bads else 0.0
    high = chi2.ppf(1 - tail, 2 * (bads + 1)) / 2
    return Ratio(bads / expected, float(low / expected), float(high / expected))


@dataclass
class _Counts:
    decisions: int = 0
    approved: int = 0
    known: int = 0
    ripe: int = 0
    without_outcome: int = 0
    declined_booked: int = 0
    reviewed_booked: int = 0


class _Tally:
    """Pages of results, of which only matured loans are kept one by one."""

    def __init__(self, as_of: np.datetime64, performance_months: int, reported_after_months: int) -> None:
        self._as_of = as_of
        self._counted, self._reported = performance_months, reported_after_months
        self.vintages: dict[str, _Counts] = {}
        self.matured: list[tuple[Floats, Bools, NDArray[np.str_], NDArray[np.str_]]] = []

    def add(self, page: Results) -> None:
        """Count a page, and keep its matured loans."""
        over = self._matures(page) <= self._as_of
        known = page.outcome != UNKNOWN
        approved = page.recommendation == "APPROVED"
        vintage = page.as_of.astype("datetime64[M]").astype(str)
        for name in np.unique(vintage).tolist():
            of = vintage == name
            counts = self.vintages.setdefault(name, _Counts())
            counts.decisions += int(of.sum())
            counts.approved += int((of & approved).sum())
            counts.known += int((of & known).sum())
            counts.ripe += int((of & approved & over).sum())
            counts.without_outcome += int((of & approved & over & ~known).sum())
            counts.declined_booked += int((of & known & (page.recommendation == "DECLINED")).sum())
            counts.reviewed_booked += int((of & known & (page.recommendation == "MANUAL_REVIEW")).sum())
        rows = over & known
        defaulted = page.outcome == DEFAULTED
        if self._counted:
            defaulted &= page.observed_at <= over_at(page.as_of, np.full(len(rows), float(self._counted)))
        if rows.any():
            self.matured.append((page.pd[rows], defaulted[rows], vintage[rows], page.model_version[rows]))

    def _matures(self, page: Results) -> Instants:
        """Return when either outcome is known of each loan; NaT of declined ones, which have no terms."""
        known = over_at(page.as_of, page.term_months) + GRACE
        if self._reported:
            known = np.minimum(known, over_at(page.as_of, np.full(len(known), float(self._reported))))
        return np.maximum(known, over_at(page.as_of, np.full(len(known), float(self._counted))))


def _by_number(version: str) -> tuple[int, str]:
    return len(version), version


class _Loans:
    """Matured loans, side by side."""

    def __init__(self, tally: _Tally, measure: Measure, least_loans: int, least_bads: int) -> None:
        empty = (np.empty(0), np.empty(0, bool), np.empty(0, str), np.empty(0, str))
        pd, defaulted, vintage, model = zip(*(tally.matured or [empty]), strict=True)
        self._pd, self._defaulted = np.concatenate(pd), np.concatenate(defaulted)
        self._vintage, self.model = np.concatenate(vintage), np.concatenate(model)
        self.band = band_numbers(self._pd)
        self._measure, self._least_loans, self._least_bads = measure, least_loans, least_bads

    def __len__(self) -> int:
        return len(self._pd)

    def of(self, name: str, rows: Bools, is_ranked: bool = True) -> Matured:
        """Return what some of them show; within a score band loans are too much alike to be ranked."""
        pd, defaulted = self._pd[rows], self._defaulted[rows]
        n, bads = len(pd), int(defaulted.sum())
        if not n:
            return Matured(
                name=name,
                loans=0,
                bads=0,
                bad_rate=None,
                bad_rate_low=None,
                bad_rate_high=None,
                expected_rate=None,
                ratio=None,
            )
        rate = binomtest(bads, n).proportion_ci(_LEVEL)
        enough = is_ranked and n >= self._least_loans and min(bads, n - bads) >= self._least_bads
        return Matured(
            name=name,
            loans=n,
            bads=bads,
            bad_rate=bads / n,
            bad_rate_low=float(rate.low),
            bad_rate_high=float(rate.high),
            expected_rate=float(pd.mean()),
            ratio=ratio(bads, float(pd.sum())),
            measures=self._measure(defaulted, pd) if enough else None,
        )

    def vintage(self, month: str, counts: _Counts) -> Vintage:
        """Return what the decisions of one month show."""
        return Vintage(month=month, matured=self.of(month, self._vintage == month), **vars(counts))
