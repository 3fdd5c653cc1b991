"""Choose hyperparameters by Optuna on folds in time, pruned, seeded and resumable.

References
----------
.. [1] Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019.
.. [2] Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011: the tree-structured Parzen estimator.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import optuna
from alembic.util import CommandError
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from feature_repo.errors import UnavailableError
from training.bundle import digest_of
from training.columns import Column, Matrix
from training.folds import expanding_folds
from training.model import HeldOut, Parameters, held_out_loss

# Depth and rounds bound the tables that explain; the rest is what practice tunes first.
_SPACE: dict[str, BaseDistribution] = {
    "max_depth": IntDistribution(2, 4),
    "eta": FloatDistribution(0.02, 0.15, log=True),
    "min_child_weight": FloatDistribution(1.0, 64.0, log=True),
    "subsample": FloatDistribution(0.5, 1.0),
    "colsample_bytree": FloatDistribution(0.3, 1.0),
    "reg_lambda": FloatDistribution(0.1, 50.0, log=True),
}
_STARTUP = 5


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One set of hyperparameters that was tried.

    Parameters
    ----------
    state : str
        ``complete``, or ``pruned`` where it was behind the median after some of the folds.
    loss : float
        Mean log loss of the held-out loans of the folds that it saw.
    rounds : int
        Where the loss is lowest.
    seconds : float
        How long it took; not part of what decides.
    """

    number: int
    state: str
    loss: float
    rounds: int
    parameters: Parameters
    seconds: float


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What the search came to.

    Parameters
    ----------
    parameters : Parameters
        Those of the lowest loss; of equal ones the first.
    rounds : int
        Trees of the final fit.
    loss : float
        Mean log loss of the held-out loans of all folds.
    trials : tuple of Trial
        All that was tried, in order; empty if nothing was searched.
    """

    parameters: Parameters
    rounds: int
    loss: float
    trials: tuple[Trial, ...] = ()


def choose(
    columns: Sequence[Column],
    matrix: Matrix,
    defaulted: NDArray[np.bool_],
    decided: NDArray[np.datetime64],
    *,
    parameters: Parameters,
    seed: int,
    trials: int = 0,
    timeout: float | None = None,
    storage: Path | None = None,
    study: str = "search",
) -> Chosen:
    """Return hyperparameters and rounds for n loans, by log loss on folds in time.

    The given parameters are the first trial, so that the search never ends behind them on the folds. A search that was
    interrupted goes on where it was if it is asked for again with the same storage and study; each trial has a seed
    of its own, so that the end is the same as without the interruption.

    Parameters
    ----------
    columns, matrix, defaulted, seed
        As for `training.model.fit`; only loans that the final fit may see.
    decided : ndarray of datetime64, shape (n,)
    parameters : Parameters
        Where to start; without trials, only its rounds are chosen.
    trials : int
        How many to try, the first included; 0 searches nothing.
    timeout : float or None
        Seconds after which no trial but the first begins; what comes out then depends on the machine.
    storage : Path or None
        SQLite file of the study, which the caller holds alone; None keeps it in memory.
    study : str
        Name of the study: whatever makes another search another one, but for the space that is searched.

    Raises
    ------
    InputError
        If no fold has both outcomes on both sides.
    UnavailableError
        If the study cannot be kept in its file, or be read from it.
    """
    folds = expanding_folds(decided, defaulted, parameters.folds)

    def tried(candidate: Parameters, trial: optuna.Trial | None = None) -> HeldOut:
        for step, held in enumerate(held_out_loss(candidate, columns, matrix, defaulted, folds, seed)):
            if trial is not None:
                trial.set_user_attr("rounds", held.rounds)
                trial.report(held.loss, step)
                if step < len(folds) - 1 and trial.should_prune():
                    raise optuna.TrialPruned
        return held

    if not trials:
        held = tried(parameters)
        return Chosen(parameters=parameters, rounds=held.rounds, loss=held.loss)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _kept(storage), _progress(trials) as bar:
        found = _study(storage, f"{study}-{digest_of(repr((_SPACE, _STARTUP)).encode())}")
        begin = time.monotonic()
        while (done := len(_finished(found))) < trials and (not done or _in_time(begin, timeout)):
            bar.update(done - bar.n)
            found.sampler = optuna.samplers.TPESampler(seed=_seed(seed, done), n_startup_trials=_STARTUP)
            trial = _begin(found, parameters, done)
            candidate = msgspec.structs.replace(parameters, **trial.params)
            try:
                found.tell(trial, tried(candidate, trial).loss)
            except optuna.TrialPruned:
                found.tell(trial, state=TrialState.PRUNED)
        bar.update(len(_finished(found)) - bar.n)
        finished = _finished(found)[:trials]  # a longer search of before is not this one
    records = tuple(_record(number, trial, parameters) for number, trial in enumerate(finished))
    best = min((one for one in records if one.state == "complete"), key=lambda one: (one.loss, one.number))
    return Chosen(parameters=best.parameters, rounds=best.rounds, loss=best.loss, trials=records)


def _in_time(begin: float, timeout: float | None) -> bool:
    return timeout is None or time.monotonic() - begin < timeout


def _seed(seed: int, trial: int) -> int:
    """Return the seed of one trial, 0 to 2**32 - 1."""
    return int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])


def _study(storage: Path | None, name: str) -> optuna.Study:
    try:
        return optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{storage}" if storage else None,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP),
        )
    except RuntimeError as error:  # another version of Optuna laid it out
        raise StorageInternalError(str(error)) from None


@contextmanager
def _kept(storage: Path | None) -> Iterator[None]:
    """Turn what the study's database says into one line that names its file."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, CommandError) as error:
        cause: BaseException = error
        while (deeper := getattr(cause, "orig", None) or cause.__cause__) is not None:
            cause = deeper
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise UnavailableError(
            f"the search cannot be kept in {storage} ({reason}): make room if the disk is full, else move the file "
            "aside, and the search begins anew"
        ) from None


def _begin(study: optuna.Study, parameters: Parameters, done: int) -> optuna.Trial:
    """Ask for the next trial; the first is the given parameters, also where it was interrupted before."""
    if not done and not any(one.state == TrialState.WAITING for one in study.get_trials(deepcopy=False)):
        study.enqueue_trial({name: getattr(parameters, name) for name in _SPACE})
    return study.ask(_SPACE)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return what ran to its end and is wholly there; a trial that was interrupted is asked for again."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [trial for trial in ended if trial.intermediate_values and "rounds" in trial.user_attrs]


def _record(number: int, trial: optuna.trial.FrozenTrial, parameters: Parameters) -> Trial:
    last = trial.intermediate_values[max(trial.intermediate_values)]
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return Trial(
        number=number,
        state=trial.state.name.lower(),
        loss=last,
        rounds=trial.user_attrs["rounds"],
        parameters=msgspec.structs.replace(parameters, **trial.params),
        seconds=seconds,
    )


def _progress(trials: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=trials, unit="trial", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False)
