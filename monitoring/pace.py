"""Leave the processors to whoever answers requests.

The nicest of processes still takes from the others what they share below the scheduler, caches and the two threads of a
core. So a long reading works a third of the time only, while the machine is busy.
"""

from __future__ import annotations

import os
import time

_REST = 2.0
_BUSY = 0.75
"""Tasks that run or wait to, over processors, on average of the last minute, from which a machine is busy."""


def rest(worked: float) -> None:
    """Wait for twice as long as was worked, if the machine is busy with more than this process.

    Parameters
    ----------
    worked : float
        Seconds since the last rest, or since the work began.
    """
    if os.getloadavg()[0] >= max(_BUSY * (os.cpu_count() or 1), 1.5):
        time.sleep(_REST * worked)
