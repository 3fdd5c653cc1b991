"""Leaks that show in one feature, or in one feature for the amount lent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from feature_repo.contract import FeatureSpec
from training.leak import Leak, Limits
from training.leak_cells import Cells, cells_of_categories, cells_of_numbers, dealt_folds, rates_of_others
from training.scored import Bools
from training.uncertainty import auc_interval

AMOUNT, TERM = "purchase_amount", "term_months"
LOANS_PER_BIN = 20


class Alone:
    """The tests ``alone``, ``for the amount`` and ``region``, on n loans.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        The k features.
    values : mapping of str to ndarray of object, shape (n,)
    defaulted : ndarray of bool, shape (n,)
    random : Generator
        Draws the folds.
    limits : Limits
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        values: Mapping[str, NDArray[np.object_]],
        defaulted: Bools,
        random: np.random.Generator,
        limits: Limits,
    ) -> None:
        self.auc: dict[str, float] = {}
        self._defaulted, self._limits, self._values = defaulted, limits, values
        self._bins = max(2, min(limits.bins, len(defaulted) // LOANS_PER_BIN))
        self._fold = dealt_folds(random, defaulted, limits.folds)
        self._numbers = {
            spec.name: np.asarray(values[spec.name], np.float64) for spec in specs if spec.kind != "category"
        }
        self._term = np.zeros(len(defaulted), np.intp)
        if TERM in self._numbers:
            self._term, _ = cells_of_numbers(self._numbers[TERM], self._bins)
        self._error = limits.error / max(2 * len(specs), 1)

    def leaks(self, spec: FeatureSpec) -> Iterator[Leak]:
        """Yield each test that a feature fails; afterwards `auc` holds what it says alone."""
        name = spec.name
        if spec.kind == "category":
            cells, names = cells_of_categories(self._values[name])
        else:
            cells, names = cells_of_numbers(self._numbers[name], self._bins)
        self.auc[name], leaks = self._discrimination(name, "alone", "it alone", cells)
        yield from leaks
        yield from self._regions(name, name, cells, names)
        if spec.kind != "category" and name != AMOUNT and AMOUNT in self._numbers:
            with np.errstate(divide="ignore", invalid="ignore"):
                share = self._numbers[name] / self._numbers[AMOUNT]
            cells, names = cells_of_numbers(np.where(np.isfinite(share), share, np.nan), self._bins)
            by_term = cells * (int(self._term.max()) + 1) + self._term
            yield from self._discrimination(name, "for the amount", "its share of the amount", by_term)[1]
            yield from self._regions(name, f"{name} / {AMOUNT}", cells, names)

    def _discrimination(self, feature: str, test: str, what: str, cells: Cells) -> tuple[float, list[Leak]]:
        rates = rates_of_others(cells, self._defaulted, self._fold)
        found = auc_interval(self._defaulted, rates, 1 - 2 * self._error)
        if found.low < self._limits.auc:
            return found.estimate, []
        why = f"{what} tells bad loans from good with an AUC of {found.estimate:.3f}, at least {found.low:.3f}"
        return found.estimate, [Leak(feature, test, found.estimate, found.low, self._limits.auc, why)]

    def _regions(self, feature: str, what: str, cells: Cells, names: Sequence[str]) -> Iterator[Leak]:
        """Test each cell, and all that is not missing, by exact bounds of its default rate."""
        loans = np.bincount(cells, minlength=len(names))
        bads = np.bincount(cells, weights=self._defaulted, minlength=len(names))
        loans, bads = np.append(loans, loans[1:].sum()), np.append(bads, bads[1:].sum())
        places = [*names, "given"]
        average, error = float(self._defaulted.mean()), self._error / (2 * len(places))
        low = np.nan_to_num(beta.ppf(error, bads, loans - bads + 1), nan=0.0)
        high = np.nan_to_num(beta.ppf(1 - error, bads + 1, loans - bads), nan=1.0)
        worst, best = int(np.argmax(low)), int(np.argmin(high))
        found = []
        most = average + self._limits.bad_rate * (1 - average)
        least = self._limits.good_rate * average
        if low[worst] >= most:
            found.append((worst, low[worst], most))
        if high[best] <= least:
            found.append((best, high[best], least))
        for place, bound, limit in found:
            why = (
                f"{bads[place]:.0f} of {loans[place]} loans with {what} {places[place]} defaulted, {average:.1%} of all"
            )
            yield Leak(feature, "region", float(bads[place] / loans[place]), float(bound), limit, why)
