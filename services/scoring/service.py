"""The scoring service without HTTP: its collaborators, and the way of one request through them."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from feature_repo.errors import CandorError, UnavailableError
from feature_repo.home import Home
from feature_repo.stores.online import OnlineReader
from feature_repo.stores.plan import OnlinePlan
from feature_repo.stores.stored import StoredFeatures
from monitoring.decision_log import DecisionLog, DecisionRecord, LoggedFeature
from services.scoring.champion import ChampionFollower, Load, load_champion
from services.scoring.decide import Occasion, Verdict, decide
from services.scoring.errors import UnknownError
from services.scoring.inputs import Input, gather
from services.scoring.loan_request import WITHOUT_A_MODEL, LoanRequest
from services.scoring.model import ScoringModel
from services.scoring.schemas import ApplicantFeatures, Decision, Health, StoredViewAnswer, iso, maybe_iso

_LOG_DEADLINE = 5.0
_CLOCK_EVERY = 1.0
_NOTHING = OnlinePlan("", "", "", ())
T = TypeVar("T")


class ScoringService:
    """Decide on requests with the model in service. Creating one connects to nothing.

    Parameters
    ----------
    home : Home
        Where champion, Redis address, clock and decision log are.
    load : callable
        Loads the home's champion.

    Raises
    ------
    InputError
        If an address of the home is not one.
    """

    def __init__(self, home: Home, load: Load = load_champion) -> None:
        self._home = home
        self._champion = ChampionFollower(home, load)
        self._clock = HomeClock(home)
        self._log = DecisionLog(home.decision_log_url)
        self._log_thread = ThreadPoolExecutor(1, thread_name_prefix="decision-log")
        self._connected: OnlineReader | None = None
        self._planned: tuple[ScoringModel, OnlineReader] | None = None
        if home.redis:
            self._store()

    async def decide(self, body: bytes) -> Decision:
        """Read a request, decide and log; the answer is durable when this returns.

        Raises
        ------
        FieldProblem
            If the request is wrong.
        UnknownError
            If the store does not know the applicant and the request brings no features.
        UnavailableError
            If model, store or log is not there.
        """
        model = await self._champion.current()
        request = model.requests.read(body)
        as_of = self._clock.now()
        stored = await self._reader(model).read(request.applicant_id, as_of)
        if not stored.is_known and not request.brings_features:
            raise UnknownError(
                f"applicant {request.applicant_id!r} is not known to the feature store: materialize, or give features "
                "in the request"
            )
        inputs = gather(request, stored, model.contract)
        occasion = Occasion(new_decision_id(), datetime.now(UTC), as_of)
        verdict = decide(request, stored, inputs, model, occasion)
        await self._in_log_thread(lambda: self._log.append(to_record(request, stored, inputs, verdict, occasion)))
        return verdict.decision

    async def applicant(self, applicant_id: str) -> ApplicantFeatures:
        """Return what the store knows of an applicant; errors as for `decide`."""
        model = await self._champion.current()
        as_of = self._clock.now()
        stored = await self._reader(model).read(applicant_id, as_of)
        if not stored.is_known:
            raise UnknownError(f"applicant {applicant_id!r} is not known to the feature store")
        views = {
            name: StoredViewAnswer(view.status, maybe_iso(view.event_timestamp), view.age_seconds, view.values)
            for name, view in stored.views.items()
        }
        return ApplicantFeatures(applicant_id, iso(as_of), views)

    async def decision(self, decision_id: str) -> DecisionRecord:
        """Return a logged decision.

        Raises
        ------
        UnknownError
            If the log does not hold it.
        UnavailableError
            If the log is not there.
        """
        record = await self._in_log_thread(lambda: self._log.get(decision_id))
        if record is None:
            raise UnknownError(f"decision {decision_id!r} is not in the log")
        return record

    async def health(self) -> Health:
        """Check the model, the store and the log."""
        checks: dict[str, str] = {}
        model = None
        try:
            model = await self._champion.current()
            checks["model"] = "ok"
        except UnavailableError as error:
            checks["model"] = str(error)
        for name, check in (("clock", self._check_clock), ("store", self._ping_store), ("log", self._ping_log)):
            try:
                await check()
                checks[name] = "ok"
            except CandorError as error:
                checks[name] = str(error)
        whole = all(result == "ok" for result in checks.values())
        return Health("ok" if whole else "degraded", checks, model.name if model else None)

    def body_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a request body, as far as the model in service tells it."""
        model = self._champion.loaded
        return model.requests.json_schema() if model else WITHOUT_A_MODEL

    async def start(self) -> None:
        """Load the model, if there is one, before the first request asks for it."""
        await self.health()

    async def close(self) -> None:
        """Finish what is being logged and close all connections."""
        await asyncio.to_thread(self._log_thread.shutdown)
        self._log.close()
        if self._connected:
            await self._connected.close()

    async def _check_clock(self) -> None:
        self._clock.now()

    async def _ping_store(self) -> None:
        await self._store().ping()

    async def _ping_log(self) -> None:
        await self._in_log_thread(self._log.ping)

    def _store(self) -> OnlineReader:
        if self._connected is None:
            if not self._home.redis:
                raise UnavailableError("this home has no Redis yet: run `candor env`")
            self._connected = OnlineReader(_NOTHING, self._home.redis)
        return self._connected

    def _reader(self, model: ScoringModel) -> OnlineReader:
        if self._planned is None or self._planned[0] is not model:
            self._planned = model, self._store().with_plan(model.plan)
        return self._planned[1]

    async def _in_log_thread(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_LOG_DEADLINE):
                return await asyncio.get_running_loop().run_in_executor(self._log_thread, work)
        except TimeoutError:
            raise UnavailableError(f"the decision log gave no answer in {_LOG_DEADLINE:.0f} s") from None


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
            self._reads_at = time.monotonic() + _CLOCK_EVERY
        return self._fixed or datetime.now(UTC)


def to_record(
    request: LoanRequest, stored: StoredFeatures, inputs: dict[str, Input], verdict: Verdict, occasion: Occasion
) -> DecisionRecord:
    """Return what the log keeps of a decision: everything that it was made of."""
    decision = verdict.decision
    return DecisionRecord(
        decision_id=occasion.decision_id,
        decided_at=occasion.decided_at,
        as_of=occasion.as_of,
        applicant_id=request.applicant_id,
        bundle=decision.model.bundle,
        model_version=decision.model.version,
        recommendation=decision.approval_recommendation,
        pd=decision.default_probability,
        score=decision.credit_score,
        request=request.asked,
        features={
            name: LoggedFeature(item.value, item.source, maybe_iso(item.event_timestamp))
            for name, item in inputs.items()
        },
        views=stored.views,
        impacts=verdict.scored.impacts,
        reference_log_odds=verdict.scored.reference_log_odds,
        guard=decision.guard,
        output=decision,
    )


def new_decision_id() -> str:
    """Return a UUID of version 7: milliseconds since 1970, a fraction of one, then chance.

    References
    ----------
    RFC 9562, sections 5.7 and 6.2 (method 3).
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 4096 // 1_000_000
    number = milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))
