"""Read applicants from Redis as Feast stored them, without Feast."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from feature_repo.contract import Kind
from feature_repo.errors import UnavailableError
from feature_repo.stores.address import parse_address
from feature_repo.stores.columns import decode_column
from feature_repo.stores.connection import DEADLINE, RedisConnection, Row
from feature_repo.stores.plan import OnlinePlan, ViewPlan
from feature_repo.stores.stored import CLOCK_SKEW, Scalar, StoredFeatures, StoredView
from feature_repo.stores.wire import DOUBLE, decode_repeated, decode_timestamp, unpack_double


class PlanDecoder:
    """What to ask Redis for by a plan, and what its answer says.

    Parameters
    ----------
    plan : OnlinePlan
        Where the values are.
    address : str
        What to call the server in an error.
    """

    def __init__(self, plan: OnlinePlan, address: str) -> None:
        self._plan = plan
        self._address = address
        self.fields: list[bytes] = []
        self._slots = [[(slot.name, slot.kind) for slot in view.slots] for view in plan.views]
        for view in plan.views:
            self.fields += [view.timestamp_field.encode(), *(bytes.fromhex(slot.hash) for slot in view.slots)]

    def question(self, applicant_id: str) -> tuple[bytes, list[bytes]]:
        """Return the key of an applicant and the fields of its hash."""
        return self._plan.key(applicant_id), self.fields

    def decode(self, applicant_id: str, row: Row, now: datetime) -> StoredFeatures:
        """Return what the fields of one hash say.

        Raises
        ------
        UnavailableError
            If they hold bytes that are not Feast's.
        """
        views = {}
        start = 0
        for view, slots in zip(self._plan.views, self._slots, strict=True):
            end = start + 1 + len(slots)
            views[view.name] = self._view(view, slots, row[start:end], now)
            start = end
        return StoredFeatures(applicant_id, views)

    def decode_many(self, applicant_ids: Sequence[str], rows: Sequence[Row], now: datetime) -> list[StoredFeatures]:
        """Return what the fields of n hashes say, decoded a field at a time; errors as for `decode`."""
        columns = list(zip(*rows, strict=True))
        views: list[list[StoredView]] = []
        times: dict[bytes, datetime] = {}  # applicants and views often share them
        start = 0
        try:
            for view in self._plan.views:
                end = start + 1 + len(view.slots)
                views.append(_view_column(view, columns[start:end], times, now))
                start = end
        except ValueError:  # one at a time, so that the error can name what is wrong
            return [self.decode(name, row, now) for name, row in zip(applicant_ids, rows, strict=True)]
        names = [view.name for view in self._plan.views]
        found = zip(applicant_ids, zip(*views, strict=True), strict=True)
        return [StoredFeatures(name, dict(zip(names, row, strict=True))) for name, row in found]

    def _view(self, view: ViewPlan, slots: Sequence[tuple[str, Kind]], row: Row, now: datetime) -> StoredView:
        stamp = row[0]
        if stamp is None:
            return _MISSING
        name = view.timestamp_field
        values: dict[str, Scalar | None] = {}
        try:
            event = decode_timestamp(stamp)
            for (name, kind), raw in zip(slots, row[1:], strict=True):
                if not raw:
                    values[name] = None
                elif kind == "number" and len(raw) == 9 and raw[0] == DOUBLE:  # by far the most
                    (number,) = unpack_double(raw)
                    values[name] = number if number - number == 0 else None  # neither infinite nor NaN
                else:
                    values[name] = decode_repeated(raw, kind)
        except ValueError as error:
            raise UnavailableError(
                f"online store: Redis at {self._address} holds no Feast value in {view.name}:{name} ({error}); "
                "materialize again"
            ) from None
        return aged(view, event, values, now)


_MISSING = StoredView("MISSING", None, None, {})


def aged(view: ViewPlan, event: datetime, values: dict[str, Scalar | None], now: datetime) -> StoredView:
    """Return the row of a view as it is seen at an instant: stale beyond the view's time to live."""
    age = (now - event).total_seconds()
    if age < -CLOCK_SKEW:  # what is not true yet, by the clock in force, is not known
        return _MISSING
    return StoredView("STALE" if 0 < view.ttl_seconds < age else "PRESENT", event, int(age // 1), values)


def _view_column(
    view: ViewPlan, columns: Sequence[Sequence[bytes | None]], times: dict[bytes, datetime], now: datetime
) -> list[StoredView]:
    """Return what the fields of one view say of each applicant."""
    stamps, *raw = columns
    names = [slot.name for slot in view.slots]
    values = [decode_column(column, slot.kind) for slot, column in zip(view.slots, raw, strict=True)]
    rows = zip(*values, strict=True) if values else [()] * len(stamps)
    found = []
    for stamp, row in zip(stamps, rows, strict=True):
        if stamp is None:
            found.append(_MISSING)
            continue
        event = times.get(stamp)
        if event is None:
            event = times[stamp] = decode_timestamp(stamp)
        found.append(aged(view, event, dict(zip(names, row, strict=True)), now))
    return found


class OnlineReader:
    """Read applicants by the plan of a model bundle.

    Parameters
    ----------
    plan : OnlinePlan
        Where the values are.
    connection_string : str
        Address in Feast's form.
    timeout : float
        Seconds from asking to having the answer, connecting included; more than 0.2 is cut to it.

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
        self._decoder = PlanDecoder(plan, str(self._redis.address))

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
        row = await self._redis.fetch(*self._decoder.question(applicant_id))
        return self._decoder.decode(applicant_id, row, now)

    async def read_many(self, applicant_ids: Sequence[str], now: datetime) -> list[StoredFeatures]:
        """Read n applicants with one round trip, in the order given; errors as for `read`."""
        if not applicant_ids:
            return []
        rows = await self._redis.fetch_many([self._decoder.question(name) for name in applicant_ids])
        answers: list[Row] = []
        for row in rows:
            if isinstance(row, Exception):
                raise row
            answers.append(row)
        return self._decoder.decode_many(applicant_ids, answers, now)

    async def ping(self) -> None:
        """Return if Redis answers.

        Raises
        ------
        UnavailableError
            If it does not.
        """
        await self._redis.ping()

    @property
    def is_given_up(self) -> bool:
        """Whether Redis has failed so often that it is only probed."""
        return self._redis.breaker.is_open

    async def close(self) -> None:
        """Close the connections, those of readers made by `with_plan` too."""
        await self._redis.close()
