"""What is kept of a training run, in MLflow and in the home: report, recipe, reference profile and bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from feast import FeatureStore

from feature_repo.contract import Contract
from feature_repo.errors import UnavailableError
from feature_repo.home import Home, write_atomically
from feature_repo.stores.compile import compile_plan
from monitoring.banding import profile_scored
from monitoring.profiles import write_profile
from services.asked_here import AskedHere, asked_here
from services.report_evidence import gather
from services.scoring.policy import Policy
from training.bundle import bundle_path, load_bundle, read_champion, write_bundle
from training.champion import Candidate, Fitted
from training.dataset import Dataset
from training.recipe import RECIPE_ARTIFACT, Recipe
from training.reporting.write import PAGE, write_report
from training.tracking import MODEL_NAME, REFERENCE_PROFILE, LoggedRun, Tracking
from training.vouching import Vouch
from validation.own_suites import guard_suite
from validation.runs import report_path

LEAST_REFERENCE = 1000  # loans that drift is measured from


@dataclass(frozen=True)
class TrainOutcome:
    """What `candor train` reports.

    Parameters
    ----------
    vouched : mapping of str to Vouch
        Features that the record says somebody vouches for.
    unneeded : tuple of str
        Features that somebody vouched for and that nothing accuses: of that nothing is recorded.
    is_new : bool
        Whether a version was registered; not if the bundle in service came out again, whose version `run` then has.
    """

    run: LoggedRun
    dataset: Dataset
    candidate: Candidate
    metrics: dict[str, float]
    bundle_digest: str
    report: Path
    vouched: Mapping[str, Vouch] = field(default_factory=dict)
    unneeded: tuple[str, ...] = ()
    is_new: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the promised object: run, version, digests, metrics."""
        return {
            "run_id": self.run.run_id,
            "version": self.run.version,
            "dataset_digest": self.dataset.digest,
            "model_digest": self.candidate.model_digest,
            "bundle_digest": self.bundle_digest,
            "metrics": self.metrics,
            "trials": len(self.candidate.chosen.trials),
            "decisions_left_out": self.dataset.left_out,
            "report": str(self.report),
            "vouched": msgspec.to_builtins(self.vouched),
            "unneeded": self.unneeded,
        }


def record_run(
    home: Home,
    store: FeatureStore,
    contract: Contract,
    folder: Path,
    dataset: Dataset,
    model: Fitted,
    candidate: Candidate,
    recipe: Recipe,
    policy: Policy,
    policy_text: bytes,
    *,
    only_new: bool = False,
) -> TrainOutcome:
    """Write report, recipe, reference profile and bundle, and log the run with its registered version.

    Parameters
    ----------
    folder : Path
        An empty one to write in, which goes away.
    only_new : bool
        Whether to register no version if the very bundle in service came out again.
    """
    artifacts, bundle = folder / "artifacts", folder / "bundle"
    artifacts.mkdir()
    asked = asked_here(home, dataset, candidate, recipe)
    evidence, fairness = gather(home, store, dataset, model, candidate, recipe, policy, asked)
    measured = candidate.metrics | dict(evidence.metrics)
    write_report(artifacts, evidence, fairness)
    (artifacts / RECIPE_ARTIFACT).write_bytes(msgspec.json.format(msgspec.json.encode(recipe)))
    (artifacts / "features.json").write_bytes(msgspec.json.format(msgspec.json.encode(dataset.specs)))
    (artifacts / "validation.html").write_bytes(report_path(home, "training_frame").read_bytes())
    write_profile(profile_scored(reference_frame(dataset, candidate, asked)), artifacts / REFERENCE_PROFILE)
    guard = guard_suite(home, contract.features)
    bundle_digest = bundle_of(candidate, bundle, dataset.digest, contract, store.project, policy_text, guard)
    standing = _in_service(home, bundle_digest) if only_new else ""
    run = Tracking(home).log_training(
        params=_params(recipe),
        metrics=measured | {f"loans_{key.replace(' ', '_')}": n for key, n in dataset.waterfall.items()},
        tags={
            "portfolio": home.state().portfolio,
            "dataset_digest": dataset.digest,
            "model_digest": candidate.model_digest,
            "bundle_digest": bundle_digest,
        }
        | {f"sound.{feature}": vouch.reason for feature, vouch in recipe.vouched.items()}
        | {f"sound_by.{feature}": vouch.by for feature, vouch in recipe.vouched.items()},
        frame=dataset.frame,
        digest=dataset.digest,
        booster=candidate.booster,
        sample=pd.DataFrame(candidate.reference[:5], columns=[c.name for c in candidate.scorer.columns]),
        artifacts=artifacts,
        bundle=bundle,
        trials=candidate.chosen.trials,
        standing=standing,
    )
    report = home.reports / "models" / run.run_id / PAGE
    for path in sorted(artifacts.iterdir()):
        if path.name != REFERENCE_PROFILE:
            write_atomically(report.with_name(path.name), path.read_bytes())
    return TrainOutcome(run, dataset, candidate, measured, bundle_digest, report, recipe.vouched, is_new=not standing)


def bundle_of(
    candidate: Candidate,
    folder: Path,
    dataset_digest: str,
    contract: Contract,
    project: str,
    policy: bytes,
    guard: bytes | None,
) -> str:
    """Write the bundle of a candidate into a new folder and return its digest; see `training.bundle.write_bundle`.

    Parameters
    ----------
    project : str
        Feast project, which is part of the keys in Redis.
    """
    return write_bundle(
        folder,
        name=MODEL_NAME,
        dataset_digest=dataset_digest,
        booster=candidate.model_bytes,
        contract=contract,
        plan=compile_plan(contract, project=project),
        policy=policy,
        scorer=candidate.scorer,
        reference=candidate.reference,
        verified=candidate.verified,
        guard=guard,
    )


def _in_service(home: Home, digest: str) -> str:
    """Return the champion's version if that is its bundle and it is whole: a damaged one has to be promoted again."""
    try:
        champion = read_champion(home)
        return champion.version if load_bundle(bundle_path(home, champion.bundle)).digest == digest else ""
    except UnavailableError:
        return ""


def _params(recipe: Recipe) -> dict[str, Any]:
    """Return what to filter and compare runs by; the recipe itself is an artifact."""
    told: dict[str, Any] = msgspec.to_builtins(recipe)
    for left_out in ("query", "packages", "dataset_digest", "model_digest", "contract_digest", "sound", "set_aside"):
        del told[left_out]
    parameters: dict[str, Any] = told.pop("parameters")
    return parameters | told


def reference_frame(dataset: Dataset, candidate: Candidate, asked: AskedHere | None = None) -> pd.DataFrame:
    """Return what monitoring compares with: model features, PD and outcome of the newest loans.

    They are the loans out of time, on which the model was found good and from which it did not learn; where these are
    fewer than a thousand, the newest thousand. Loans that it learned from go back for years: against them a portfolio
    that only grows older, with more prior loans each month, would drift from the first day on. In place of those
    decided here stand all who asked, for monitoring looks at all: against approvals alone, whoever is declined is a
    shift.
    """
    rows = dataset.is_oot.copy()
    rows[np.argsort(dataset.decided, kind="stable")[-LEAST_REFERENCE:]] = True
    names = [spec.name for spec in dataset.specs]
    if asked is None:
        frame = dataset.frame.loc[rows, names].copy()
        return frame.assign(default_probability=candidate.pd[rows], defaulted=dataset.defaulted[rows])
    elsewhere = np.flatnonzero(rows & ~dataset.decided_here)[:: asked.step]
    loans = dataset.frame.loc[elsewhere, names].astype(object)
    frame = pd.concat([loans, asked.features[names].astype(object)], ignore_index=True).infer_objects()
    outcomes: list[bool | None] = dataset.defaulted[elsewhere].tolist()
    outcomes += [bool(bad) if known else None for bad, known in zip(asked.defaulted, asked.outcome_known, strict=True)]
    return frame.assign(
        default_probability=np.concatenate([candidate.pd[elsewhere], asked.pd]),
        defaulted=pd.array(outcomes, dtype="boolean"),
    )
