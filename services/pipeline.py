"""From point-in-time data to a decision: train, record, score. Only services may know every layer."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pandas as pd
from feast import FeatureStore

from feature_repo import registry
from feature_repo.errors import GateError, InputError
from feature_repo.home import Home
from feature_repo.stores.compile import compile_plan
from feature_repo.stores.online import OnlineReader
from monitoring.profiles import profile_frame, write_profile
from services import embedded
from services.scoring.once import decide_once
from services.scoring.policy import DEFAULT_POLICY, load_policy
from training.bundle import Bundle, bundle_path, load_bundle, read_champion, write_bundle
from training.champion import Candidate, train_candidate
from training.dataset import Dataset, build_dataset
from training.model import Parameters
from training.report import write_report
from training.tracking import MODEL_NAME, REFERENCE_PROFILE, LoggedRun, Tracking
from validation.gates import check_frame, require_passed

SERVICE = "credit_decision_v1"
DEFAULT_SEED = 7
LATEST = 250


@dataclass(frozen=True)
class TrainOutcome:
    """What `candor train` reports."""

    run: LoggedRun
    dataset: Dataset
    candidate: Candidate

    def to_json(self) -> dict[str, Any]:
        """Return the promised object: run, version, digests, metrics."""
        return {
            "run_id": self.run.run_id,
            "version": self.run.version,
            "dataset_digest": self.dataset.digest,
            "model_digest": self.candidate.model_digest,
            "metrics": self.candidate.metrics,
        }


def train(
    home: Home,
    *,
    as_of: datetime | None = None,
    oot_start: datetime | None = None,
    seed: int = DEFAULT_SEED,
    parameters: Parameters | None = None,
    store: FeatureStore | None = None,
) -> TrainOutcome:
    """Build the point-in-time dataset, gate it, fit, and record run, reference profile and bundle.

    Parameters
    ----------
    home : Home
    as_of : datetime or None
        UTC; outcomes observed by then count. None means the home's outcome clock.
    oot_start : datetime or None
        UTC; None means the portfolio's.
    seed : int
    parameters : Parameters or None
        None takes the stated fixed ones.
    store : FeatureStore or None
        The applied store, where a step before has it open.
    """
    chosen = parameters or Parameters()
    start = oot_start or home.state().oot_start
    if start is None:
        raise InputError("this home has no default out-of-time start: give --oot-start")
    embedded.ensure(home)
    store = store or registry.apply(home)
    contract = registry.read_contract(store, SERVICE)
    dataset = build_dataset(
        store, contract, home.source_glob("loans"), as_of=as_of or home.outcomes_now(), oot_start=start
    )
    require_passed([check_frame(home, dataset.frame, contract.features)])
    policy = DEFAULT_POLICY.read_bytes()
    candidate = train_candidate(dataset, chosen, cutoff=load_policy(policy).approve_max_pd, seed=seed)
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        artifacts, bundle = Path(folder, "artifacts"), Path(folder, "bundle")
        write_report(artifacts, dataset, candidate)
        write_profile(profile_frame(reference_frame(dataset, candidate)), artifacts / REFERENCE_PROFILE)
        write_bundle(
            bundle,
            name=MODEL_NAME,
            dataset_digest=dataset.digest,
            booster=candidate.model_bytes,
            contract=contract,
            plan=compile_plan(contract, project=store.project),
            policy=policy,
            scorer=candidate.scorer,
            reference=candidate.reference,
            verified=candidate.verified,
        )
        run = Tracking(home).log_training(
            params=msgspec.to_builtins(chosen)
            | {
                "seed": seed,
                "oot_start": start.isoformat(),
                "as_of": dataset.as_of.isoformat(),
                "feature_service": SERVICE,
            },
            metrics=candidate.metrics | {f"loans_{key.replace(' ', '_')}": n for key, n in dataset.waterfall.items()},
            tags={
                "portfolio": home.state().portfolio,
                "dataset_digest": dataset.digest,
                "model_digest": candidate.model_digest,
            },
            frame=dataset.frame,
            digest=dataset.digest,
            booster=candidate.booster,
            sample=pd.DataFrame(candidate.reference[:5], columns=[c.name for c in candidate.scorer.columns]),
            artifacts=artifacts,
            bundle=bundle,
        )
    return TrainOutcome(run, dataset, candidate)


def score_latest(home: Home) -> bytes:
    """Decide on the latest loan's applicant whose views are all PRESENT, and return the logged response.

    Views that hold no feature of the model, because the portfolio does not fill them, do not count.

    Raises
    ------
    GateError
        If none of the latest applicants is complete.
    """
    champion = read_champion(home)
    bundle = load_bundle(bundle_path(home, champion.bundle))
    requests = latest_requests(home, [spec.name for spec in bundle.contract.request])
    complete = asyncio.run(_first_complete(home, bundle, requests))
    return decide_once(home, complete)


def latest_requests(home: Home, inputs: list[str]) -> list[dict[str, Any]]:
    """Return what the latest applicants asked for, the newest first, nulls left out."""
    connection = duckdb.connect()
    rows = connection.execute(
        f"""select applicant_id, {", ".join(inputs)} from read_parquet($loans)
            where event_timestamp <= $now order by event_timestamp desc, loan_id limit {LATEST}""",
        {"loans": home.source_glob("loans"), "now": home.now()},
    )
    names = ["applicant_id", *inputs]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows.fetchall()
    ]


async def _first_complete(home: Home, bundle: Bundle, requests: list[dict[str, Any]]) -> dict[str, Any]:
    used = {spec.view for spec in bundle.contract.features if spec.name in bundle.scorer.features}
    reader = OnlineReader(bundle.plan, home.redis)
    try:
        found = await reader.read_many([request["applicant_id"] for request in requests], home.now())
    finally:
        await reader.close()
    for request, stored in zip(requests, found, strict=True):
        if all(view.status == "PRESENT" for name, view in stored.views.items() if name in used):
            return request
    raise GateError(f"none of the latest {len(requests)} applicants has complete features; check the views' TTL")


def reference_frame(dataset: Dataset, candidate: Candidate) -> pd.DataFrame:
    """Return what monitoring compares with: model features, PD and outcome before the out-of-time window."""
    rows = ~dataset.is_oot
    frame = dataset.frame.loc[rows, [spec.name for spec in dataset.specs]].copy()
    return frame.assign(default_probability=candidate.pd[rows], defaulted=dataset.defaulted[rows])
