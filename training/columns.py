"""Features to model columns: numbers as they are, flags as 0/1, categories one-hot; missing is NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from feature_repo.contract import FeatureSpec

Matrix = NDArray[np.float32]
Values = Sequence[Any] | NDArray[Any]


class Column(msgspec.Struct, frozen=True):
    """One column of the model matrix.

    Parameters
    ----------
    name : str
        ``feature`` for a number or flag, ``feature=VALUE`` for one value of a category.
    feature : str
        The feature that a person knows; impacts of its columns are summed back to it.
    category : str
        Value that the column marks with 1, empty for numbers and flags.
    monotone : int
        Constraint on default risk: +1 increases, -1 decreases, 0 either.
    """

    name: str
    feature: str
    category: str = ""
    monotone: int = 0


_LARGEST = float(np.finfo(np.float32).max)  # beyond it, float32 is infinite, which is in no leaf's interval
_MONOTONE = {"increases": 1, "decreases": -1, "either": 0}


def columns_of(specs: Sequence[FeatureSpec]) -> tuple[Column, ...]:
    """Return the model columns of the features, in their order.

    Examples
    --------
    >>> spec = FeatureSpec(name="home", view="profile", kind="category", description="", unit="",
    ...                    categories=("OWN", "RENT"))
    >>> [column.name for column in columns_of([spec])]
    ['home=OWN', 'home=RENT']
    """
    columns: list[Column] = []
    for spec in specs:
        if spec.kind == "category":
            columns += [Column(f"{spec.name}={value}", spec.name, value) for value in spec.categories]
        else:
            columns.append(Column(spec.name, spec.name, "", _MONOTONE[spec.risk]))
    return tuple(columns)


def encode(columns: Sequence[Column], values: Mapping[str, Values]) -> Matrix:
    """Encode n applicants as the model sees them; one applicant is a batch of one.

    Parameters
    ----------
    columns : sequence of Column
        The k columns of the model.
    values : mapping of str to sequence
        Feature name to its n values; None and NaN are missing, and so is an absent feature.

    Returns
    -------
    ndarray of float32, shape (n, k)
        NaN where a value is missing, in every column of a missing category.
    """
    n = len(next(iter(values.values()))) if values else 0
    cells = np.empty((len(columns), n))
    for index, column in enumerate(columns):
        raw = values.get(column.feature)
        if raw is None:
            cells[index] = np.nan
        elif column.category:
            wanted = column.category
            cells[index] = [float(value == wanted) if isinstance(value, str) else np.nan for value in raw]
        else:
            cells[index] = _numbers(raw)
    np.maximum(cells, -_LARGEST, out=cells)
    np.minimum(cells, _LARGEST, out=cells)
    return cells.T.astype(np.float32, order="C")


def _numbers(raw: Values) -> Values:
    if isinstance(raw, list):
        return [np.nan if value is None else value for value in raw]
    try:
        return np.asarray(raw, dtype=np.float64)  # None becomes NaN
    except TypeError:  # pandas.NA, from a nullable integer column
        return np.array([np.nan if value is None or value != value else float(value) for value in raw])
