-- One row per customer and month end, from what the night run four hours later knew: a payment that was
-- reported after it was still missing then. Guests have no customer account to which loans are joined.
-- A customer without a loan yet has zeros, not nulls: that there were none is known.
WITH month_end AS (
    SELECT
        last_day(month::DATE) AS day,
        (last_day(month::DATE) - INTERVAL 12 MONTH)::DATE AS year_ago,
        (last_day(month::DATE) - INTERVAL 24 MONTH)::DATE AS two_years_ago,
        last_day(month::DATE)::TIMESTAMPTZ + INTERVAL '23:59:59' AS event_timestamp,
        last_day(month::DATE)::TIMESTAMPTZ + INTERVAL '28 hours' AS created_timestamp
    FROM (
        SELECT unnest(generate_series(date_trunc('month', min(reported_at)), getvariable('as_of'), INTERVAL 1 MONTH)) AS month
        FROM raw.bureau_reports
    )
    WHERE last_day(month::DATE)::TIMESTAMPTZ + INTERVAL '28 hours' <= getvariable('as_of')
),
-- Each instalment as it stood at each month end after it fell due.
standing AS (
    SELECT
        applicant_id,
        day,
        year_ago,
        two_years_ago,
        due_on,
        amount,
        CASE WHEN known_at <= created_timestamp THEN paid_on END AS paid_by,
        greatest(coalesce(paid_by, day) - due_on, 0) AS days_late
    FROM instalment
    JOIN month_end ON due_on <= day
),
repaid AS (
    SELECT
        applicant_id,
        day,
        count(*) FILTER (days_late >= 30 AND due_on > two_years_ago) AS num_late_payments,
        count(*) FILTER (days_late = 0) / count(*) AS on_time_payment_ratio,
        -- A delay belongs to the last twelve months if it still runs or ended in them.
        max(days_late) FILTER (paid_by IS NULL OR paid_by > year_ago) AS max_days_past_due,
        sum(amount) FILTER (paid_by IS NOT NULL) AS repaid_amount
    FROM standing
    GROUP BY applicant_id, day
),
taken AS (
    SELECT applicant_id, day, count(*) AS num_prior_loans, sum(instalment * term_months) AS payable
    FROM raw.loans
    JOIN month_end ON decided_at::DATE <= day
    GROUP BY applicant_id, day
)
SELECT
    applicant_id,
    event_timestamp,
    created_timestamp,
    coalesce(num_late_payments, 0) AS num_late_payments,
    coalesce(num_prior_loans, 0) AS num_prior_loans,
    -- Null until an instalment has fallen due: nobody can yet be on time.
    on_time_payment_ratio,
    coalesce(max_days_past_due, 0) AS max_days_past_due,
    coalesce(payable, 0) - coalesce(repaid_amount, 0) AS outstanding_balance
FROM raw.applicants
CROSS JOIN month_end
LEFT JOIN repaid USING (applicant_id, day)
LEFT JOIN taken USING (applicant_id, day)
WHERE NOT guest
