"""Feast's stored values of one feature, decoded for many applicants at once."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from feature_repo.contract import Kind
from feature_repo.stores.stored import Scalar
from feature_repo.stores.wire import decode_repeated

_DOUBLE = b"\x29"
_SIZE = 9


def decode_column(column: Sequence[bytes | None], kind: Kind) -> Sequence[Scalar | None]:
    """Decode one `Value` of each applicant, as `decode_value` does; what is not there is null.

    Raises
    ------
    ValueError
        If some bytes are no such value, or not of that kind.

    Examples
    --------
    >>> decode_column([bytes.fromhex("29000000000000f83f"), None, b""], "number")
    [1.5, None, None]
    """
    if kind == "number":
        present = [raw for raw in column if raw]
        joined = b"".join(present)
        if set(map(len, present)) <= {_SIZE} and joined[::_SIZE] == _DOUBLE * len(present):
            numbers = struct.unpack("<" + "xd" * len(present), joined)
            if len(present) == len(column) and all(map(math.isfinite, numbers)):
                return numbers
            rest = iter(numbers)
            every = [next(rest) if raw else None for raw in column]
            return [number if number is not None and math.isfinite(number) else None for number in every]
    return [None if raw is None else decode_repeated(raw, kind) for raw in column]
