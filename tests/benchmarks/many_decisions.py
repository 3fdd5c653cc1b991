"""Logs of many made-up decisions of 25 columns, spread over time, for benchmarks of what reads the log."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from feature_repo.stores.stored import StoredView
from monitoring.decision_log import DecisionLog, Entry
from monitoring.decision_record import DecisionRecord, Source

VIEWS = {
    "applicant_profile": ["annual_income", "employment_years", "home_ownership", "income_verified"],
    "credit_bureau": ["debt_to_income_ratio", "credit_utilization", "num_credit_lines", "num_credit_inquiries",
                      "months_since_last_delinquency", "revolving_balance"],
    "account_cashflow": ["balance_mean_90d", "inflow_90d", "outflow_90d", "days_below_zero_90d"],
    "repayment_history": ["num_late_payments", "on_time_payment_ratio", "outstanding_balance"],
    "request": ["purchase_amount", "term_months", "loan_purpose"],
    "affordability": ["instalment_to_income", "purchase_to_income"],
}  # fmt: skip
NAMES = [name for names in VIEWS.values() for name in names]
COUNTS = {name for name in NAMES if name.startswith("num_")} | {"days_below_zero_90d", "term_months"}
CHOICES = {
    "home_ownership": ["OWN", "RENT", "MORTGAGE"],
    "loan_purpose": ["furniture", "electronics", "medical", "travel"],
    "income_verified": [True, False],
}
_TOGETHER = 2000


def inputs(rng: np.random.Generator, rows: int, moved: float = 0.0) -> dict[str, np.ndarray[Any, Any]]:
    """Return 22 features and a PD; three features are moved by as many standard deviations."""
    columns: dict[str, np.ndarray[Any, Any]] = {}
    for name in NAMES:
        shift = moved if name in ("annual_income", "credit_utilization", "inflow_90d") else 0.0
        if name in CHOICES:
            columns[name] = rng.choice(CHOICES[name], rows)
        elif name in COUNTS:
            columns[name] = rng.poisson(3, rows)
        else:
            columns[name] = np.exp(3 + 0.5 * rng.normal(shift, 1, rows))
    columns["months_since_last_delinquency"][rng.random(rows) < 0.3] = np.nan
    columns["default_probability"] = rng.beta(1.5, 12, rows)
    return columns


def fill(log: DecisionLog, rows: int, start: datetime, over: timedelta, seed: int = 1, moved: float = 0.0) -> None:
    """Log decisions evenly over a time; one in ten is decided by a challenger, and three features may have moved."""
    rng = np.random.default_rng(seed)
    for first in range(0, rows, _TOGETHER):
        count = min(_TOGETHER, rows - first)
        columns = {name: column.tolist() for name, column in inputs(rng, count, moved).items()}
        entries = [
            Entry.of(_record(first + place, start + over * ((first + place) / rows), place, columns))
            for place in range(count)
        ]
        assert not any(log.append_all(entries))


def _record(number: int, at: datetime, place: int, columns: dict[str, list[Any]]) -> DecisionRecord:
    values = {name: column[place] for name, column in columns.items()}
    values = {name: None if value != value else value for name, value in values.items()}
    pd = values.pop("default_probability")
    stored = {view: {name: values[name] for name in names} for view, names in VIEWS.items()}
    seen = {"status": "PRESENT", "event_timestamp": at, "age_seconds": 86400}
    return DecisionRecord(
        decision_id=f"{int(at.timestamp() * 1000):012x}{number:020x}",
        decided_at=at,
        as_of=at,
        applicant_id=f"APP_{number % 50000:06d}",
        bundle="sha256:" + "0" * 64,
        model_version="4" if number % 10 == 0 else "3",
        recommendation="APPROVED" if pd <= 0.2 else "MANUAL_REVIEW" if pd <= 0.22 else "DECLINED",
        pd=pd,
        score=round(700 - 200 * pd),
        request={"applicant_id": "APP", "purchase_amount": values["purchase_amount"]},
        features={
            view: Source(None if view in ("request", "affordability") else at, found) for view, found in stored.items()
        },
        views={view: StoredView("PRESENT", at, 86400, found) for view, found in list(stored.items())[:4]},
        impacts={name: 0.0123456789012345 for name in NAMES},
        reference_log_odds=-1.5,
        guard={"passed": True, "violations": []},
        output={
            "explanation": [
                {"feature": name, "value": values[name], "impact": 0.0123, "source": "s"} for name in NAMES[:4]
            ],
            "freshness": dict.fromkeys(VIEWS, seen),
            "recommended_terms": {"approved": True, "amount": 3500.0, "term_months": 12, "apr": 8.99, "fee": 0.0},
        },
        policy_version="1",
        candor_version="0",
        arm="challenger" if number % 10 == 0 else "champion",
    )
