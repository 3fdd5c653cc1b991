"""Token buckets: how many requests a second one caller may make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

_CALLERS = 10_000


class Buckets:
    """One bucket for each caller, of those seen last; one that was forgotten starts full again.

    Each holds one second's worth of requests, at least one.

    Parameters
    ----------
    callers : int
        How many are remembered at most.
    """

    def __init__(self, callers: int = _CALLERS) -> None:
        self._callers = callers
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, caller: Hashable, rate: float, now: float) -> float:
        """Take one request out of the caller's bucket.

        Parameters
        ----------
        rate : float
            Requests a second, above 0.
        now : float
            Seconds on a clock that does not go back.

        Returns
        -------
        float
            0 if there was one, else the seconds until there is.
        """
        size = max(rate, 1.0)
        found = self._buckets.pop(caller, None)
        tokens = size if found is None else min(size, found[0] + (now - found[1]) * rate)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._callers:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / rate
