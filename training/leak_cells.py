"""Values of one feature as small cells, and what loans of a cell tell of each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.scored import Bools, Floats

Cells = NDArray[np.intp]
MISSING = "missing"
PULL = 5


def cells_of_numbers(numbers: Floats, bins: int) -> tuple[Cells, list[str]]:
    """Return each number's cell and all cells' names.

    Cells are quantiles, or values if there are no more than `bins`; cell 0 is missing.
    """
    given = numbers[~np.isnan(numbers)]
    if not len(given):
        return np.zeros(len(numbers), np.intp), [MISSING]
    starts = np.unique(given)
    exact = len(starts) <= bins
    if not exact:
        starts = np.unique(np.quantile(given, np.arange(bins) / bins, method="higher"))
    cells = np.searchsorted(starts, numbers, side="right")
    cells[np.isnan(numbers)] = 0
    if exact:
        return cells, [MISSING, *(f"= {start:g}" for start in starts)]
    ends = [*(f" to below {end:g}" for end in starts[1:]), " up"]
    return cells, [MISSING, *(f"from {start:g}{end}" for start, end in zip(starts, ends, strict=True))]


def cells_of_categories(raw: NDArray[np.object_]) -> tuple[Cells, list[str]]:
    """Return each value's cell and all cells' names; cell 0 is missing."""
    places: dict[str, int] = {}
    cells = [places.setdefault(value, len(places) + 1) if isinstance(value, str) else 0 for value in raw]
    return np.array(cells, np.intp), [MISSING, *(f"= {name}" for name in places)]


def rates_of_others(cells: Cells, defaulted: Bools, fold: NDArray[np.int8]) -> Floats:
    """Return the default rate of each loan's cell in the other folds, less the rate of all loans there.

    Rates are pulled to the average by ``PULL`` loans, so that a cell with few says little.

    Parameters
    ----------
    cells : ndarray of int, shape (n,)
    defaulted : ndarray of bool, shape (n,)
    fold : ndarray of int8, shape (n,)
    """
    width, folds = int(cells.max()) + 1, int(fold.max()) + 1
    places = fold.astype(np.intp) * width + cells
    loans = np.bincount(places, minlength=folds * width).reshape(folds, width)
    bads = np.bincount(places, weights=defaulted, minlength=folds * width).reshape(folds, width)
    loans, bads = loans.sum(axis=0) - loans, bads.sum(axis=0) - bads
    average = (bads.sum(axis=1) / loans.sum(axis=1))[:, None]
    return np.asarray(((bads + PULL * average) / (loans + PULL) - average).ravel()[places])


def dealt_folds(random: np.random.Generator, defaulted: Bools, count: int) -> NDArray[np.int8]:
    """Deal bads and goods out to folds in random order, so that each fold has its share of both."""
    fold = np.empty(len(defaulted), np.int8)
    for side in (np.flatnonzero(defaulted), np.flatnonzero(~defaulted)):
        fold[random.permutation(side)] = np.arange(len(side)) % count
    return fold
