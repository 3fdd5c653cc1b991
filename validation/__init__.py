"""Checks between the outside world and everything that learns or decides from it.

Great Expectations reads its settings when it is imported, so its telemetry is switched off here,
before any module of this package can import it.
"""

import os

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
