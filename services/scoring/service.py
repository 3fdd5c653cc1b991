"""The scoring service without HTTP: its collaborators, and the way of one request through them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from feature_repo.stores.online import OnlineReader
from feature_repo.stores.plan import OnlinePlan
from monitoring.decision_log import DecisionLog, DecisionRecord, Entry, Kept, Key
from monitoring.group_commit import GroupCommit, ThreadWriter
from monitoring.log_writer import ProcessWriter
from monitoring.outcomes import Outcome, Outcomes, Taken
from services.scoring import journal
from services.scoring.champion import ChampionFollower, Load, LoadChallenge, load_challenge, load_champion
from services.scoring.clock import HomeClock
from services.scoring.condition import Condition
from services.scoring.decider import Decider
from services.scoring.errors import UnknownError
from services.scoring.idempotency import Once, read_key
from services.scoring.loan_request import WITHOUT_A_MODEL
from services.scoring.metrics import Metrics
from services.scoring.notices.lender import load_lender
from services.scoring.notices.notice import Notice, notice_of
from services.scoring.replay import CitedModels, Replayed, replay
from services.scoring.schemas import ApplicantFeatures, StoredViewAnswer, iso, maybe_iso

_LOG_DEADLINE = 5.0
_READERS = 2
_NOTHING = OnlinePlan("", "", "", ())
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A decision as it is answered.

    Parameters
    ----------
    body : bytes
        The decision as JSON.
    repeated : bool
        Whether it was made for an earlier request with the same idempotency key.
    """

    body: bytes
    repeated: bool = False


class ScoringService:
    """Decide on requests with the model in service. Creating one connects to nothing.

    Parameters
    ----------
    home : Home
        Where champion, Redis address, clock and decision log are.
    load : callable
        Loads the home's champion.
    challenge : callable
        Loads its challenger, if there is one.
    metrics : Metrics or None
        Where decisions are counted.
    writes_apart : bool
        Whether the log is written by a process of its own, which pays where many decide at once.

    Raises
    ------
    InputError
        If an address of the home is not one.
    """

    def __init__(
        self,
        home: Home,
        load: Load = load_champion,
        challenge: LoadChallenge = load_challenge,
        metrics: Metrics | None = None,
        writes_apart: bool = False,
    ) -> None:
        self._home = home
        self._metrics = metrics or Metrics()
        self._champion = ChampionFollower(home, load, challenge)
        self._clock = HomeClock(home)
        self._log = DecisionLog(home.decision_log_url)
        self._process = ProcessWriter(home.decision_log_url) if writes_apart else None
        self._writer = GroupCommit(self._process or ThreadWriter(self._log.append_all))
        self._log_threads = ThreadPoolExecutor(_READERS, thread_name_prefix="decision-log-reader")
        self._outcomes = Outcomes(self._log.database)
        self._once = Once(self._kept)
        self._cited = CitedModels(home)
        self._connected: OnlineReader | None = None
        self._decider = Decider(self._champion, self._clock, self._store, self._metrics)
        self.condition = Condition(self._champion, self._clock, self._store, self._writer, self._ping_log)
        """What it stands on."""
        self._metrics.gauges = self.condition.gauges
        if home.redis:
            self._store()

    async def decide(self, body: bytes, *, client: str = "", key: str | None = None) -> Answer:
        """Read a request, decide and log; the answer is durable when this returns.

        Parameters
        ----------
        body : bytes
            The request as JSON.
        client : str
            Whose idempotency key it is; empty where clients are not told apart.
        key : str or None
            Idempotency key: the same request under the same key is answered with the first decision.

        Raises
        ------
        FieldProblem
            If the request or its key is wrong.
        ConflictError
            If the key was used for another request.
        UnknownError
            If the store does not know the applicant and the request brings no features.
        UnavailableError
            If model, store or log is not there. After a time-out of the log the decision may be in
            it or not; under its key it is then found again.
        """
        if key is None:
            return Answer(await self._decide(body, None))
        made: list[bytes] = []

        async def make() -> None:
            made.append(await self._decide(body, checked))

        checked = read_key(client, key, body)
        kept = await self._once.answer(checked, make)
        return Answer(made[0]) if kept is None else Answer(kept.output, repeated=True)

    async def _decide(self, body: bytes, key: Key | None) -> bytes:
        begun = perf_counter()
        record = await self._decider.one(body)
        made = perf_counter()
        await self._writer.commit(Entry.of(record, key))
        self._count([record], begun, made)
        journal.note(decision_id=record.decision_id, model_version=record.model_version)
        return bytes(record.output)

    async def decide_many(self, bodies: Sequence[bytes]) -> list[bytes | InputError]:
        """Decide on n requests, each as on a single one, and log all of them in one transaction.

        Returns
        -------
        list of bytes or InputError
            For each request the decision as JSON, or what is wrong with it.

        Raises
        ------
        UnavailableError
            If model, store or log is not there.
        """
        begun = perf_counter()
        made = await self._decider.many(bodies)
        decided = perf_counter()
        records = [record for record in made if isinstance(record, DecisionRecord)]
        for fault in await self._writer.commit_all([Entry.of(record) for record in records]) if records else ():
            if fault:
                raise fault
        self._count(records, begun, decided)
        journal.note(decisions=len(records))
        return [bytes(one.output) if isinstance(one, DecisionRecord) else one for one in made]

    async def applicant(self, applicant_id: str) -> ApplicantFeatures:
        """Return what the store knows of an applicant; errors as for `decide`."""
        model = await self._champion.current()
        as_of = self._clock.now()
        stored = await self._decider.reader(model).read(applicant_id, as_of)
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
        record = await self._ask_log(lambda: self._log.get(decision_id))
        if record is None:
            raise UnknownError(f"decision {decision_id!r} is not in the log")
        return record

    async def replay(self, decision_id: str) -> Replayed:
        """Make a logged decision once more with the model that made it, and compare bit for bit.

        Raises
        ------
        UnknownError
            If the log does not hold it.
        UnavailableError
            If the log is not there, or the bundle that it cites is gone or damaged.
        """
        record = await self.decision(decision_id)
        model = await asyncio.to_thread(self._cited.model, record)
        return replay([record], model)[0]

    async def notice(self, decision_id: str) -> Notice:
        """Return the notice that a logged decision calls for; errors as for `replay`, or for the lender's details."""
        record = await self.decision(decision_id)

        def make() -> Notice:
            return notice_of(record, self._cited.model(record), load_lender(self._home))

        return await asyncio.to_thread(make)

    async def store_outcomes(self, given: Sequence[Outcome]) -> list[Taken]:
        """Store what became of decisions.

        Raises
        ------
        UnavailableError
            If the log is not there.
        """
        return await self._ask_log(lambda: self._outcomes.store(given))

    def _count(self, records: Sequence[DecisionRecord], begun: float, decided: float) -> None:
        done = perf_counter()
        self._metrics.took("log", done - decided)
        self._metrics.took("total", done - begun)
        for record in records:
            self._metrics.decided(record)

    def body_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a request body, as far as the model in service tells it."""
        model = self._champion.loaded
        return model.requests.json_schema() if model else WITHOUT_A_MODEL

    async def start(self) -> None:
        """Load the model, if there is one, and start the log's writer, before the first request asks for them."""
        if self._process:
            self._process.start()
        await self.condition.health()

    async def close(self) -> None:
        """Finish what is being logged and close all connections."""
        await self._writer.close()
        await asyncio.to_thread(self._log_threads.shutdown)
        self._log.close()
        if self._connected:
            await self._connected.close()

    async def _ping_log(self) -> None:
        await self._ask_log(self._log.ping)

    def _store(self) -> OnlineReader:
        if self._connected is None:
            if not self._home.redis:
                raise UnavailableError("this home has no Redis yet: run `candor env`")
            self._connected = OnlineReader(_NOTHING, self._home.redis)
        return self._connected

    async def _kept(self, client: str, key: str) -> Kept | None:
        return await self._ask_log(lambda: self._log.kept(client, key))

    async def _ask_log(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_LOG_DEADLINE):
                return await asyncio.get_running_loop().run_in_executor(self._log_threads, work)
        except TimeoutError:
            raise UnavailableError(f"the decision log gave no answer in {_LOG_DEADLINE:.0f} s") from None
