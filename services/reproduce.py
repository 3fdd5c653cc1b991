"""A recorded training run made again: its dataset for a fair comparison, its bundle to show that the record holds."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
from feast import FeatureStore

from feature_repo import registry
from feature_repo.contract import Contract
from feature_repo.errors import GateError, InputError, UnavailableError
from feature_repo.home import Home
from services import decided_loans, embedded
from services.cutoff import rounded
from services.report_evidence import best_cutoff_of
from services.run_record import bundle_of
from services.scoring.policy import Policy, load_policy
from training.bundle import MANIFEST, Manifest, digest_of
from training.champion import Fitted, explain_and_measure, fit_calibrated
from training.dataset import Dataset, build_dataset
from training.loans import DecidedHere
from training.recipe import METHOD, RECIPE_ARTIFACT, Recipe, package_versions, read_recipe
from training.tracking import Tracking

# What a bundle holds that was computed; contract, policy and guard are what it was computed with.
_COMPUTED = {
    "model.ubj": "model",
    "columns.json": "columns",
    "calibration.json": "calibration",
    "explainer.npz": "explainer tables",
    "reference.npz": "reference population",
    "verified.npz": "verified applicants",
    "plan.json": "feature plan",
}


@dataclass(frozen=True)
class Reproduction:
    """What came out when a recorded run was made again.

    Parameters
    ----------
    bundle_digest : str
        That of the run's record.
    differs : tuple of str
        What is not as recorded; empty if all is, bit for bit.
    """

    run_id: str
    recipe: Recipe
    dataset_digest: str
    model_digest: str
    bundle_digest: str
    differs: tuple[str, ...]


@dataclass(frozen=True)
class _Record:
    """What is kept of a run: its recipe, and the bundle that came out, with what that was made with.

    Parameters
    ----------
    digest : str
        Of the bundle, as MLflow was told; empty in runs from before it was.
    damaged : tuple of str
        Files of the bundle that are not what its manifest, or the run, says.
    """

    recipe: Recipe
    manifest: Manifest
    contract: Contract
    policy: bytes
    guard: bytes | None
    digest: str
    damaged: tuple[str, ...]


def rebuild(home: Home, run_id: str, store: FeatureStore | None = None) -> Dataset:
    """Build the very dataset of a recorded run.

    Raises
    ------
    InputError
        If there is no such run, or the feature service has lost one of its features.
    GateError
        If the sources no longer give it.
    """
    record = _read(home, run_id)
    dataset = _dataset(home, record, store or _store(home))
    if dataset.digest != record.recipe.dataset_digest:
        raise GateError(
            f"the sources no longer give the dataset of run {run_id} ({dataset.digest[:19]}, recorded "
            f"{record.recipe.dataset_digest[:19]}): train again"
        )
    return dataset


def reproduce(home: Home, run_id: str, store: FeatureStore | None = None) -> Reproduction:
    """Make a recorded run again from its record, and compare all that a decision depends on, bit for bit.

    That is the dataset, the cutoff, and every file of the bundle that was computed. What it was computed with, which
    is the contract, the policy and the guard, is taken from the record, whose checksums are verified up to the digest
    that MLflow was told.

    Raises
    ------
    InputError
        If there is no such run, or the feature service has lost one of its features.
    """
    store = store or _store(home)
    record = _read(home, run_id)
    recipe = record.recipe
    dataset = _dataset(home, record, store)
    model = fit_calibrated(dataset, recipe.parameters, seed=recipe.seed, rounds=recipe.rounds)
    candidate = explain_and_measure(dataset, model, recipe.cutoff)
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        bundle = Path(folder) / "bundle"
        bundle_of(candidate, bundle, dataset.digest, record.contract, store.project, record.policy, record.guard)
        made = msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest)
    differs = [f"{name} in the record, which is damaged" for name in record.damaged]
    if dataset.digest != recipe.dataset_digest:
        differs.append("dataset")
    for file, name in _COMPUTED.items():
        is_another_model = file == "model.ubj" and candidate.model_digest != recipe.model_digest
        if is_another_model or made.files[file] != record.manifest.files.get(file):
            differs.append(name)
    if _cutoff(dataset, model, recipe, load_policy(record.policy)) != recipe.cutoff:
        differs.append("cutoff")
    if differs:
        now = package_versions()
        if recipe.method != METHOD:
            differs.append(f"the way in which models are made, number {recipe.method} then and {METHOD} now")
        differs += [f"{name} {was}, now {now[name]}" for name, was in recipe.packages.items() if now.get(name) != was]
    return Reproduction(run_id, recipe, dataset.digest, candidate.model_digest, record.digest, tuple(differs))


def _cutoff(dataset: Dataset, model: Fitted, recipe: Recipe, policy: Policy) -> float | None:
    if recipe.cutoff_rule == "policy":
        return policy.approve_max_pd
    try:
        return rounded(best_cutoff_of(dataset, model, policy))
    except InputError:  # none of another dataset's earns anything
        return None


def _store(home: Home) -> FeatureStore:
    embedded.ensure(home)
    return registry.apply(home)


def _read(home: Home, run_id: str) -> _Record:
    """Return the record of a run, and which of its parts are not what they were.

    Raises
    ------
    UnavailableError
        If MLflow does not answer, or what it holds cannot be read.
    """
    tracking = Tracking(home)
    digest = tracking.tags(run_id).get("bundle_digest", "")
    recipe = read_recipe(tracking, run_id)
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        bundle = tracking.download_bundle(run_id, Path(folder))
        try:
            raw = (bundle / MANIFEST).read_bytes()
            manifest = msgspec.json.decode(raw, type=Manifest)
            files = {file: (bundle / file).read_bytes() for file in manifest.files}
            contract = msgspec.json.decode(files["contract.json"], type=Contract)
            load_policy(files["policy.toml"])
        except (OSError, KeyError, msgspec.MsgspecError, InputError) as error:
            raise UnavailableError(f"the record of run {run_id} cannot be read: {error}") from None
    damaged = [file for file, data in files.items() if hashlib.sha256(data).hexdigest() != manifest.files[file]]
    if digest and digest_of(raw) != digest:
        damaged.append(MANIFEST)
    if recipe.contract_digest and digest_of(files["contract.json"]) != recipe.contract_digest:
        damaged.append(RECIPE_ARTIFACT)
    guard = files.get("guard.json")
    return _Record(recipe, manifest, contract, files["policy.toml"], guard, digest, tuple(damaged))


def _dataset(home: Home, record: _Record, store: FeatureStore) -> Dataset:
    """Return the dataset that a recipe gives today under its run's contract and policy."""
    recipe, request = record.recipe, record.contract.request
    decided = DecidedHere()
    if recipe.loaded_by is not None:
        instants = {"as_of": recipe.as_of, "loaded_by": recipe.loaded_by}
        decided = decided_loans.read(home, request, **instants, months=recipe.performance_months)
        decided = decided_loans.without(decided, recipe.set_aside)
    return build_dataset(
        store,
        record.contract,
        home.source_glob("loans"),
        as_of=recipe.as_of,
        oot_start=recipe.oot_start,
        performance_months=recipe.performance_months,
        policy=load_policy(record.policy).knock_out,
        decided=decided,
        observed_until=recipe.observed_until,
    )
