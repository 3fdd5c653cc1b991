"""Whose decisions: by recommendation, by which of two models decided, by its version, and by score band.

Score bands are cut on the PD, of which the score is a falling function under every policy: a policy that moves the
points does not move the bands, and what was profiled before stays comparable.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import InputError

PD = "default_probability"
SCORE = "credit_score"
RECOMMENDATION = "recommendation"
OUTCOME = "defaulted"
OUTPUTS = (PD, SCORE, RECOMMENDATION, OUTCOME)
"""Columns of a profile that are no features."""

EDGES = (0.05, 0.10, 0.20)
BANDS = ("PD to 5 %", "PD 5 to 10 %", "PD 10 to 20 %", "PD over 20 %")
"""Score bands, the best first; an edge belongs to the better band."""


def band_numbers(pd: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the place in `BANDS` of each PD in 0..1, in its shape.

    Examples
    --------
    >>> [BANDS[number] for number in band_numbers(np.array([0.0, 0.05, 0.051, 1.0]))]
    ['PD to 5 %', 'PD to 5 %', 'PD 5 to 10 %', 'PD over 20 %']
    """
    return np.searchsorted(EDGES, pd, side="left")


def band_limits(band: str) -> tuple[float, float]:
    """Return the PD that a band begins above, and the one that it reaches to."""
    number = BANDS.index(band)
    limits = (-1.0, *EDGES, 1.0)
    return limits[number], limits[number + 1]


def banded(column: str, band: str) -> str:
    """Return the name that a column of one score band has in a profile."""
    return f"{column} [{band}]"


def unbanded(name: str) -> tuple[str, str | None]:
    """Return the column and the score band that a name in a profile stands for, the band None for all of them."""
    for band in BANDS:
        if name.endswith(f" [{band}]"):
            return name.removesuffix(f" [{band}]"), band
    return name, None


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Some decisions; None in a field means whatever it is.

    Parameters
    ----------
    recommendation : str or None
        ``APPROVED``, ``DECLINED`` or ``MANUAL_REVIEW``.
    arm : str or None
        ``champion`` or ``challenger``: which model decided. The log knows no other channels.
    model_version : str or None
    band : str or None
        One of `BANDS`.
    """

    recommendation: str | None = None
    arm: str | None = None
    model_version: str | None = None
    band: str | None = None

    def holds(self, other: Segment) -> bool:
        """Return whether every decision of another segment is one of this."""
        return all(
            mine is None or mine == theirs
            for mine, theirs in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        )

    @classmethod
    def parse(cls, words: list[str]) -> Segment:
        """Return the segment that is written as ``name=value``, one word a field.

        Raises
        ------
        InputError
            If there is no such field or band.

        Examples
        --------
        >>> Segment.parse(["arm=champion", "model_version=3"])
        Segment(arm='champion', model_version='3')
        """
        try:
            segment = msgspec.convert(dict(word.split("=", 1) for word in words), cls)
        except (ValueError, msgspec.ValidationError):
            known = ", ".join(cls.__struct_fields__)
            raise InputError(f"segment {' '.join(words)!r}: write NAME=VALUE, NAME being one of {known}") from None
        if segment.band not in (None, *BANDS):
            raise InputError(f"segment band={segment.band}: there are {', '.join(BANDS)}")
        return segment
