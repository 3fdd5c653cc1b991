-- A loan is in default if an instalment is 90 days past due within six months of the decision. Good and
-- bad loans are both known at the end of those months: were a default taken as soon as it showed, the youngest
-- loans with an outcome would all be bad ones.
WITH outcome AS (
    SELECT
        loan_id,
        bool_or(coalesce(paid_on, DATE '9999-12-31') > due_on + 90 AND due_on + 90 <= decided_at::DATE + INTERVAL 6 MONTH) AS defaulted
    FROM instalment
    GROUP BY loan_id
)
SELECT
    loan_id,
    applicant_id,
    decided_at AS event_timestamp,
    decided_at AS created_timestamp,
    purchase_amount,
    term_months,
    loan_purpose,
    CASE WHEN observed_at <= getvariable('as_of') THEN defaulted END AS defaulted,
    CASE WHEN observed_at <= getvariable('as_of') THEN observed_at END AS outcome_observed_at
FROM (SELECT *, (decided_at::DATE + INTERVAL 6 MONTH + INTERVAL 1 DAY)::TIMESTAMPTZ AS observed_at FROM raw.loans)
LEFT JOIN outcome USING (loan_id)
-- Loans before the first reports are history only: nothing was known of these applicants then.
WHERE decided_at >= (SELECT date_trunc('month', min(reported_at)) + INTERVAL 1 MONTH FROM raw.bureau_reports)
