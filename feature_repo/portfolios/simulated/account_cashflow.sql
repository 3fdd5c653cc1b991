-- The account information service already reports over 90 and 180 days; only the account's age is left to compute.
SELECT
    applicant_id,
    closed_at AS event_timestamp,
    received_at AS created_timestamp,
    balance_mean AS balance_mean_90d,
    balance_min AS balance_min_90d,
    balance_min_180d,
    inflow AS inflow_90d,
    outflow AS outflow_90d,
    transfers_in AS transfers_in_90d,
    bills AS bills_90d,
    bookings AS num_transactions_90d,
    days_below_zero AS days_below_zero_90d,
    penalty_interest AS penalty_interest_90d,
    closed_at::DATE - opened_on AS account_age_days
FROM raw.account_reports
