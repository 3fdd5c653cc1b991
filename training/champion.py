"""From a dataset to a candidate: fit, calibrate, explain, evaluate. Pure but for the clock of the machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from feature_repo.errors import InputError
from training.bundle import digest_of
from training.calibration import calibrate
from training.columns import Matrix, columns_of, encode
from training.dataset import Dataset
from training.evaluate import metrics
from training.model import Parameters, fit, margins
from training.scorer import Scorer
from training.shap_check import check_tables
from training.shap_tables import compile_tables

LAST_SLICE = 0.15
REFERENCE_ROWS = 300
VERIFIED_ROWS = 64


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
        Calibrated PD of every row of the dataset, the out-of-time window included.
    metrics : dict of str to float
        ``train_*`` on the rows fitted on, ``oot_*`` on the out-of-time window.
    """

    booster: xgboost.Booster
    scorer: Scorer
    reference: Matrix
    verified: Matrix
    pd: NDArray[np.float64]
    metrics: dict[str, float]
    model_digest: str

    @property
    def model_bytes(self) -> bytes:
        """The booster as UBJSON."""
        return bytes(self.booster.save_raw("ubj"))


def train_candidate(dataset: Dataset, parameters: Parameters, *, cutoff: float, seed: int) -> Candidate:
    """Fit on the earlier loans, calibrate on the last slice before the out-of-time window, then report.

    Rows of the out-of-time window are scored once, at the end; nothing is chosen by them.

    Parameters
    ----------
    dataset : Dataset
    parameters : Parameters
    cutoff : float
        Highest PD that the policy approves; the reference population sits just inside it.
    seed : int

    Raises
    ------
    InputError
        If the training window is too small or has only one outcome.
    GateError
        If the tables do not reproduce the booster and the shap package.
    """
    columns = columns_of(dataset.specs)
    oot = dataset.is_oot
    fitted, last = _split(dataset, oot)
    y = dataset.defaulted
    for part, rows in (("fitting", fitted), ("calibration", last)):
        if not (y[rows].any() and (~y[rows]).any()):
            raise InputError(f"the {part} slice of {int(rows.sum())} loans needs both outcomes: move --oot-start")
    matrix = encode(columns, dataset.values(np.ones(len(y), dtype=bool)))
    booster = fit(parameters, columns, matrix[fitted], y[fitted], seed)
    raw = margins(booster, matrix)
    calibration = calibrate(raw[last], y[last])
    pd = 1 / (1 + np.exp(-(calibration.slope * raw + calibration.intercept)))
    reference = _reference(matrix[~oot], pd[~oot], cutoff)
    tables = compile_tables(bytes(booster.save_raw("json")), reference)
    verified = matrix[np.flatnonzero(~oot)[:: max(1, int((~oot).sum()) // VERIFIED_ROWS)]]
    check_tables(tables, booster, verified, reference)
    return Candidate(
        booster=booster,
        scorer=Scorer(columns, tables, calibration),
        reference=reference,
        verified=verified,
        pd=pd,
        metrics=metrics("train", pd[fitted], y[fitted], cutoff) | metrics("oot", pd[oot], y[oot], cutoff),
        model_digest=digest_of(bytes(booster.save_raw("ubj"))),
    )


def _split(dataset: Dataset, oot: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Split the loans before the out-of-time window by decision time."""
    decided = dataset.frame["event_timestamp"]
    border = decided[~oot].quantile(1 - LAST_SLICE, interpolation="lower")
    is_last = (decided >= border).to_numpy(dtype=bool)
    return ~oot & ~is_last, ~oot & is_last


def _reference(matrix: Matrix, pd: NDArray[np.float64], cutoff: float) -> Matrix:
    """Return the approved applicants nearest to the cutoff, best score first."""
    approved = np.flatnonzero(pd <= cutoff)
    nearest = approved[np.argsort(-pd[approved], kind="stable")][:REFERENCE_ROWS]
    return matrix[nearest]
