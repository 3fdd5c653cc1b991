"""Read applicants from Redis as Feast stored them, without Feast."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from feature_repo.errors import UnavailableError
from feature_repo.stores.address import parse_address
from feature_repo.stores.connection import DEADLINE, RedisConnection, Row
from feature_repo.stores.plan import OnlinePlan, ViewPlan
from feature_repo.stores.stored import Scalar, StoredFeatures, StoredView
from feature_repo.stores.wire import decode_timestamp, decode_value


class OnlineReader:
    """Read applicants by the plan of a model bundle.

    Parameters
    ----------
    plan : OnlinePlan
        Where the values are.
    connection_string : str
        Address in Feast's form.
    timeout : float
        Seconds from asking to having the answer, connecting included; more than 0.25 is cut to it.

    Raises
    ------
    InputError
        If the connection string is not one.
    """

    def __init__(self, plan: OnlinePlan, connection_string: str, timeout: float = DEADLINE) -> None:
        self._redis = RedisConnection(parse_address(connection_string), timeout)
        self._use(plan)

    def with_plan(self, plan: OnlinePlan) -> OnlineReader:
        """Return a reader by another plan over the same connections."""
        twin = object.__new__(OnlineReader)
        twin._redis = self._redis
        twin._use(plan)
        return twin

    def _use(self, plan: OnlinePlan) -> None:
        self._plan = plan
        self._fields: list[bytes] = []
        for view in plan.views:
            self._fields += [view.timestamp_field.encode(), *(bytes.fromhex(slot.hash) for slot in view.slots)]

    async def read(self, applicant_id: str, now: datetime) -> StoredFeatures:
        """Read one applicant; one that the store does not know is all MISSING.

        Parameters
        ----------
        now : datetime
            Instant from which age is measured, with a zone.

        Raises
        ------
        UnavailableError
            If Redis does not answer in time, or holds bytes that are not Feast's.
        """
        row = await self._redis.fetch(self._plan.key(applicant_id), self._fields)
        return self._decode(applicant_id, row, now)

    async def read_many(self, applicant_ids: Sequence[str], now: datetime) -> list[StoredFeatures]:
        """Read n applicants with one round trip, in the order given; errors as for `read`."""
        if not applicant_ids:
            return []
        rows = await self._redis.fetch_many([(self._plan.key(name), self._fields) for name in applicant_ids])
        found = []
        for name, row in zip(applicant_ids, rows, strict=True):
            if isinstance(row, Exception):
                raise row
            found.append(self._decode(name, row, now))
        return found

    async def ping(self) -> None:
        """Return if Redis answers.

        Raises
        ------
        UnavailableError
            If it does not.
        """
        await self._redis.ping()

    async def close(self) -> None:
        """Close the connections, those of readers made by `with_plan` too."""
        await self._redis.close()

    def _decode(self, applicant_id: str, row: Row, now: datetime) -> StoredFeatures:
        views = {}
        start = 0
        for view in self._plan.views:
            end = start + 1 + len(view.slots)
            views[view.name] = self._view(view, row[start:end], now)
            start = end
        return StoredFeatures(applicant_id, views)

    def _view(self, view: ViewPlan, row: Row, now: datetime) -> StoredView:
        stamp = row[0]
        if stamp is None:
            return StoredView("MISSING", None, None, {})
        name = view.timestamp_field
        values: dict[str, Scalar | None] = {}
        try:
            event = decode_timestamp(stamp)
            for slot, raw in zip(view.slots, row[1:], strict=True):
                name = slot.name
                values[name] = None if raw is None else decode_value(raw, slot.kind)
        except ValueError as error:
            raise UnavailableError(
                f"online store: Redis at {self._redis.address} holds no Feast value in {view.name}:{name} ({error}); "
                "materialize again"
            ) from None
        age = (now - event).total_seconds()
        stale = 0 < view.ttl_seconds < age
        return StoredView("STALE" if stale else "PRESENT", event, int(age // 1), values)
