"""A training run from point-in-time data to a registered version with its bundle and report."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec
from feast import FeatureStore

from feature_repo import registry
from feature_repo.errors import InputError
from feature_repo.home import Home
from services import decided_loans, embedded, intake
from services.cutoff import with_cutoff
from services.report_evidence import best_cutoff_of, sample
from services.run_record import TrainOutcome, record_run, reference_frame
from services.scoring.policy import DEFAULT_POLICY, load_policy
from services.turn import only_one
from training.bundle import digest_of
from training.champion import explain_and_measure, fit_calibrated
from training.dataset import build_dataset
from training.leakage import check_leakage, require_no_leak
from training.loans import DecidedHere
from training.model import Parameters
from training.promotion_record import now, signed
from training.recipe import METHOD, CutoffRule, Recipe, package_versions
from training.tracking import Tracking
from training.vouching import Vouch, to_record
from validation.gates import check_frame, require_passed

__all__ = ["DEFAULT_SEED", "SERVICE", "TrainOutcome", "reference_frame", "require_known", "train"]
SERVICE = "credit_decision_v1"
DEFAULT_SEED = 7
STUDY = "search.db"  # of the home
MOST_CHECKED = 100_000  # loans that the leakage check looks at


def train(
    home: Home,
    *,
    as_of: datetime | None = None,
    oot_start: datetime | None = None,
    performance_months: int | None = None,
    seed: int = DEFAULT_SEED,
    parameters: Parameters | None = None,
    trials: int = 0,
    timeout: float | None = None,
    cutoff_rule: CutoffRule = "policy",
    sound: Mapping[str, Vouch] | None = None,
    with_decided: bool = True,
    store: FeatureStore | None = None,
    only_new: bool = False,
) -> TrainOutcome:
    """Build the point-in-time dataset, gate it, choose and fit, and record run, report, reference profile and bundle.

    Parameters
    ----------
    home : Home
    as_of : datetime or None
        UTC; outcomes observed by then count. None means the home's outcome clock.
    oot_start : datetime or None
        UTC; None means the portfolio's.
    performance_months : int or None
        Months after a decision in which a default counts; None means the portfolio's.
    seed : int
    parameters : Parameters or None
        Where the search starts, and all there is without trials; None takes the stated fixed ones.
    trials : int
        How many sets of hyperparameters to try; 0 searches nothing.
    timeout : float or None
        Seconds after which no trial begins.
    cutoff_rule : {"policy", "profit"}
        Whether the bundle's cutoff is the policy's, or the one of most profit on the last slice before the window.
    sound : mapping of str to Vouch, or None
        Features vouched for though the leakage check accuses them; `training.vouching.to_record` says which count.
    with_decided : bool
        Whether loans that were decided here count beside the loans table.
    store : FeatureStore or None
        The applied store, where a step before has it open.
    only_new : bool
        As for `services.run_record.record_run`.

    Raises
    ------
    InputError
        If there is nothing to learn from.
    GateError
        If a source table or the frame fails its gate, a feature leaks the outcome, or the explainer's tables do not say
        what the model does.
    UnavailableError
        If another search is under way in this home, or the study cannot be kept.
    """
    began, as_of = now(), require_known(home, as_of)
    state = home.state()
    start = oot_start or state.oot_start
    if start is None:
        raise InputError("this home has no default out-of-time start: give --oot-start")
    months = state.performance_months if performance_months is None else performance_months
    Tracking(home).check()
    intake.require_gated(home)
    embedded.ensure(home)
    store = store or registry.apply(home)
    contract = registry.read_contract(store, SERVICE)
    names, sound = {spec.name for spec in contract.model_features}, sound or {}
    if unknown := {name for name, vouch in sound.items() if not vouch.run_id} - names:
        raise InputError(f"--sound: {', '.join(sorted(unknown))} is no feature that a model may use")
    policy_text = DEFAULT_POLICY.read_bytes()
    policy = load_policy(policy_text)
    # Held from before the first work for it: a search is one study in one file.
    with _searching(home) if trials else nullcontext():
        decided = DecidedHere()
        if with_decided:
            decided = decided_loans.read(home, contract.request, as_of=as_of, loaded_by=began, months=months)
            decided = decided_loans.checked(home, decided, contract.request, as_of)
        observed_until = home.portfolio_observed_until()
        dataset = build_dataset(
            store,
            contract,
            home.source_glob("loans"),
            as_of=as_of,
            oot_start=start,
            performance_months=months,
            policy=policy.knock_out,
            decided=decided,
            observed_until=observed_until,
        )
        require_passed([check_frame(home, dataset.frame, contract.features)])
        before = sample(~dataset.is_oot, MOST_CHECKED)
        leaks = check_leakage(dataset.specs, dataset.values(before), dataset.defaulted[before], seed=seed)
        require_no_leak(leaks, sound)
        vouched = {name: vouch for name, vouch in to_record(leaks, sound).items() if name in names}
        model = fit_calibrated(
            dataset,
            parameters or Parameters(),
            seed=seed,
            trials=trials,
            timeout=timeout,
            storage=home.root / STUDY if trials else None,
        )
    if cutoff_rule == "profit":
        policy_text = with_cutoff(policy_text, best_cutoff_of(dataset, model, policy))
        policy = load_policy(policy_text)
    candidate = explain_and_measure(dataset, model, policy.approve_max_pd)
    recipe = Recipe(
        feature_service=SERVICE,
        as_of=dataset.as_of,
        oot_start=start,
        performance_months=months,
        seed=seed,
        trials=len(candidate.chosen.trials),
        parameters=candidate.chosen.parameters,
        rounds=candidate.chosen.rounds,
        cutoff_rule=cutoff_rule,
        cutoff=candidate.cutoff,
        dataset_digest=dataset.digest,
        model_digest=candidate.model_digest,
        query=dataset.query,
        contract_digest=digest_of(msgspec.json.encode(contract)),
        sound=dict(vouched),
        loaded_by=began if decided.loans is not None else None,
        set_aside=decided.set_aside,
        observed_until=observed_until,
        method=METHOD,
        packages=package_versions(),
    )
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        outcome = record_run(
            home,
            store,
            contract,
            Path(folder),
            dataset,
            model,
            candidate,
            recipe,
            policy,
            policy_text,
            only_new=only_new,
        )
    return replace(outcome, unneeded=tuple(sorted(name for name in sound if name not in vouched)))


def require_known(home: Home, as_of: datetime | None) -> datetime:
    """Return the instant by which outcomes count, the home's if none is given.

    Raises
    ------
    InputError
        If it is beyond the home's clock: nobody knows what will be observed by then, and a loan without a default so
        far would pass for a good one.
    """
    clock = home.outcomes_now()
    if as_of is not None and as_of > clock:
        raise InputError(
            f"--as-of {as_of:%Y-%m-%d %H:%M} is beyond {clock:%Y-%m-%d %H:%M} UTC, until when outcomes are known here"
        )
    return as_of or clock


def _searching(home: Home) -> AbstractContextManager[None]:
    return only_one(home.root / f".{STUDY}.lock", "a search", signed("", "")[0], instead=", or give --trials 0")
