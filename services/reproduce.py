"""A recorded training run made again: its dataset for a fair comparison, its model to show that the record is whole."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
from feast import FeatureStore

from feature_repo import registry
from feature_repo.contract import Contract
from feature_repo.errors import GateError
from feature_repo.home import Home
from services import embedded
from services.scoring.policy import load_policy
from training.champion import explain_and_measure, fit_calibrated
from training.dataset import Dataset, build_dataset
from training.recipe import RECIPE_ARTIFACT, Recipe, package_versions
from training.tracking import Tracking


@dataclass(frozen=True)
class Reproduction:
    """What came out when a recorded run was made again.

    Parameters
    ----------
    differs : tuple of str
        What is not as recorded; empty if all is, bit for bit.
    """

    run_id: str
    recipe: Recipe
    dataset_digest: str
    model_digest: str
    differs: tuple[str, ...]


def rebuild(home: Home, run_id: str, store: FeatureStore | None = None) -> Dataset:
    """Build the very dataset of a recorded run.

    Raises
    ------
    InputError
        If there is no such run.
    GateError
        If the sources no longer give it.
    """
    recipe, dataset = _again(home, run_id, store)
    if dataset.digest != recipe.dataset_digest:
        raise GateError(
            f"the sources no longer give the dataset of run {run_id} ({dataset.digest[:19]}, recorded "
            f"{recipe.dataset_digest[:19]}): train again"
        )
    return dataset


def reproduce(home: Home, run_id: str, store: FeatureStore | None = None) -> Reproduction:
    """Make the model of a recorded run again from its record, and compare dataset and model bit for bit.

    Raises
    ------
    InputError
        If there is no such run.
    """
    recipe, dataset = _again(home, run_id, store)
    model = fit_calibrated(dataset, recipe.parameters, seed=recipe.seed, rounds=recipe.rounds)
    candidate = explain_and_measure(dataset, model, recipe.cutoff)
    now = package_versions()
    differs = [
        name
        for name, recorded, found in (
            ("dataset", recipe.dataset_digest, dataset.digest),
            ("model", recipe.model_digest, candidate.model_digest),
        )
        if recorded != found
    ]
    if differs:
        differs += [f"{name} {was}, now {now[name]}" for name, was in recipe.packages.items() if now.get(name) != was]
    return Reproduction(run_id, recipe, dataset.digest, candidate.model_digest, tuple(differs))


def _again(home: Home, run_id: str, store: FeatureStore | None) -> tuple[Recipe, Dataset]:
    """Return the recipe of a run, and the dataset that it gives today under the run's contract and policy."""
    tracking = Tracking(home)
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        recipe = msgspec.json.decode(tracking.download(run_id, RECIPE_ARTIFACT, Path(folder)).read_bytes(), type=Recipe)
        bundle = tracking.download_bundle(run_id, Path(folder))
        contract = msgspec.json.decode((bundle / "contract.json").read_bytes(), type=Contract)
        policy = load_policy((bundle / "policy.toml").read_bytes())
    embedded.ensure(home)
    dataset = build_dataset(
        store or registry.apply(home),
        contract,
        home.source_glob("loans"),
        as_of=recipe.as_of,
        oot_start=recipe.oot_start,
        performance_months=recipe.performance_months,
        policy=policy.knock_out,
    )
    return recipe, dataset
