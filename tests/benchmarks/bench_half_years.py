"""LendingClub by half-year: our model against plain XGBoost and a scorecard, each trained on what was decided before.

``python -m tests.benchmarks.bench_half_years --trials 20``

For each half-year from 2010 to 2011: trained on the loans decided before it, tested on those decided in it. Ours keeps
the last 15 % of the earlier loans for calibration; the baselines are fitted on all of them, plain XGBoost with the
fixed `training.baselines.PLAIN_PARAMETERS` and rounds: depth 4, eta 0.1, 100 rounds, no constraints.
Asked is that the difference in AUC to plain XGBoost, by a paired bootstrap, is nowhere below nought beyond noise. Needs
the loans beside the project (``../shared/data``) and skips without them.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from feast import FeatureStore

from feature_repo import registry
from feature_repo.contract import Contract
from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from services import embedded
from services.scoring.policy import DEFAULT_POLICY, load_policy
from services.train import DEFAULT_SEED, SERVICE
from training.baselines import PLAIN_XGBOOST, SCORECARD, fit_baselines
from training.champion import fit_calibrated
from training.dataset import Dataset, build_dataset
from training.evaluate import expected_calibration_error
from training.model import Parameters
from training.uncertainty import auc_interval, paired_auc_bootstrap

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data" / "lendingclub"
BORDERS = [datetime(year, month, 1, tzinfo=UTC) for year in (2010, 2011) for month in (1, 7)]
END = datetime(2012, 1, 1, tzinfo=UTC)


def run(trials: int = 0) -> list[dict[str, Any]]:
    """Return for each half-year the AUCs, and ours less plain XGBoost's with its 95 % interval."""
    if not REAL_DATA.is_dir():
        return [{"name": f"skipped: {REAL_DATA.name} is not beside the project"}]
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        home = Home(root=Path(folder))
        try:
            ingest(home, "lendingclub", REAL_DATA)
            embedded.ensure(home)
            store = registry.apply(home)
            contract = registry.read_contract(store, SERVICE)
            windows = zip(BORDERS, [*BORDERS[1:], END], strict=True)
            return [half_year(until(home, store, contract, *window), trials) for window in windows]
        finally:
            embedded.stop(home)


def until(home: Home, store: FeatureStore, contract: Contract, start: datetime, end: datetime) -> Dataset:
    """Return the loans decided before `end`, those from `start` on being out of time."""
    policy = load_policy(DEFAULT_POLICY.read_bytes())
    loans = home.source_glob("loans")
    as_of = home.outcomes_now()
    dataset = build_dataset(store, contract, loans, as_of=as_of, oot_start=start, policy=policy.knock_out)
    return replace(dataset, table=dataset.table.filter(dataset.decided < np.datetime64(end.replace(tzinfo=None))))


def half_year(dataset: Dataset, trials: int) -> dict[str, Any]:
    """Train on what was decided before the window, and compare on the window."""
    oot, start = dataset.is_oot, dataset.oot_start
    y = dataset.defaulted[oot]
    model = fit_calibrated(dataset, Parameters(), seed=DEFAULT_SEED, trials=trials)
    rivals = fit_baselines(
        dataset.specs,
        dataset.values(np.ones(len(dataset), bool)),
        fitted_rows=~oot,
        score_rows=oot,
        defaulted=dataset.defaulted,
        seed=DEFAULT_SEED,
        which=(PLAIN_XGBOOST, SCORECARD),
    ).pd
    ours, plain = model.pd[oot], rivals[PLAIN_XGBOOST]
    difference = paired_auc_bootstrap(y, ours, plain, seed=DEFAULT_SEED)
    return {
        "name": f"{start.year}H{1 + start.month // 7}",
        "trials": trials,
        "trained": int((~oot).sum()),
        "tested": len(y),
        "bads": int(y.sum()),
        "AUC": auc_interval(y, ours).estimate,
        "plain XGBoost": auc_interval(y, plain).estimate,
        "scorecard": auc_interval(y, rivals[SCORECARD]).estimate,
        "difference": f"{difference.estimate:+.4f}",
        "interval": f"{difference.low:+.4f} to {difference.high:+.4f}",
        "worse": "yes" if difference.high < 0 else "no",
        "ECE": expected_calibration_error(ours, y),
    }


def main() -> None:
    """Parse the command line."""
    from tests.benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=0)
    print(table(run(parser.parse_args().trials)))


if __name__ == "__main__":
    main()
