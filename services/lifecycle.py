"""The life of a champion, where it needs feature store and training together: promote, challenge, retrain."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.home import Home
from services.turn import only_one
from training import promotion
from training.judgement import DatasetOf
from training.promotion import Refused
from training.promotion_gate import DEFAULT_GATE, read_gate
from training.promotion_record import Entry, signed

if TYPE_CHECKING:  # they import Feast and all that training needs, which a promotion may do without
    from services.train import TrainOutcome
    from training.dataset import Dataset


@dataclass(frozen=True)
class Retrained:
    """What a retraining came to.

    Parameters
    ----------
    entry : Entry
        Of the record: done, or refused with what the gate said.
    refusal : str
        Why the champion stays; empty if the new model is in service.
    """

    outcome: TrainOutcome
    entry: Entry
    refusal: str = ""


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
    oot_start: datetime | None = None,
    trials: int = 0,
    by: str = "",
    why: str = "",
    gate: Path = DEFAULT_GATE,
) -> Retrained:
    """Train as of the home's clock, compare with the champion, and promote, or let the champion stay.

    Parameters
    ----------
    seed : int
    oot_start : datetime or None
        UTC; None means the portfolio's.
    trials : int
        How many sets of hyperparameters to try; 0 searches nothing.

    Raises
    ------
    UnavailableError
        If another retraining is under way in this home.
    GateError, InputError
        As for `services.train.train`.
    """
    from services.train import train

    by, why = signed(by, why)
    read_gate(gate)  # an hour of training later is late to find a mistake in it
    with only_one(home.root / ".retrain.lock", "a retraining", by, why):
        outcome = train(home, oot_start=oot_start, seed=seed, trials=trials)
        try:
            entry = promote(home, outcome.run.version, by=by, why=why, gate=gate, dataset=outcome.dataset)
        except Refused as refused:
            return Retrained(outcome, refused.entry, str(refused))
    return Retrained(outcome, entry)


def _datasets(home: Home, dataset: Dataset | None) -> DatasetOf:
    def of(run_id: str) -> Dataset:
        if dataset is not None:
            return dataset
        with warnings.catch_warnings():
            from services.reproduce import rebuild

            warnings.simplefilter("ignore")  # Feast turns its own on when it is imported
            return rebuild(home, run_id)

    return of
