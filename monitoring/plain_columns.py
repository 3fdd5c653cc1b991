"""Columns in the two plain forms that profiles are made of: doubles, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.errors import InputError

Plain: TypeAlias = NDArray[Any]
"""Doubles with NaN, or texts in an array of objects with None, where there is no value."""


def plain_series(series: pd.Series[Any]) -> Plain:
    """Return a column of a frame in plain form.

    Numbers of any type become doubles; booleans, texts and categories texts (booleans ``"true"`` and
    ``"false"``), so that what is made of them depends on the values alone. Infinities count as missing.

    Parameters
    ----------
    series : pandas.Series of length n_rows

    Returns
    -------
    numpy.ndarray of shape (n_rows,)

    Raises
    ------
    InputError
        If it holds neither numbers nor booleans nor texts.
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind in ("floating", "integer", "mixed-integer-float", "decimal"):
        numeric = series.astype("Float64") if series.dtype == np.object_ else series
        numbers = numeric.to_numpy(np.float64, na_value=np.nan)
        return np.where(np.isinf(numbers), np.nan, numbers)
    if kind == "boolean":
        series = series.astype(object).map({True: "true", False: "false"}, na_action="ignore")
    elif kind not in ("string", "empty"):
        raise InputError(f"column {series.name!r} holds {kind} values: a profile takes numbers, booleans and texts")
    texts = np.array(series.astype(object))
    texts[np.array(series.isna())] = None
    return texts


def plain_values(values: Sequence[float | str | bool | None]) -> Plain:
    """Return values that came out of JSON, numbers as floats, in plain form; of several kinds, all as texts.

    Parameters
    ----------
    values : sequence of float, str, bool or None, of length n_rows

    Returns
    -------
    numpy.ndarray of shape (n_rows,)
    """
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {float}:
        return np.array(values, np.float64)
    texts = np.empty(len(values), object)
    texts[:] = values if kinds <= {str} else [_text(value) for value in values]
    return texts


def present(column: Plain) -> Plain:
    """Return the values that are there."""
    there = ~np.isnan(column) if column.dtype == np.float64 else [value is not None for value in column]
    values: Plain = column[np.asarray(there, bool)]
    return values


def _text(value: float | str | bool | None) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
