"""A circuit breaker: who has failed several times in a row is left in peace for a moment, and then asked once."""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 3
PAUSE = 0.5


class Breaker:
    """Tell whether a server may be asked.

    It opens after so many failures in a row. While it is open nobody asks, but after each pause one
    caller does, as a probe; the first success closes it again.

    Parameters
    ----------
    failures : int
        In a row, at least 1.
    pause : float
        Seconds.
    clock : callable
        Returns seconds, and does not go back.
    """

    def __init__(
        self, failures: int = FAILURES, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._probes_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has failed too often."""
        return self._failures >= self._most

    def allows(self) -> bool:
        """Return whether this caller may ask; if it is open, this is the probe."""
        if self._failures < self._most:
            return True
        now = self._clock()
        if now < self._probes_at:
            return False
        self._probes_at = now + self._pause
        return True

    def succeeded(self) -> None:
        """Close it."""
        self._failures = 0

    def failed(self) -> None:
        """Count a failure; the pause begins now."""
        self._failures += 1
        self._probes_at = self._clock() + self._pause
