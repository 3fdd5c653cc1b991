"""The tables of the decision log."""

import sqlalchemy as sa

metadata = sa.MetaData()
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("decision_id", sa.String(36), primary_key=True),
    sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
    sa.Column("applicant_id", sa.String(128), nullable=False, index=True),
    sa.Column("bundle", sa.String(71), nullable=False),
    sa.Column("model_version", sa.String(64), nullable=False),
    sa.Column("policy_version", sa.String(64), nullable=False),
    sa.Column("candor_version", sa.String(64), nullable=False),
    sa.Column("arm", sa.String(16), nullable=False),
    sa.Column("recommendation", sa.String(16), nullable=False),
    sa.Column("pd", sa.Float(53), nullable=False),
    sa.Column("score", sa.Integer, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("client", sa.String(128), primary_key=True),
    sa.Column("idempotency_key", sa.String(255), primary_key=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("decision_id", sa.String(36), nullable=False),
)
outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("decision_id", sa.String(36), primary_key=True),
    sa.Column("observed_at", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
)
