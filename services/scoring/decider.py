"""From request bodies to records ready for the log: the store is read here, and the models in service are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter

from feature_repo.errors import InputError
from feature_repo.stores.online import OnlineReader
from feature_repo.stores.stored import StoredFeatures
from monitoring.decision_record import DecisionRecord
from services.scoring.arms import Challenge, settle_between
from services.scoring.champion import ChampionFollower
from services.scoring.clock import HomeClock
from services.scoring.decide import Occasion
from services.scoring.errors import UnknownError
from services.scoring.loan_request import LoanRequest
from services.scoring.metrics import Metrics
from services.scoring.model import ScoringModel
from services.scoring.record import Case, new_decision_id, settle, settle_all

_SLICE = 25  # decisions between two looks at what else the event loop has to do


class Decider:
    """Decide on requests with the models in service; nothing is logged here.

    Parameters
    ----------
    store : callable
        Returns the connections to the online store.
    metrics : Metrics
        Where it is counted how long it took.
    """

    def __init__(
        self, champion: ChampionFollower, clock: HomeClock, store: Callable[[], OnlineReader], metrics: Metrics
    ) -> None:
        self._metrics = metrics
        self._champion = champion
        self._clock = clock
        self._store = store
        self._readers: list[tuple[ScoringModel, OnlineReader]] = []

    async def one(self, body: bytes) -> DecisionRecord:
        """Decide on one request; errors as for `ScoringService.decide`."""
        model = await self._champion.current()
        challenge = self._champion.challenge
        request = model.requests.read(body)
        as_of = self._clock.now()
        begun = perf_counter()
        stored = known(request, await self.reader(model).read(request.applicant_id, as_of))
        read = perf_counter()
        self._metrics.took("features", read - begun)
        case = Case(request, stored, Occasion(new_decision_id(), datetime.now(UTC), as_of))
        if challenge is None:
            record = settle(case, model)
            self._metrics.took("decide", perf_counter() - read)
            return record
        (made,) = settle_between([case], model, challenge, await self._theirs([body], [case], model, challenge))
        self._metrics.took("decide", perf_counter() - read)
        if isinstance(made, InputError):
            raise made
        return made

    async def many(self, bodies: Sequence[bytes]) -> list[DecisionRecord | InputError]:
        """Decide on n requests, each as `one` does; the store is asked once.

        Raises
        ------
        UnavailableError
            If model or store is not there.
        """
        model = await self._champion.current()
        challenge = self._champion.challenge
        as_of = self._clock.now()
        requests = [read_request(model, body) for body in bodies]
        places = [place for place, request in enumerate(requests) if isinstance(request, LoanRequest)]
        asked = [request for request in requests if isinstance(request, LoanRequest)]
        begun = perf_counter()
        held = await self.reader(model).read_many([request.applicant_id for request in asked], as_of)
        read = perf_counter()
        self._metrics.took("features", read - begun)
        found: list[DecisionRecord | InputError | None] = [
            request if isinstance(request, InputError) else None for request in requests
        ]
        cases: dict[int, Case] = {}
        for place, request, stored in zip(places, asked, held, strict=True):
            try:
                occasion = Occasion(new_decision_id(), datetime.now(UTC), as_of)
                cases[place] = Case(request, known(request, stored), occasion)
            except UnknownError as error:
                found[place] = error
        places = list(cases)
        for start in range(0, len(places), _SLICE):
            part = places[start : start + _SLICE]
            chosen = [cases[place] for place in part]
            if challenge is None:
                settled = settle_all(chosen, model)
            else:
                theirs = await self._theirs([bodies[place] for place in part], chosen, model, challenge)
                settled = settle_between(chosen, model, challenge, theirs)
            for place, made in zip(part, settled, strict=True):
                found[place] = made
            await asyncio.sleep(0)
        self._metrics.took("decide", perf_counter() - read)
        return [made for made in found if made is not None]

    def reader(self, model: ScoringModel) -> OnlineReader:
        """Return a reader by the plan of a model, over the connections there are."""
        for known, reader in self._readers:
            if known is model:
                return reader
        self._readers = [(model, self._store().with_plan(model.plan)), *self._readers[:1]]
        return self._readers[0][1]

    async def _theirs(
        self, bodies: Sequence[bytes], cases: Sequence[Case], champion: ScoringModel, challenge: Challenge
    ) -> list[Case | Exception | None]:
        """Return the cases as the challenger reads them, of the applicants that it is asked about."""
        theirs: list[Case | Exception | None] = []
        for body, case in zip(bodies, cases, strict=True):
            if not challenge.asked_about(case.request.applicant_id):
                theirs.append(None)
                continue
            try:
                request = challenge.model.requests.read(body)
                stored = case.stored
                if challenge.model.plan != champion.plan:
                    reader = self.reader(challenge.model)
                    stored = known(request, await reader.read(request.applicant_id, case.occasion.as_of))
                theirs.append(Case(request, stored, case.occasion))
            except Exception as error:  # whatever it is, the champion decides
                theirs.append(error)
        return theirs


def read_request(model: ScoringModel, body: bytes) -> LoanRequest | InputError:
    """Return a request as a model reads it, or what is wrong with it."""
    try:
        return model.requests.read(body)
    except InputError as error:
        return error


def known(request: LoanRequest, stored: StoredFeatures) -> StoredFeatures:
    """Return what the store holds, if there is anything to decide on.

    Raises
    ------
    UnknownError
        If the store does not know the applicant and the request brings no features.
    """
    if not request.brings_features and not stored.is_known:
        raise UnknownError(
            f"applicant {request.applicant_id!r} is not known to the feature store: materialize, or give features "
            "in the request"
        )
    return stored
