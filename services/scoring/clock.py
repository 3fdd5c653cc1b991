"""The clock that a home's decisions measure freshness from."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from feature_repo.errors import CandorError, UnavailableError
from feature_repo.home import Home

_READ_EVERY = 1.0


class HomeClock:
    """The home's clock, its file being read at most once a second."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._fixed: datetime | None = None
        self._reads_at = 0.0

    def now(self) -> datetime:
        """Return the instant from which freshness is measured, UTC.

        Raises
        ------
        UnavailableError
            If the home's state is damaged, or its online store is being filled.
        """
        if time.monotonic() >= self._reads_at:
            try:
                state = self._home.state()
            except (CandorError, OSError) as error:
                raise UnavailableError(str(error)) from None
            if state.refilling:
                raise UnavailableError("the online store is being filled: wait, or run `candor materialize` again")
            self._fixed = self._home.as_of_override or state.as_of
            self._reads_at = time.monotonic() + _READ_EVERY
        return self._fixed or datetime.now(UTC)
