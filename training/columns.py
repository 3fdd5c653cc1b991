"""Features to model columns: numbers as they are, flags as 0/1, categories one-hot; missing is NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

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


class Layout:
    """Where each feature goes in the model matrix.

    Parameters
    ----------
    columns : sequence of Column
        The k columns of the model.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._width = len(columns)
        self._numbers = [column.feature for column in columns if not column.category]
        self._number_columns = np.array([i for i, column in enumerate(columns) if not column.category], np.intp)
        self._categories: dict[str, dict[str, int]] = {}
        for index, column in enumerate(columns):
            if column.category:
                self._categories.setdefault(column.feature, {})[column.category] = index

    def encode(self, values: Mapping[str, Values]) -> Matrix:
        """Encode n applicants as the model sees them; one applicant is a batch of one.

        Parameters
        ----------
        values : mapping of str to sequence
            Feature name to its n values; None and NaN are missing, and so is an absent feature.

        Returns
        -------
        ndarray of float32, shape (n, k)
            NaN where a value is missing, in every column of a missing category.
        """
        n = len(next(iter(values.values()))) if values else 0
        matrix = np.full((n, self._width), np.nan, dtype=np.float32)
        absent = [None] * n
        numbers = [values.get(feature, absent) for feature in self._numbers]
        cells = np.array([raw if isinstance(raw, list) else _numbers(raw) for raw in numbers], dtype=np.float64)
        np.maximum(cells, -_LARGEST, out=cells)
        np.minimum(cells, _LARGEST, out=cells)
        matrix[:, self._number_columns] = cells.reshape(len(numbers), n).T
        for feature, places in self._categories.items():
            columns = list(places.values())
            for row, value in enumerate(values.get(feature, absent)):
                if isinstance(value, str):
                    matrix[row, columns] = 0.0
                    if value in places:
                        matrix[row, places[value]] = 1.0
        return matrix


def encode(columns: Sequence[Column], values: Mapping[str, Values]) -> Matrix:
    """Encode n applicants for a model of these columns; see `Layout.encode`."""
    return Layout(columns).encode(values)


def encode_table(columns: Sequence[Column], table: pa.Table) -> Matrix:
    """Encode an Arrow table as `encode` does its values, column by column and without a Python object a value.

    Parameters
    ----------
    columns : sequence of Column
        The k columns of the model.
    table : pyarrow.Table of n rows
        Every feature of the columns by name; null and NaN are missing.

    Returns
    -------
    ndarray of float32, shape (n, k)
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    matrix = np.empty((table.num_rows, len(columns)), dtype=np.float32)
    for index, column in enumerate(columns):
        cells = table[column.feature]
        if column.category:
            cells = pc.equal(cells, column.category)
        if pa.types.is_boolean(cells.type):
            cells = cells.cast(pa.uint8())  # Arrow has no cast of truth values to doubles
        numbers = cells.cast(pa.float64()).to_numpy()  # nulls become NaN
        matrix[:, index] = np.clip(numbers, -_LARGEST, _LARGEST)
    return matrix


def _numbers(raw: Values) -> Values:
    try:
        return np.asarray(raw, dtype=np.float64)  # None becomes NaN
    except TypeError:  # pandas.NA, from a nullable integer column
        return np.array([np.nan if value is None or value != value else float(value) for value in raw])
