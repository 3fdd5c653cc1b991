"""A small lender for tests: its contract, a model simple enough to check by hand, and a store to fill."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from feature_repo.contract import Contract, FeatureSpec, ViewSpec
from feature_repo.home import Home
from feature_repo.stores.compile import compile_plan
from services import embedded
from services.scoring.model import ScoringModel, assemble
from services.scoring.policy import DEFAULT_POLICY
from services.scoring.schemas import ModelName
from training.bundle import Champion, write_champion
from training.probability import probability
from training.scorer import Scored

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DERIVED = ("instalment_to_income", "purchase_to_income", "debt_to_income_after", "instalment_to_inflow")


def _spec(name: str, view: str, kind: Any, reason: str = "", **more: Any) -> FeatureSpec:
    text = reason or f"{name} is bad"
    return FeatureSpec(name=name, view=view, kind=kind, description=name, unit="unit", reason=text, **more)


CONTRACT = Contract(
    service="credit_decision_v1",
    views=(
        ViewSpec(
            name="applicant_profile",
            table="applicant_profile",
            ttl_seconds=400 * 86400,
            missing_reason="No applicant details were available",
            features=(
                _spec("annual_income", "applicant_profile", "number", low=0, high=1e7),
                _spec("home_ownership", "applicant_profile", "category", categories=("OWN", "RENT")),
                _spec("of_legal_age", "applicant_profile", "flag", "Not of legal age", role="policy"),
            ),
        ),
        ViewSpec(
            name="credit_bureau",
            table="credit_bureau",
            ttl_seconds=120 * 86400,
            missing_reason="No recent credit bureau report was available",
            features=(
                _spec("debt_to_income_ratio", "credit_bureau", "number", low=0, high=10),
                _spec("credit_utilization", "credit_bureau", "number", low=0, high=5),
                _spec("num_inquiries", "credit_bureau", "count", low=0, high=100),
                _spec("months_since_delinquency", "credit_bureau", "number", null_means="never delinquent", low=0),
            ),
        ),
        ViewSpec(
            name="account_cashflow",
            table="account_cashflow",
            ttl_seconds=62 * 86400,
            missing_reason="No recent bank account information was available",
            features=(_spec("inflow_90d", "account_cashflow", "number", low=0, high=1e9),),
        ),
    ),
    request=(
        _spec("purchase_amount", "request", "number", low=0.01, high=1e7),
        _spec("term_months", "request", "count", low=1, high=120),
        _spec("loan_purpose", "request", "category", categories=("car", "other")),
    ),
    on_demand=tuple(_spec(name, "affordability", "number", low=0) for name in DERIVED),
)
GOOD: dict[str, dict[str, Any]] = {
    "applicant_profile": {"annual_income": 60000.0, "home_ownership": "OWN", "of_legal_age": True},
    "credit_bureau": {
        "debt_to_income_ratio": 0.1,
        "credit_utilization": 0.2,
        "num_inquiries": 0,
        "months_since_delinquency": None,
    },
    "account_cashflow": {"inflow_90d": 15000.0},
}


@dataclass
class LinearScorer:
    """Log-odds = base + sum of weight x value; a missing value brings its own amount."""

    base: float = -3.5
    weights: dict[str, float] = field(
        default_factory=lambda: {"debt_to_income_ratio": 4.0, "num_inquiries": 0.3, "instalment_to_income": 2.0}
    )
    missing: dict[str, float] = field(default_factory=dict)
    width: float = 0.02
    features: tuple[str, ...] = tuple(spec.name for spec in CONTRACT.model_features)

    def score(self, values: Mapping[str, Any]) -> Scored:
        impacts = {
            name: self.missing.get(name, 0.0)
            if values[name] is None
            else self.weights.get(name, 0.0) * (0.0 if isinstance(values[name], str) else float(values[name]))
            for name in self.features
        }
        pd = probability(self.base + sum(impacts.values()))
        return Scored(pd, (max(pd - self.width / 2, 0.0), min(pd + self.width / 2, 1.0)), self.base, impacts)


def a_model(scorer: LinearScorer | None = None, policy: bytes | None = None, version: str = "3") -> ScoringModel:
    name = ModelName("candor-pd", version, CONTRACT.service, f"sha256:{version}")
    plan = compile_plan(CONTRACT, project="candor")
    return assemble(name, CONTRACT, plan, policy or DEFAULT_POLICY.read_bytes(), scorer or LinearScorer())


@contextmanager
def a_home(root: Path) -> Iterator[Home]:
    """A home with its own Redis on a free port and a clock that stands at NOW."""
    home = Home(root=root, as_of_override=NOW)
    embedded.ensure(home)
    try:
        yield home
    finally:
        embedded.stop(home)


def promote(home: Home) -> None:
    """Make the service look for a model; which one, the test's own `load` says."""
    write_champion(home, Champion(bundle="sha256:0", version="3", run_id="r"))


def connect(home: Home) -> "redis.Redis[bytes]":
    return redis.Redis(host="127.0.0.1", port=int(home.redis.rpartition(":")[2]))


def put(home: Home, applicant_id: str, rows: Mapping[str, Mapping[str, Any]] = GOOD, age: timedelta = DAY) -> None:
    """Store an applicant as Feast would; tests/unit/feature_repo holds this to Feast itself."""
    plan = compile_plan(CONTRACT, project="candor")
    fields: dict[bytes, bytes] = {}
    for view in plan.views:
        if view.name in rows:
            fields[view.timestamp_field.encode()] = b"\x08" + varint(int((NOW - age).timestamp()))
            for slot in view.slots:
                fields[bytes.fromhex(slot.hash)] = encode(rows[view.name].get(slot.name))
    with connect(home) as client:
        client.delete(plan.key(applicant_id))
        client.hset(plan.key(applicant_id), mapping=fields)


def encode(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x38" + varint(value)
    if isinstance(value, int):
        return b"\x20" + varint(value & (1 << 64) - 1)
    if isinstance(value, float):
        return b"\x29" + struct.pack("<d", value)
    return b"\x12" + varint(len(value.encode())) + value.encode()


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
