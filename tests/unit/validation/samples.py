"""A small credit bureau table and loans table, sound until a test spoils them with one SQL query."""

from __future__ import annotations

from datetime import UTC, datetime

from feature_repo.contract import FeatureSpec, Kind

AS_OF = datetime(2026, 6, 30, tzinfo=UTC)
ROWS = 400

BUREAU = f"""
    SELECT 'APP_' || lpad((i % 100)::VARCHAR, 6, '0') AS applicant_id,
           TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL 1 DAY * (i // 100) AS event_timestamp,
           TIMESTAMPTZ '2026-01-03 00:00:00+00' + INTERVAL 1 DAY * (i // 100) AS created_timestamp,
           CASE WHEN i % 9 = 0 THEN NULL ELSE (i % 50) / 10.0 END::DOUBLE AS utilization,
           CASE WHEN i % 7 = 0 THEN NULL ELSE i % 12 END::BIGINT AS inquiries,
           CASE WHEN i % 5 = 0 THEN NULL ELSE i % 2 = 0 END AS verified,
           CASE WHEN i % 6 = 0 THEN NULL ELSE ['OWN', 'RENT'][1 + i % 2] END AS home,
           NULL::DOUBLE AS never_filled
    FROM range({ROWS}) AS t(i)
"""
LOANS = f"""
    SELECT 'L' || i AS loan_id, 'APP_' || i AS applicant_id,
           TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL 1 HOUR * i AS event_timestamp,
           TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL 1 HOUR * i AS created_timestamp,
           (100 + i)::DOUBLE AS purchase_amount, (6 + i % 30)::BIGINT AS term_months, 'car' AS loan_purpose,
           CASE WHEN i % 3 = 0 THEN NULL ELSE i % 2 = 0 END AS defaulted,
           CASE WHEN i % 3 = 0 THEN NULL
                ELSE TIMESTAMPTZ '2026-03-01 00:00:00+00' + INTERVAL 1 HOUR * i END AS outcome_observed_at
    FROM range({ROWS}) AS t(i)
"""


def spec(
    name: str, kind: Kind, *, low: float | None = None, high: float | None = None, categories: tuple[str, ...] = ()
) -> FeatureSpec:
    return FeatureSpec(
        name=name,
        view="credit_bureau",
        kind=kind,
        description=name,
        unit="ratio",
        low=low,
        high=high,
        categories=categories,
    )


BUREAU_SPECS = (
    spec("utilization", "number", low=0, high=5),
    spec("inquiries", "count", low=0, high=100),
    spec("verified", "flag"),
    spec("home", "category", categories=("OWN", "RENT", "OTHER")),
    spec("never_filled", "number", low=0),
)
LOAN_SPECS = (
    spec("purchase_amount", "number", low=0.01, high=1e7),
    spec("term_months", "count", low=1, high=120),
    spec("loan_purpose", "category", categories=("car", "other")),
)
