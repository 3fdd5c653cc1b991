"""The life of a champion, where it needs feature store and training together: promote, challenge, retrain."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from feature_repo.home import Home
from services.turn import only_one
from training import promotion
from training.judgement import DatasetOf
from training.promotion import Refused
from training.promotion_gate import DEFAULT_GATE, read_gate
from training.promotion_record import Entry, signed
from training.recipe import read_recipe
from training.tracking import NotKept, Tracking
from training.vouching import Vouch

if TYPE_CHECKING:  # they import Feast and all that training needs, which a promotion may do without
    from services.train import TrainOutcome
    from training.dataset import Dataset
    from training.recipe import CutoffRule


@dataclass(frozen=True)
class Retrained:
    """What a retraining came to.

    Parameters
    ----------
    entry : Entry or None
        Of the record: done, or refused with what the gate said. None if nothing new came out.
    refusal : str
        Why the champion stays though there is another model; empty otherwise.
    """

    outcome: TrainOutcome
    entry: Entry | None
    refusal: str = ""

    @property
    def is_new(self) -> bool:
        """Whether another model came out than the one in service."""
        return self.entry is not None

    @property
    def is_promoted(self) -> bool:
        """Whether the new model is in service."""
        return self.is_new and not self.refusal


def promote(
    home: Home,
    version: str | None,
    *,
    by: str = "",
    why: str = "",
    gate: Path = DEFAULT_GATE,
    uncompared: bool = False,
    dataset: Dataset | None = None,
) -> Entry:
    """Put a registered version in service if it passes the gate; see `training.promotion.promote`.

    Parameters
    ----------
    dataset : Dataset or None
        That on which the version was trained; None builds it again, where there is a champion to compare with.
    """
    datasets = _datasets(home, dataset)
    return promotion.promote(home, version, dataset_of=datasets, by=by, why=why, gate=gate, uncompared=uncompared)


def challenge(
    home: Home,
    version: str,
    *,
    share: float,
    experiment: str = "",
    by: str = "",
    why: str = "",
    gate: Path = DEFAULT_GATE,
    uncompared: bool = False,
) -> Entry:
    """Let a registered version challenge the champion; see `training.promotion.challenge`."""
    return promotion.challenge(
        home,
        version,
        share=share,
        dataset_of=_datasets(home, None),
        experiment=experiment,
        by=by,
        why=why,
        gate=gate,
        uncompared=uncompared,
    )


def retrain(
    home: Home,
    *,
    seed: int,
    as_of: datetime | None = None,
    oot_start: datetime | None = None,
    performance_months: int | None = None,
    trials: int = 0,
    timeout: float | None = None,
    cutoff_rule: CutoffRule = "policy",
    sound: Mapping[str, str] | None = None,
    with_decided: bool = True,
    by: str = "",
    why: str = "",
    gate: Path = DEFAULT_GATE,
) -> Retrained:
    """Train on what is known now, compare with the champion, and promote, or let the champion stay.

    Where the very bundle in service comes out again, nothing is registered or promoted; its run is kept, tagged.

    Parameters
    ----------
    seed : int
    as_of, performance_months, trials, timeout, cutoff_rule, with_decided
        As for `services.train.train`.
    sound : mapping of str to str, or None
        Features that `by` vouches for, with the reason, beside those that the champion's run was vouched for.
    oot_start : datetime or None
        UTC; None rolls on with the loans, see `services.window.window_start`.

    Raises
    ------
    UnavailableError
        If another retraining is under way in this home.
    GateError, InputError
        As for `services.train.train`.
    """
    from services.train import require_known, train
    from services.window import window_start

    by, why = signed(by, why)
    read_gate(gate)  # an hour of training later is late to find a mistake in it
    as_of = require_known(home, as_of)
    months = home.state().performance_months if performance_months is None else performance_months
    with only_one(home.root / ".retrain.lock", "a retraining", by, why):
        outcome = train(
            home,
            as_of=as_of,
            oot_start=oot_start or window_start(home, as_of=as_of, months=months, with_decided=with_decided),
            performance_months=months,
            seed=seed,
            trials=trials,
            timeout=timeout,
            cutoff_rule=cutoff_rule,
            only_new=True,
            sound=_inherited(home) | {name: Vouch(reason, by) for name, reason in (sound or {}).items()},
            with_decided=with_decided,
        )
        if not outcome.is_new:
            return Retrained(outcome, None)
        try:
            entry = promote(home, outcome.run.version, by=by, why=why, gate=gate, dataset=outcome.dataset)
        except Refused as refused:
            return Retrained(outcome, refused.entry, str(refused))
    return Retrained(outcome, entry)


def _inherited(home: Home) -> dict[str, Vouch]:
    """Return the words for features of the champion's run, so that none has to be given at each retraining."""
    champion = promotion.standing(home)
    if champion is None:
        return {}
    try:
        vouched = read_recipe(Tracking(home), champion.run_id).vouched
    except NotKept:  # it was trained with another MLflow, or is damaged; without words the check is only stricter
        return {}
    return {name: replace(vouch, run_id=vouch.run_id or champion.run_id) for name, vouch in vouched.items()}


def _datasets(home: Home, dataset: Dataset | None) -> DatasetOf:
    def of(run_id: str) -> Dataset:
        if dataset is not None:
            return dataset
        with warnings.catch_warnings():
            from services.reproduce import rebuild

            warnings.simplefilter("ignore")  # Feast turns its own on when it is imported
            return rebuild(home, run_id)

    return of
