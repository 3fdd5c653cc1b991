"""What a training run was made from: with the same sources, all that is needed to make the model again."""

from __future__ import annotations

import tempfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from training.model import Parameters
from training.vouching import Vouch

if TYPE_CHECKING:
    from training.tracking import Tracking

RECIPE_ARTIFACT = "recipe.json"
CutoffRule = Literal["policy", "profit"]
METHOD = 3
"""Raised when a recipe comes to another model than before: 1 kept the model of the earlier loans, 2 refits on all, 3
leaves a default of a decision a default whatever is paid later."""
_PACKAGES = ("candor", "duckdb", "feast", "numpy", "optuna", "pyarrow", "scikit-learn", "scipy", "xgboost")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one training run.

    Parameters
    ----------
    feature_service : str
    as_of, oot_start : datetime
        Until when outcomes were known, and where the out-of-time window starts, UTC.
    performance_months : int
        Months after a decision in which a default counts; 0 counts every observed outcome as it is.
    seed : int
    trials : int
        How many hyperparameters were tried; 0 if none was searched.
    parameters : Parameters
        Those of the fit.
    rounds : int
        Trees.
    cutoff_rule : {"policy", "profit"}
        Where the cutoff came from.
    cutoff : float
        Highest PD that is approved.
    dataset_digest, model_digest : str
        What came out.
    query : str
        The SQL that chose the loans.
    packages : dict of str to str
        Versions of what computed.
    contract_digest : str
        Of the feature contract, as the bundle has it; empty in records from before it was kept.
    sound : dict of str to Vouch or str
        Features that somebody vouches for though they seem to leak; in older records the reason only.
    loaded_by : datetime or None
        Wall clock, UTC: outcomes of the home's own decisions counted if they were loaded by then. None where there were
        none.
    set_aside : dict of str to str
        IDs of own decisions that the gate refused, each with the rules that it breaks.
    observed_until : datetime or None
        Until when the loans table said what became of loans, UTC, if that was before `as_of`; None in records from
        before it was kept.
    method : int
        `METHOD` of the program that trained.
    """

    feature_service: str
    as_of: datetime
    oot_start: datetime
    performance_months: int
    seed: int
    trials: int
    parameters: Parameters
    rounds: int
    cutoff_rule: CutoffRule
    cutoff: float
    dataset_digest: str
    model_digest: str
    query: str
    packages: dict[str, str]
    contract_digest: str = ""
    sound: dict[str, Vouch | str] = {}
    loaded_by: datetime | None = None
    set_aside: dict[str, str] = {}
    observed_until: datetime | None = None
    method: int = 1

    @property
    def vouched(self) -> dict[str, Vouch]:
        """`sound`, whatever its age."""
        return {name: Vouch(reason=said) if isinstance(said, str) else said for name, said in self.sound.items()}


def read_recipe(tracking: Tracking, run_id: str) -> Recipe:
    """Return the recipe of a recorded run.

    Raises
    ------
    UnavailableError
        If MLflow does not answer; `NotKept` if it has no such record, or one that is damaged.
    """
    from training.tracking import NotKept  # MLflow, which whoever has a tracking has imported, and others need not

    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        kept = tracking.download(run_id, RECIPE_ARTIFACT, Path(folder))
        try:
            return msgspec.json.decode(kept.read_bytes(), type=Recipe)
        except msgspec.MsgspecError as error:
            raise NotKept(f"the record of run {run_id} cannot be read: {error}") from None


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on."""
    return {name: version(name) for name in _PACKAGES}
