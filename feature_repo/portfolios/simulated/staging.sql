-- Every instalment that has fallen due, with the payment that met it, if one is known.
CREATE TEMP TABLE instalment AS
WITH due AS (
    SELECT
        loan_id,
        applicant_id,
        term_months,
        instalment AS amount,
        decided_at,
        unnest(generate_series(1, term_months)) AS instalment_number,
        -- The same day of a later month, or its last day.
        (decided_at::DATE + to_months(instalment_number::INTEGER))::DATE AS due_on
    FROM raw.loans
),
-- A payment that was sent twice is one payment, known from the first time on.
payment AS (
    SELECT loan_id, instalment_number, paid_at::DATE AS paid_on, min(received_at) AS known_at
    FROM raw.payments
    GROUP BY ALL
)
SELECT due.*, paid_on, known_at
FROM due
LEFT JOIN payment USING (loan_id, instalment_number)
WHERE due_on <= getvariable('as_of')::DATE;
