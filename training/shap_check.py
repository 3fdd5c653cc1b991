"""Whether the compiled tables say what the shap package and the booster say."""

from __future__ import annotations

import numpy as np
import shap
import xgboost

from feature_repo.errors import GateError
from training.columns import Matrix
from training.model import margins
from training.reference_shap import ShapTables

IMPACT_TOLERANCE = 1e-6  # log-odds
SCORE_TOLERANCE = 1e-4  # log-odds; XGBoost adds leaves in float32


def check_tables(tables: ShapTables, booster: xgboost.Booster, rows: Matrix, reference: Matrix) -> None:
    """Compare scores with the booster and impacts with ``shap.TreeExplainer``, interventional, on n rows.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, k)
        Applicants, missing values included.
    reference : ndarray of float32, shape (m, k)
        The population that the tables were compiled against.

    Raises
    ------
    GateError
        If a score differs by more than `SCORE_TOLERANCE`, or an impact by more than `IMPACT_TOLERANCE`.
    """
    scores, impacts = tables.explain(rows)
    worst = float(np.max(np.abs(scores - margins(booster, rows))))
    if worst > SCORE_TOLERANCE:
        raise GateError(f"compiled tables differ from the booster by {worst:.2e} log-odds, more than {SCORE_TOLERANCE}")
    background = shap.maskers.Independent(reference.astype(np.float64), max_samples=len(reference))
    explainer = shap.TreeExplainer(booster, data=background, feature_perturbation="interventional")
    worst = float(np.max(np.abs(impacts - explainer.shap_values(rows))))
    if worst > IMPACT_TOLERANCE:
        raise GateError(f"compiled tables differ from shap by {worst:.2e} log-odds, more than {IMPACT_TOLERANCE}")
