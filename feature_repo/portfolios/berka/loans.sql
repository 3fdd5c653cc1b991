SELECT
    'BERKA_' || loan_id AS loan_id,
    applicant(account_id) AS applicant_id,
    granted::TIMESTAMPTZ + INTERVAL 12 HOUR AS event_timestamp,
    granted::TIMESTAMPTZ + INTERVAL 12 HOUR AS created_timestamp,
    amount AS purchase_amount,
    duration AS term_months,
    -- The bank did not record what a loan was for.
    NULL AS loan_purpose,
    -- A ended well, B ended unpaid; C runs well, D runs in debt.
    status IN ('B', 'D') AS defaulted,
    -- The end of a contract shows how it ended; of a running loan we know the snapshot.
    CASE
        WHEN status IN ('A', 'B') THEN (granted + to_months(duration::INTEGER))::TIMESTAMPTZ
        ELSE TIMESTAMPTZ '1998-12-31'
    END AS outcome_observed_at
FROM loan
