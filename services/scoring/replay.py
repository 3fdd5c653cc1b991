"""A logged decision made once more, from its record and the bundle that it cites, and compared bit for bit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from feature_repo.errors import CandorError, InputError, UnavailableError
from feature_repo.home import Home
from feature_repo.stores.stored import StoredFeatures
from monitoring.decision_record import DecisionRecord
from services.scoring.champion import load_model
from services.scoring.decide import Occasion
from services.scoring.model import ScoringModel
from services.scoring.record import Case, settle_all

_KEPT_MODELS = 4
_CHUNK = 500
_ABSENT = object()
# What the model and the policy made of a case; all else in a record was put into it.
_MADE = ("output", "impacts", "reference_log_odds", "features", "guard")


class Replayed(msgspec.Struct, frozen=True):
    """What came of making a decision once more.

    Parameters
    ----------
    identical : bool
        Whether the answer, the impacts and all inputs are the same bytes as canonical JSON.
    differences : tuple of str
        Paths of the fields that differ, such as ``output.credit_score``; empty if identical.
    """

    decision_id: str
    identical: bool
    differences: tuple[str, ...] = ()


class CitedModels:
    """The models that logged decisions cite, the last few kept in memory. May be used by several threads.

    Parameters
    ----------
    load : callable
        Loads the bundle of a home with a digest, as a registered version.
    """

    def __init__(self, home: Home, load: Callable[[Home, str, str], ScoringModel] = load_model) -> None:
        self._home = home
        self._load = load
        self._models: OrderedDict[tuple[str, str], ScoringModel] = OrderedDict()
        self._lock = threading.Lock()

    def model(self, record: DecisionRecord) -> ScoringModel:
        """Return the model that made a decision.

        Raises
        ------
        UnavailableError
            If its bundle is gone or damaged.
        """
        name = record.bundle, record.model_version
        with self._lock:
            if name not in self._models:
                try:
                    self._models[name] = self._load(self._home, *name)
                except CandorError as error:
                    raise UnavailableError(
                        f"decision {record.decision_id} cites bundle {record.bundle}, which cannot be loaded: {error}"
                    ) from None
                if len(self._models) > _KEPT_MODELS:
                    self._models.popitem(last=False)
            self._models.move_to_end(name)
            return self._models[name]


def replay(records: Sequence[DecisionRecord], model: ScoringModel) -> list[Replayed]:
    """Make decisions of one model once more and compare each with its record.

    Parameters
    ----------
    records : sequence of DecisionRecord
        All citing the bundle of `model`.
    """
    cases = [_case(record, model) for record in records]
    made = iter(settle_all([case for case in cases if isinstance(case, Case)], model))
    return [
        _compare(record, next(made) if isinstance(case, Case) else case)
        for record, case in zip(records, cases, strict=True)
    ]


def replay_all(records: Iterable[DecisionRecord], models: CitedModels) -> Iterator[Replayed]:
    """Replay decisions of any models, in order.

    Raises
    ------
    UnavailableError
        If a bundle that one of them cites is gone or damaged.
    """
    rest = iter(records)
    while chunk := list(islice(rest, _CHUNK)):
        found: dict[str, Replayed] = {}
        by_model: dict[tuple[str, str], list[DecisionRecord]] = {}
        for record in chunk:
            by_model.setdefault((record.bundle, record.model_version), []).append(record)
        for group in by_model.values():
            found |= {replayed.decision_id: replayed for replayed in replay(group, models.model(group[0]))}
        for record in chunk:
            yield found[record.decision_id]


def _case(record: DecisionRecord, model: ScoringModel) -> Case | InputError:
    try:
        request = model.requests.read(msgspec.json.encode(record.request))
    except InputError as error:
        return error
    occasion = Occasion(record.decision_id, record.decided_at, record.as_of)
    return Case(request, StoredFeatures(record.applicant_id, record.views), occasion)


def _compare(record: DecisionRecord, made: DecisionRecord | InputError) -> Replayed:
    if isinstance(made, InputError):  # what was decided once is refused now: nothing of the answer is the same
        return Replayed(record.decision_id, False, ("output",))
    differences: list[str] = []
    for name in _MADE:
        then, now = _plain(getattr(record, name)), _plain(getattr(made, name))
        if _canonical(then) != _canonical(now):
            differences += _paths(name, then, now)
    return Replayed(record.decision_id, not differences, tuple(differences))


def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else msgspec.to_builtins(value)


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _paths(path: str, then: Any, now: Any) -> list[str]:
    """Return where two JSON values differ: fields by name, items by number."""
    if isinstance(then, dict) and isinstance(now, dict):
        names = list(dict.fromkeys((*then, *now)))
        return [
            found
            for name in names
            for found in _paths(f"{path}.{name}", then.get(name, _ABSENT), now.get(name, _ABSENT))
        ]
    if isinstance(then, list | tuple) and isinstance(now, list | tuple) and len(then) == len(now):
        return [
            found
            for index, (one, other) in enumerate(zip(then, now, strict=True))
            for found in _paths(f"{path}.{index}", one, other)
        ]
    same = then is not _ABSENT and now is not _ABSENT and _canonical(then) == _canonical(now)
    return [] if same else [path]
