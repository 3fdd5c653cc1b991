"""From a dataset to a candidate: choose, fit, calibrate, explain, evaluate. Pure but for the clock of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xgboost
from numpy.typing import NDArray

from feature_repo.errors import InputError
from training.bundle import digest_of
from training.calibration import calibrate
from training.columns import Column, Matrix, columns_of, encode_table
from training.dataset import Dataset
from training.evaluate import metrics
from training.model import Parameters, fit, margins
from training.probability import Calibration
from training.recipe import package_versions
from training.scored import Bools, Floats
from training.scorer import Scorer
from training.search import Chosen, choose
from training.shap_check import check_tables
from training.shap_tables import compile_tables

LAST_SLICE = 0.15
REFERENCE_ROWS = 300
VERIFIED_ROWS = 64


@dataclass(frozen=True)
class Fitted:
    """A calibrated model and what it says of every loan of the dataset.

    Parameters
    ----------
    matrix : ndarray of float32, shape (n, k)
        All loans in model columns.
    fitted, last : ndarray of bool, shape (n,)
        The earlier loans, and the slice before the out-of-time window on which the calibration was fitted.
    pd : ndarray of float64, shape (n,)
        Calibrated PD of every loan, the out-of-time window included; of `last` by the model that has not seen it.
    """

    columns: tuple[Column, ...]
    matrix: Matrix
    booster: xgboost.Booster
    chosen: Chosen
    calibration: Calibration
    fitted: Bools
    last: Bools
    pd: Floats


@dataclass(frozen=True)
class Candidate:
    """A fitted model with all that a bundle and a model card need.

    Parameters
    ----------
    reference : ndarray of float32, shape (m, k)
        Applicants just inside the cutoff, in model columns.
    verified : ndarray of float32, shape (v, k)
        Applicants for whom the tables were compared with the shap package, in model columns.
    pd : ndarray of float64, shape (n,)
        Calibrated PD of every row of the dataset, as `Fitted` has it.
    cutoff : float
        Highest PD that is approved.
    metrics : dict of str to float
        ``train_*`` on the earlier loans, ``oot_*`` on the out-of-time window.
    """

    booster: xgboost.Booster
    scorer: Scorer
    chosen: Chosen
    reference: Matrix
    verified: Matrix
    pd: NDArray[np.float64]
    cutoff: float
    metrics: dict[str, float]
    model_digest: str

    @property
    def model_bytes(self) -> bytes:
        """The booster as UBJSON."""
        return bytes(self.booster.save_raw("ubj"))


def fit_calibrated(
    dataset: Dataset,
    parameters: Parameters,
    *,
    seed: int,
    rounds: int | None = None,
    trials: int = 0,
    timeout: float | None = None,
    storage: Path | None = None,
) -> Fitted:
    """Choose, fit and calibrate on the loans before the out-of-time window.

    A model of the earlier loans is calibrated on the last slice, which it has not seen. The model that is kept has the
    same parameters and rounds and is fitted on all of them, since the latest loans are the likest to those to come;
    the calibration is taken over, as `sklearn.calibration.CalibratedClassifierCV` does with ``ensemble=False``.

    Nothing is chosen by loans of the out-of-time window, which are only scored.

    Parameters
    ----------
    dataset : Dataset
    parameters : Parameters
    seed : int
    rounds : int or None
        Trees, where parameters and rounds were chosen before; None chooses.
    trials, timeout, storage
        As for `training.search.choose`.

    Raises
    ------
    InputError
        If the training window is too small or has only one outcome.
    """
    columns = columns_of(dataset.specs)
    fitted, last = split(dataset)
    y = dataset.defaulted
    for part, rows in (("fitting", fitted), ("calibration", last)):
        if not (y[rows].any() and (~y[rows]).any()):
            raise InputError(f"the {part} slice of {int(rows.sum())} loans needs both outcomes: move --oot-start")
    matrix = encode_table(columns, dataset.table)
    own, outcomes = matrix[fitted], y[fitted]
    if rounds is None:
        chosen = choose(
            columns,
            own,
            outcomes,
            dataset.decided[fitted],
            parameters=parameters,
            seed=seed,
            trials=trials,
            timeout=timeout,
            storage=storage,
            # The same loans divided elsewhere are another search: what one saw may be out of time in the other.
            study=f"{dataset.digest}-{seed}-{digest_of(_search_of(dataset, parameters, columns))}",
        )
    else:
        chosen = Chosen(parameters=parameters, rounds=rounds, loss=float("nan"))
    earlier = fit(chosen.parameters, columns, own, outcomes, rounds=chosen.rounds, seed=seed)
    held_out = margins(earlier, matrix[last])
    calibration = calibrate(held_out, y[last])
    before = fitted | last
    booster = fit(chosen.parameters, columns, matrix[before], y[before], rounds=chosen.rounds, seed=seed)
    raw = margins(booster, matrix)
    raw[last] = held_out
    pd = _calibrated(calibration, raw)
    return Fitted(columns, matrix, booster, chosen, calibration, fitted, last, pd)


def _search_of(dataset: Dataset, parameters: Parameters, columns: Sequence[Column]) -> bytes:
    return repr((dataset.oot_start.isoformat(), parameters, columns, package_versions())).encode()


def explain_and_measure(dataset: Dataset, model: Fitted, cutoff: float) -> Candidate:
    """Compile the tables that explain, verify them, and measure the model on both sides of the border.

    Parameters
    ----------
    cutoff : float
        Highest PD that the policy approves; the reference population sits just inside it.

    Raises
    ------
    GateError
        If the tables do not reproduce the booster and the shap package.
    """
    oot, y, pd = dataset.is_oot, dataset.defaulted, model.pd
    reference = _reference(model, ~oot, cutoff)
    tables = compile_tables(bytes(model.booster.save_raw("json")), reference)
    before = np.flatnonzero(~oot)
    verified = model.matrix[before[:: max(1, len(before) // VERIFIED_ROWS)]]
    check_tables(tables, model.booster, verified, reference)
    fitted = model.fitted
    return Candidate(
        booster=model.booster,
        scorer=Scorer(model.columns, tables, model.calibration),
        chosen=model.chosen,
        reference=reference,
        verified=verified,
        pd=pd,
        cutoff=cutoff,
        metrics=metrics("train", pd[fitted], y[fitted], cutoff) | metrics("oot", pd[oot], y[oot], cutoff),
        model_digest=digest_of(bytes(model.booster.save_raw("ubj"))),
    )


def split(dataset: Dataset) -> tuple[Bools, Bools]:
    """Return which loans are fitted on and which only calibrated on: those decided last before the window."""
    before = ~dataset.is_oot
    decided = dataset.decided
    earlier = np.sort(decided[before])
    border = earlier[int((len(earlier) - 1) * (1 - LAST_SLICE))]
    is_last = decided >= border
    return before & ~is_last, before & is_last


def _reference(model: Fitted, before: Bools, cutoff: float) -> Matrix:
    """Return the applicants that the model itself approves and that are nearest to the cutoff, the nearest first."""
    rows = model.matrix[before]
    pd = _calibrated(model.calibration, margins(model.booster, rows))
    approved = np.flatnonzero(pd <= cutoff)
    nearest = approved[np.argsort(-pd[approved], kind="stable")][:REFERENCE_ROWS]
    return rows[nearest]


def _calibrated(calibration: Calibration, raw: Floats) -> Floats:
    pd: Floats = 1 / (1 + np.exp(-(calibration.slope * raw + calibration.intercept)))
    return pd
