"""One process's part of `candor batch`: decide on joined rows through the same core as the service."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from feature_repo.errors import InputError
from feature_repo.home import Home
from feature_repo.stores.stored import StoredFeatures
from feature_repo.stores.stored_table import TIME, datetimes_of, stored_of
from monitoring.decision_log import Entry
from monitoring.decision_record import DecisionRecord
from services.scoring.arms import Challenge, settle_between
from services.scoring.champion import load_model
from services.scoring.decide import Occasion
from services.scoring.decider import known, read_request
from services.scoring.loan_request import LoanRequest
from services.scoring.model import ScoringModel
from services.scoring.record import Case, new_decision_id, settle_all
from training.bundle import Champion


@dataclass(frozen=True)
class InService:
    """The models that decide, the same from the first row of a batch to the last."""

    champion: ScoringModel
    challenge: Challenge | None


@dataclass(frozen=True)
class Row:
    """What became of one row.

    Parameters
    ----------
    entry : tuple
        Row of the decision log; empty if there was no decision.
    decision : bytes
        The decision as JSON.
    problem : str
        Why there is none.
    """

    entry: tuple[Any, ...]
    decision: bytes = b""
    problem: str = ""


def load_in_service(home: Home, champion: Champion) -> InService:
    """Load what champion.json named when the batch began.

    Raises
    ------
    UnavailableError
        If a bundle is gone or damaged.
    """
    named = champion.challenger
    challenge = (
        Challenge(named.experiment, named.share, load_model(home, named.bundle, named.version)) if named else None
    )
    return InService(load_model(home, champion.bundle, champion.version), challenge)


def decide_rows(models: InService, table: Any, bodies: Sequence[bytes], problems: Sequence[str]) -> list[Row]:
    """Decide on n rows.

    Parameters
    ----------
    table : pyarrow.Table
        n rows from `stored_as_of.join_stored`.
    bodies : sequence of bytes
        The n requests as JSON.
    problems : sequence of str
        What is known to be wrong with each row, ``""`` for nothing.
    """
    champion, challenge = models.champion, models.challenge
    found: list[Row | None] = [None] * len(bodies)
    cases: dict[int, Case] = {}
    instants = datetimes_of(table[TIME])
    for place, (body, stored) in enumerate(zip(bodies, stored_of(champion.plan, table), strict=True)):
        if problems[place]:
            found[place] = Row((), problem=problems[place])
            continue
        request = read_request(champion, body)
        try:
            if isinstance(request, InputError):
                raise request
            occasion = Occasion(new_decision_id(), datetime.now(UTC), instants[place])
            cases[place] = Case(request, known(request, stored), occasion)
        except InputError as error:
            found[place] = Row((), problem=str(error))
    if challenge is None:
        settled = settle_all(list(cases.values()), champion)
    else:
        theirs = _theirs(challenge, champion, table, bodies, cases)
        settled = settle_between(list(cases.values()), champion, challenge, theirs)
    for place, made in zip(cases, settled, strict=True):
        found[place] = (
            Row(Entry.of(made).row, bytes(made.output))
            if isinstance(made, DecisionRecord)
            else Row((), problem=str(made))
        )
    return [row for row in found if row is not None]


def _theirs(
    challenge: Challenge, champion: ScoringModel, table: Any, bodies: Sequence[bytes], cases: dict[int, Case]
) -> list[Case | Exception | None]:
    same = challenge.model.plan == champion.plan
    held: Sequence[StoredFeatures] = () if same else stored_of(challenge.model.plan, table)
    theirs: list[Case | Exception | None] = []
    for place, case in cases.items():
        if not challenge.asked_about(case.request.applicant_id):
            theirs.append(None)
            continue
        request = read_request(challenge.model, bodies[place])
        try:
            stored = case.stored if same else held[place]
            theirs.append(
                Case(request, known(request, stored), case.occasion) if isinstance(request, LoanRequest) else request
            )
        except InputError as error:
            theirs.append(error)
    return theirs


_models: InService | None = None


def start(root: str, champion: bytes) -> None:
    """Load the models once for a process; `champion` is champion.json as it was when the batch began."""
    global _models
    gc.disable()  # decisions make no cycles, and looking for them takes a tenth of the time
    _models = load_in_service(Home(root=Path(root)), msgspec.json.decode(champion, type=Champion))


def work(joined: bytes, bodies: Sequence[bytes], problems: Sequence[str]) -> list[Row]:
    """Decide in a process that was started: `joined` is an Arrow IPC stream."""
    if _models is None:
        raise RuntimeError("start() was not called")
    return decide_rows(_models, pa.ipc.open_stream(joined).read_all(), bodies, problems)
