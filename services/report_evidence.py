"""Gather what the report on a candidate is drawn from: rivals, prices, protected attributes, a simulator's truth."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
from feast import FeatureStore
from numpy.typing import NDArray

from feature_repo import registry
from feature_repo.errors import InputError
from feature_repo.home import Home
from services.asked_here import AskedHere
from services.economics import economics_of
from services.scoring.policy import Policy
from training.baselines import Baselines, fit_baselines
from training.champion import Candidate, Fitted
from training.dataset import Dataset, join_features
from training.evaluate import metrics, population_stability
from training.evidence import Economics, Evidence, Impacts
from training.fairness import FairnessReport, measure_fairness
from training.loans import DECIDED_HERE
from training.recipe import Recipe
from training.reporting.profit import best_cutoff
from training.scored import Bools, Floats, ScoredLoans

MOST_LOANS = 50_000  # a report is drawn from no more of each part
MOST_IMPACTS = 1_000
_ALL_WHO_ASKED = (
    "Of what was decided here all requests of the window count, approved or not; outcomes are known of the loans."
)


def best_cutoff_of(dataset: Dataset, model: Fitted, policy: Policy) -> float:
    """Return the PD up to which approving earned most on the last slice before the out-of-time window.

    Raises
    ------
    InputError
        If every cutoff loses.
    """
    rows = sample(model.last, MOST_LOANS)
    loans, economics = _scored(dataset, model.pd, policy, rows), _economics(dataset, model.pd, policy, rows)
    found = best_cutoff(loans, economics).estimate
    if not found:
        raise InputError("no cutoff earns anything on the loans before the out-of-time window: take the policy's")
    return found


def gather(
    home: Home,
    store: FeatureStore,
    dataset: Dataset,
    model: Fitted,
    candidate: Candidate,
    recipe: Recipe,
    policy: Policy,
    asked: AskedHere | None = None,
) -> tuple[Evidence, FairnessReport]:
    """Return the evidence and the fairness diagnostics of a candidate, these of all who asked, approved or not.

    The evidence's metrics are those that the candidate itself does not know: its rivals', the stability of the
    score, the fairness diagnostics, and the share of the true PD's Gini where a simulator knows it.
    """
    oot = sample(dataset.is_oot, MOST_LOANS)
    fitted, last = sample(model.fitted, MOST_LOANS), sample(model.last, MOST_LOANS)
    loans = _scored(dataset, candidate.pd, policy, oot)
    baselines = _baselines(dataset, oot, recipe.seed)
    rivals = baselines.pd
    fairness = _fairness(home, store, dataset, candidate, recipe, policy, asked)
    truth = _true_pd(home, dataset, oot)
    up_to = stable_up_to(dataset, candidate.pd, model.fitted, recipe.cutoff)
    before, later = candidate.pd[model.fitted], candidate.pd[dataset.is_oot]
    found = fairness.metrics() | {
        "oot_psi": population_stability(before[before <= up_to], later[later <= up_to]),
    }
    for name, pd in rivals.items():
        found |= {f"{name}_{key}": value for key, value in metrics("oot", pd, loans.defaulted, recipe.cutoff).items()}
    if truth is not None:
        own = metrics("oot", loans.pd, loans.defaulted, recipe.cutoff)["oot_gini"]
        known = metrics("oot", truth, loans.defaulted, recipe.cutoff)["oot_gini"]
        found |= {"oot_gini_of_true_pd": known, "oot_gini_share_of_true_pd": own / known}
    evidence = Evidence(
        facts=_facts(home, dataset, candidate, recipe, policy)
        | {f"no {name}": reason for name, reason in baselines.absent.items()}
        | {f"{name} vouched for as no leak": vouch.told() for name, vouch in recipe.vouched.items()},
        parameters={name: f"{getattr(recipe.parameters, name):g}" for name in recipe.parameters.__struct_fields__}
        | {"rounds": str(recipe.rounds), "trials": str(recipe.trials)},
        waterfall=dataset.waterfall,
        cutoff=recipe.cutoff,
        fitted=_scored(dataset, candidate.pd, policy, fitted),
        last=_scored(dataset, candidate.pd, policy, last),
        oot=loans,
        impacts=_impacts(dataset, candidate, sample(dataset.is_oot, MOST_IMPACTS)),
        last_economics=_economics(dataset, candidate.pd, policy, last),
        oot_economics=_economics(dataset, candidate.pd, policy, oot),
        rivals=rivals,
        segments=_segments(dataset, oot),
        true_pd=truth,
        metrics=found,
        highest_score=policy.score.max,
        stable_up_to=up_to,
    )
    return evidence, fairness


def stable_up_to(dataset: Dataset, pd: Floats, fitted: Bools, cutoff: float) -> float:
    """Return the PD up to which scores out of time are held against those of the loans fitted on; 1 for all.

    Of what was decided here only approvals are loans. That no PD above the cutoff is among them says nothing of who
    applies, and would be taken for a shift.

    Parameters
    ----------
    pd : ndarray of float64, shape (n,)
        By the candidate.
    fitted : ndarray of bool, shape (n,)
        Loans fitted on.
    cutoff : float
        Highest PD that is approved.
    """
    oot = dataset.is_oot
    here = oot & dataset.decided_here
    if not here.any():
        return 1.0
    up_to = min(cutoff, float(pd[here].max()))
    return up_to if (pd[fitted] <= up_to).any() and (pd[oot] <= up_to).any() else 1.0


def sample(rows: Bools, most: int) -> Bools:
    """Return at most so many of the chosen rows, evenly spread over them."""
    chosen = np.flatnonzero(rows)
    if len(chosen) <= most:
        return rows
    few = np.zeros(len(rows), dtype=bool)
    few[chosen[np.linspace(0, len(chosen) - 1, most).astype(np.intp)]] = True
    return few


def _scored(dataset: Dataset, pd: Floats, policy: Policy, rows: Bools) -> ScoredLoans:
    chosen = pd[rows]
    return ScoredLoans(
        decided=dataset.decided[rows],
        pd=chosen,
        score=np.array([policy.credit_score(one) for one in chosen.tolist()], dtype=np.int64),
        defaulted=dataset.defaulted[rows],
    )


def _economics(dataset: Dataset, pd: Floats, policy: Policy, rows: Bools) -> Economics:
    asked = dataset.table.select(["purchase_amount", "term_months"]).filter(pa.array(rows))
    amounts, terms = (asked[name].cast(pa.float64()).to_numpy() for name in asked.column_names)
    return economics_of(policy, amounts, terms, pd[rows])


def _baselines(dataset: Dataset, oot: Bools, seed: int) -> Baselines:
    before = sample(~dataset.is_oot, 4 * MOST_LOANS)  # the model that is kept has learned from these too
    rows = before | oot
    kept = np.flatnonzero(rows)
    return fit_baselines(
        dataset.specs,
        dataset.values(rows),
        fitted_rows=before[kept],
        defaulted=dataset.defaulted[kept],
        score_rows=oot[kept],
        seed=seed,
    )


def _fairness(
    home: Home,
    store: FeatureStore,
    dataset: Dataset,
    candidate: Candidate,
    recipe: Recipe,
    policy: Policy,
    asked: AskedHere | None,
) -> FairnessReport:
    """Return the diagnostics on the loans out of time; in place of those decided here stand all who asked."""
    rows = sample(dataset.is_oot & ~dataset.decided_here if asked else dataset.is_oot, MOST_LOANS)
    loans = _scored(dataset, candidate.pd, policy, rows)
    entity = dataset.table.select(["applicant_id", "event_timestamp"]).filter(pa.array(rows))
    known = np.ones(len(loans), dtype=bool)
    if asked:
        entity = pa.concat_tables([entity, asked.entity.cast(entity.schema)])
        known = np.concatenate([known, asked.outcome_known])
        loans = ScoredLoans(
            decided=np.concatenate([loans.decided, asked.decided]),
            pd=np.concatenate([loans.pd, asked.pd]),
            score=np.concatenate([loans.score, [policy.credit_score(one) for one in asked.pd.tolist()]]).astype(int),
            defaulted=np.concatenate([loans.defaulted, asked.defaulted]),
        )
    protected = _protected(home, store, entity)
    found = measure_fairness(protected, loans, recipe.cutoff, recipe.seed, known)
    return msgspec.structs.replace(found, notes=(*found.notes, _ALL_WHO_ASKED)) if asked else found


def _protected(home: Home, store: FeatureStore, entity: pa.Table) -> dict[str, NDArray[np.object_]]:
    """Return protected attributes as they were known at the decision; no frame that a model sees has any of them."""
    specs = [spec for specs in registry.table_specs(home).values() for spec in specs if spec.role == "protected"]
    if not specs:
        return {}
    joined = join_features(store, entity, [f"{spec.view}:{spec.name}" for spec in specs])
    found = {spec.name: joined[spec.name] for spec in specs}
    return {name: _objects(column) for name, column in found.items() if column.null_count < len(column)}


def _true_pd(home: Home, dataset: Dataset, rows: Bools) -> Floats | None:
    path = home.truth / "loans.parquet"
    if not path.exists():
        return None
    loans = dataset.table.select(["loan_id"]).filter(pa.array(rows))
    with duckdb.connect() as connection:
        connection.register("loans", loans.append_column("place", pa.array(np.arange(loans.num_rows))))
        found = connection.execute(
            "select true_pd from loans join read_parquet($truth) using (loan_id) order by place", {"truth": str(path)}
        ).fetchnumpy()["true_pd"]
    return np.asarray(found, dtype=np.float64) if len(found) == loans.num_rows else None


def _impacts(dataset: Dataset, candidate: Candidate, rows: Bools) -> Impacts:
    values = dataset.values(rows)
    scored = [candidate.scorer.score(dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True)]
    names = candidate.scorer.features
    return Impacts(
        values={name: values[name] for name in names},
        impacts={name: np.array([one.impacts[name] for one in scored]) for name in names},
    )


def _segments(dataset: Dataset, rows: Bools) -> dict[str, NDArray[np.object_]]:
    kinds = ("category", "flag")
    names = [spec.name for spec in dataset.specs if spec.kind in kinds or spec.name == "term_months"]
    chosen = dataset.table.select(names).filter(pa.array(rows))
    return {name: _texts(_objects(chosen[name])) for name in names}


def _texts(values: NDArray[np.object_]) -> NDArray[np.object_]:
    return np.array([None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
                     for value in values] + [None], dtype=object)[:-1]  # fmt: skip


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return np.array([*column.to_pylist(), None], dtype=object)[:-1]


def _facts(home: Home, dataset: Dataset, candidate: Candidate, recipe: Recipe, policy: Policy) -> dict[str, str]:
    months = recipe.performance_months
    tested = int(dataset.is_oot.sum())
    features: Sequence[str] = candidate.scorer.features
    return {
        "portfolio": home.state().portfolio,
        "feature service": recipe.feature_service,
        "features": str(len(features)),
        "loans decided": f"{dataset.decided.min()!s:.10} to {dataset.decided.max()!s:.10}",
        "report drawn from": f"{min(tested, MOST_LOANS):,} of {tested:,} loans out of time",
        "out of time from": f"{recipe.oot_start:%Y-%m-%d}",
        "outcomes known by": f"{recipe.as_of:%Y-%m-%d}",
        "performance window": f"{months} months" if months else "none: each outcome counts once it is observed",
        "policy": policy.version,
        "cutoff": f"PD {recipe.cutoff:.4g}, by {recipe.cutoff_rule}",
        **_decided_here(dataset, recipe),
        "seed": str(recipe.seed),
        "dataset": dataset.digest,
        "model": candidate.model_digest,
    }


def _decided_here(dataset: Dataset, recipe: Recipe) -> dict[str, str]:
    """Tell how many loans were decided here, and which of the decisions made here are none."""
    facts = {}
    if recipe.loaded_by is not None:
        facts["decided here"] = f"{dataset.waterfall[DECIDED_HERE]:,} loans"
    if dataset.left_out:
        facts["decisions left out"] = "; ".join(f"{count:,} {why}" for why, count in dataset.left_out.items())
    return facts
