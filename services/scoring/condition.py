"""What the service stands on, for people and for whoever sends it requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from feature_repo.errors import CandorError, UnavailableError
from feature_repo.stores.online import OnlineReader
from monitoring.group_commit import GroupCommit
from services.scoring.champion import ChampionFollower
from services.scoring.clock import HomeClock
from services.scoring.metrics import Counts
from services.scoring.schemas import Health


class Condition:
    """Look at the model, the clock, the store and the log of a service.

    Parameters
    ----------
    store : callable
        Returns the connections to the online store.
    ping_log : callable
        Returns once the log has been read.
    """

    def __init__(
        self,
        champion: ChampionFollower,
        clock: HomeClock,
        store: Callable[[], OnlineReader],
        writer: GroupCommit,
        ping_log: Callable[[], Awaitable[None]],
    ) -> None:
        self._champion = champion
        self._clock = clock
        self._store = store
        self._writer = writer
        self._ping_log = ping_log

    async def health(self) -> Health:
        """Check the model, the clock, the store and the log."""
        checks: dict[str, str] = {}
        model = None
        try:
            model = await self._champion.current()
            checks["model"] = "ok"
        except UnavailableError as error:
            checks["model"] = str(error)
        for name, check in (("clock", self._check_clock), ("store", self._check_store), ("log", self._check_log)):
            try:
                await check()
                checks[name] = "ok"
            except CandorError as error:
                checks[name] = str(error)
        whole = all(result == "ok" for result in checks.values())
        refused = {"champion": self._champion.refused, "challenger": self._champion.refused_challenger}
        warnings = {name: reason for name, reason in refused.items() if reason}
        return Health("ok" if whole else "degraded", checks, model.name if model else None, warnings)

    def gauges(self) -> dict[str, Counts]:
        """Return what Prometheus is told of it, without asking anybody."""
        try:
            is_given_up = self._store().is_given_up
        except CandorError:  # a home without an online store has nothing to give up
            is_given_up = False
        gauges: dict[str, Counts] = {
            "log_waiting": [((), self._writer.waiting)],
            "store_breaker_open": [((), int(is_given_up))],
            "champion_refused": [((), int(bool(self._champion.refused)))],
            "challenger_refused": [((), int(bool(self._champion.refused_challenger)))],
        }
        if model := self._champion.loaded:
            gauges["model_info"] = [((model.name.name, model.name.version, model.name.bundle), 1)]
        return gauges

    async def _check_clock(self) -> None:
        self._clock.now()

    async def _check_store(self) -> None:
        await self._store().ping()

    async def _check_log(self) -> None:
        if fault := self._writer.fault:
            raise UnavailableError(str(fault))
        await self._ping_log()
