-- One row per account and month end, from all that was booked up to that day and nothing later.
--
-- Month ends stop where knowledge stops. The CSV files are cut at each loan, so an account is known
-- through the day before its loan, or through its last transaction in the exact file. A month end beyond
-- both would carry an old balance over days of which we know nothing, and serve it as if it were fresh.
-- A December 1998 loan thus has its November row, which is still fresh at the end of 1998.
WITH known AS (
    SELECT
        account_id,
        opened,
        greatest(max(day.booked), max(loan.granted) - 1) AS known_until
    FROM account
    JOIN day USING (account_id)
    LEFT JOIN loan USING (account_id)
    GROUP BY ALL
),
month_end AS (
    SELECT
        account_id,
        opened,
        last_day(month) AS until,
        greatest(last_day(month) - 89, opened) AS since,
        greatest(last_day(month) - 179, opened) AS since_180d
    FROM (
        SELECT *, unnest(generate_series(date_trunc('month', opened), known_until, INTERVAL 1 MONTH))::DATE AS month
        FROM known
    )
    WHERE last_day(month) <= known_until
),
-- Each stretch of days on which the balance stood still; its days are counted within the window of 90
-- days, or fewer for a younger account. Stretches of up to 180 days ago serve the longer minimum.
stretch AS (
    SELECT
        month_end.*,
        closing,
        least(stands_until, until) - greatest(booked, since) + 1 AS days,
        stands_until >= since AS stood,
        booked >= since AS in_window,
        inflow,
        outflow,
        penalty,
        transfer_in,
        bill,
        cash,
        movements
    FROM month_end
    JOIN day ON day.account_id = month_end.account_id AND day.booked <= until AND day.stands_until >= since_180d
)
SELECT
    applicant(account_id) AS applicant_id,
    -- The last second of the month; the bank's night run knows it four hours later.
    until::TIMESTAMPTZ + INTERVAL '23:59:59' AS event_timestamp,
    until::TIMESTAMPTZ + INTERVAL '28 hours' AS created_timestamp,
    sum(closing * days) FILTER (stood)::DOUBLE / sum(days) FILTER (stood) AS balance_mean_90d,
    min(closing) FILTER (stood) AS balance_min_90d,
    min(closing) AS balance_min_180d,
    coalesce(sum(inflow) FILTER (in_window), 0) AS inflow_90d,
    coalesce(sum(outflow) FILTER (in_window), 0) AS outflow_90d,
    coalesce(sum(transfer_in) FILTER (in_window), 0) AS transfers_in_90d,
    coalesce(sum(bill) FILTER (in_window), 0) AS bills_90d,
    coalesce(sum(cash) FILTER (in_window), 0)::DOUBLE / nullif(sum(outflow) FILTER (in_window), 0) AS cash_withdrawal_share_90d,
    coalesce(sum(movements) FILTER (in_window), 0)::BIGINT AS num_transactions_90d,
    coalesce(sum(days) FILTER (stood AND closing < 0), 0) AS days_below_zero_90d,
    coalesce(sum(penalty) FILTER (in_window), 0) AS penalty_interest_90d,
    until - opened AS account_age_days
FROM stretch
GROUP BY account_id, opened, until
