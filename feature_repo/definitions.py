"""The product in one file: what is known of an applicant, what it means and what we say about it.

Feast scans this file only. To add a feature, add one `feature(...)` line to its view and the
column to the portfolio's SQL: validation, training, serving, reasons and monitoring follow from it.
Features with one and the same `reason` are one group: a declined applicant is told it once, with their impacts summed.
"""

import inspect
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, FileSource, PushSource, RequestSource, ValueType
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.home import Home
from feature_repo.on_demand import affordability as affordability_udf
from feature_repo.schema import derived_tags, feature, plain

home = Home.resolve()

applicant = Entity(
    name="applicant",
    join_keys=["applicant_id"],
    value_type=ValueType.STRING,
    description="A person who asks to pay a purchase in instalments",
)


def source(table: str) -> FileSource:
    """Return the Parquet source of one table, true at event time and known at created time."""
    return FileSource(
        name=table,
        path=home.source_glob(table),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


def events(batch_source: FileSource) -> PushSource:
    """Return the way by which a single event gets into a source and its online view at once."""
    return PushSource(name=f"{batch_source.name}_events", batch_source=batch_source)


profiles, bureau_reports, cashflows, repayments = (
    source(table) for table in ("applicant_profile", "credit_bureau", "account_cashflow", "repayment_history")
)
profile_events, bureau_events, cashflow_events, repayment_events = (
    events(table) for table in (profiles, bureau_reports, cashflows, repayments)
)

applicant_profile = FeatureView(
    name="applicant_profile",
    entities=[applicant],
    ttl=timedelta(days=400),
    source=profile_events,
    tags={"missing_reason": "No confirmed applicant details were available"},
    schema=[
        feature("annual_income", "number", "Stated or verified gross income", unit="currency/year",
                low=0, high=1e7, risk="decreases", reason="Income is low for the amount of credit requested"),
        feature("employment_years", "number", "Time with the current employer", unit="years",
                low=0, high=60, reason="Length of employment"),
        feature("home_ownership", "category", "Housing situation", unit="category",
                categories=("OWN", "MORTGAGE", "RENT", "OTHER"), reason="Housing situation"),
        feature("income_verified", "flag", "Income was checked against a document or a payroll", unit="flag",
                reason="Income verification status"),
        feature("of_legal_age", "flag", "Old enough to enter into a credit contract", unit="flag",
                role="policy", reason="Applicant is not of legal age to enter into a credit contract"),
    ],
)

credit_bureau = FeatureView(
    name="credit_bureau",
    entities=[applicant],
    ttl=timedelta(days=120),
    source=bureau_events,
    tags={"missing_reason": "No recent credit bureau report was available"},
    schema=[
        feature("debt_to_income_ratio", "number", "Monthly debt payments over monthly gross income", unit="ratio",
                low=0, high=10, risk="increases", reason="Debt payments are high against income"),
        feature("credit_utilization", "number", "Revolving balance over revolving limit", unit="ratio",
                low=0, high=5, risk="increases", reason="Revolving balances are high against credit limits"),
        feature("num_credit_lines", "count", "Open credit lines", unit="lines",
                low=0, high=200, reason="Number of credit lines"),
        feature("total_credit_lines", "count", "Credit lines ever opened", unit="lines",
                low=0, high=500, reason="Number of credit lines"),
        feature("num_credit_inquiries", "count", "Credit inquiries in the last six months", unit="inquiries",
                low=0, high=100, risk="increases", reason="Many recent credit inquiries"),
        feature("months_since_last_delinquency", "number", "Time since the last payment 30 or more days late",
                unit="months", low=0, high=600, risk="decreases", null_means="never delinquent",
                reason="Late payments on credit obligations"),
        feature("num_public_records", "count", "Derogatory public records", unit="records",
                low=0, high=100, risk="increases", reason="Derogatory public record"),
        feature("revolving_balance", "number", "Balance owed on revolving accounts", unit="currency",
                low=0, high=1e8, reason="Amount owed on revolving accounts"),
        feature("credit_history_months", "number", "Age of the oldest credit line", unit="months",
                low=0, high=1200, risk="decreases", reason="Length of credit history is short"),
    ],
)

account_cashflow = FeatureView(
    name="account_cashflow",
    entities=[applicant],
    ttl=timedelta(days=62),
    source=cashflow_events,
    tags={"missing_reason": "No recent bank account information was available"},
    schema=[
        feature("balance_mean_90d", "number", "Mean balance over 90 days", unit="currency",
                low=-1e7, high=1e9, risk="decreases", reason="Account balances are low"),
        feature("balance_min_90d", "number", "Lowest balance in 90 days", unit="currency",
                low=-1e7, high=1e9, risk="decreases", reason="Account balances are low"),
        feature("balance_min_180d", "number", "Lowest balance in 180 days", unit="currency",
                low=-1e7, high=1e9, risk="decreases", reason="Account balances are low"),
        feature("inflow_90d", "number", "Money received in 90 days", unit="currency",
                low=0, high=1e9, reason="Money received in the account"),
        feature("outflow_90d", "number", "Money paid out in 90 days", unit="currency",
                low=0, high=1e9, reason="Pattern of payments from the account"),
        feature("transfers_in_90d", "number", "Wages, pensions and other transfers in 90 days", unit="currency",
                low=0, high=1e9, reason="Money received in the account"),
        feature("bills_90d", "number", "Bills and standing orders paid in 90 days", unit="currency",
                low=0, high=1e9, reason="Pattern of payments from the account"),
        feature("cash_withdrawal_share_90d", "number", "Cash withdrawn over money paid out in 90 days", unit="ratio",
                low=0, high=1, risk="increases", reason="Much of the money paid out is withdrawn in cash"),
        feature("num_transactions_90d", "count", "Bookings on the account in 90 days", unit="bookings",
                low=0, high=100000, reason="Account activity"),
        feature("days_below_zero_90d", "count", "Days overdrawn in 90 days", unit="days",
                low=0, high=90, risk="increases", reason="Account was overdrawn"),
        feature("penalty_interest_90d", "number", "Penalty interest charged in 90 days", unit="currency",
                low=0, high=1e7, risk="increases", reason="Account was overdrawn"),
        feature("account_age_days", "number", "Time since the account was opened", unit="days",
                low=0, high=40000, risk="decreases", reason="Bank account was opened recently"),
    ],
)

repayment_history = FeatureView(
    name="repayment_history",
    entities=[applicant],
    ttl=timedelta(days=180),
    source=repayment_events,
    tags={"missing_reason": "No repayment history was available"},
    schema=[
        feature("num_late_payments", "count", "Payments 30 or more days late in the last 24 months", unit="payments",
                low=0, high=240, risk="increases", reason="Late payments on credit obligations"),
        feature("num_prior_loans", "count", "Loans taken with us before", unit="loans",
                low=0, high=500, reason="Number of loans taken with us before"),
        feature("on_time_payment_ratio", "number", "Share of our instalments paid on time", unit="ratio",
                low=0, high=1, risk="decreases", reason="Instalments of loans with us were not paid on time"),
        feature("max_days_past_due", "count", "Longest delay of an instalment in the last 12 months", unit="days",
                low=0, high=3650, risk="increases", reason="Instalments of loans with us were not paid on time"),
        feature("outstanding_balance", "number", "Balance owed on our running loans", unit="currency",
                low=0, high=1e8, reason="Balance owed on running loans"),
    ],
)

protected_attributes = FeatureView(
    name="protected_attributes",
    entities=[applicant],
    ttl=timedelta(days=400),
    source=profiles,
    online=False,
    description="For fairness measurement only; no decision service includes it",
    schema=[
        feature("age", "count", "Age of the applicant", unit="years", role="protected", low=0, high=130),
        feature("sex", "category", "Sex of the applicant", unit="category", role="protected",
                categories=("female", "male", "other")),
    ],
)

purchase_request = RequestSource(
    name="purchase_request",
    schema=[
        feature("purchase_amount", "number", "Price of the purchase to be financed", unit="currency",
                low=0.01, high=1e7, risk="increases", reason="Amount of credit requested is high"),
        feature("term_months", "count", "Number of monthly payments", unit="months",
                low=1, high=120, risk="increases", reason="Repayment term requested is long"),
        feature("loan_purpose", "category", "What the money is for", unit="category",
                reason="Purpose of the purchase",
                categories=("appliances", "car", "credit_card", "debt_consolidation", "education", "electronics",
                            "furniture", "home_improvement", "house", "major_purchase", "medical", "moving",
                            "renewable_energy", "small_business", "travel", "wedding", "other")),
    ],
)

affordability_fields = [
    feature("instalment_to_income", "number", "Instalment at a reference rate over monthly income", unit="ratio",
            low=0, risk="increases", reason="Income is low for the amount of credit requested"),
    feature("purchase_to_income", "number", "Purchase over annual income", unit="ratio",
            low=0, risk="increases", reason="Income is low for the amount of credit requested"),
    feature("debt_to_income_after", "number", "Debt-to-income ratio with the new instalment", unit="ratio",
            low=0, risk="increases", reason="Debt payments are high against income"),
    feature("instalment_to_inflow", "number", "Instalment over monthly account inflow", unit="ratio",
            low=0, risk="increases", reason="Instalment is high against money received in the account"),
]

affordability = OnDemandFeatureView(
    name="affordability",
    sources=[
        purchase_request,
        applicant_profile[["annual_income"]],
        credit_bureau[["debt_to_income_ratio"]],
        account_cashflow[["inflow_90d"]],
    ],
    schema=plain(affordability_fields),
    udf=affordability_udf,
    udf_string=inspect.getsource(affordability_udf),
    mode="python",
    description="The purchase against what the applicant earns, owes and receives",
    tags=derived_tags("affordability", affordability_fields),
)

credit_decision_v1 = FeatureService(
    name="credit_decision_v1",
    features=[applicant_profile, credit_bureau, account_cashflow, repayment_history, affordability],
    description="Everything that a credit decision may read",
)
