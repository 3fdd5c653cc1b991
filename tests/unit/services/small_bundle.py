"""A bundle of real trees over the small lender's contract, made in a moment and put in service."""

import numpy as np
import xgboost

from feature_repo.home import Home
from feature_repo.stores.compile import compile_plan
from services.scoring.policy import DEFAULT_POLICY
from tests.unit.services.harness import CONTRACT
from training.bundle import Champion, install, write_bundle, write_champion
from training.columns import columns_of
from training.probability import Calibration
from training.scorer import Scorer
from training.shap_tables import compile_tables


def make(home: Home, policy: bytes | None = None, seed: int = 0, guard: bytes | None = None) -> str:
    """Put a small model of real trees among the home's bundles and return its digest."""
    columns = columns_of(CONTRACT.model_features)
    rows = np.random.default_rng(seed).uniform(size=(200, len(columns))).astype(np.float32)
    debt = [column.name for column in columns].index("debt_to_income_ratio")
    data = xgboost.DMatrix(rows, rows[:, debt] > 0.5)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 2, "nthread": 1}, data, 5)
    calibration = Calibration(slope=1.0, intercept=-3.0, grid=(-1.0, 1.0), lower=(0.01, 0.02), upper=(0.3, 0.4))
    digest = write_bundle(
        home.root / "candidate",
        name="candor-pd",
        dataset_digest="sha256:0",
        booster=bytes(booster.save_raw("ubj")),
        contract=CONTRACT,
        plan=compile_plan(CONTRACT, project="candor"),
        policy=policy or DEFAULT_POLICY.read_bytes(),
        scorer=Scorer(columns, compile_tables(bytes(booster.save_raw("json")), rows[:50]), calibration),
        reference=rows[:50],
        verified=rows[50:60],
        guard=guard,
    )
    install(home, home.root / "candidate")
    return digest


def promote(home: Home, policy: bytes | None = None, seed: int = 0, version: str = "7") -> str:
    """Put it in service too."""
    digest = make(home, policy, seed)
    write_champion(home, Champion(bundle=digest, version=version, run_id="r"))
    return digest
