SELECT
    replace(applicant_id, 'LC_', 'LC_LOAN_') AS loan_id,
    applicant_id,
    event_timestamp + INTERVAL 12 HOUR AS event_timestamp,
    event_timestamp + INTERVAL 12 HOUR AS created_timestamp,
    -- The amount asked for; what was funded is already the lender's answer.
    loan_amnt AS purchase_amount,
    term AS term_months,
    CASE purpose WHEN 'vacation' THEN 'travel' WHEN 'educational' THEN 'education' ELSE purpose END AS loan_purpose,
    -- Includes 'Does not meet the credit policy. Status:Charged Off': such loans were made all the same.
    loan_status LIKE '%Charged Off' AS defaulted,
    -- A loan is charged off at 150 days past due, hence five months after the last payment, or
    -- after the loan was made if there was none.
    CASE
        WHEN loan_status LIKE '%Charged Off' THEN (coalesce(last_pymnt_d, issue_d) + INTERVAL 5 MONTH)::TIMESTAMPTZ
        -- A loan repaid within the month it was made would otherwise be observed before its decision.
        ELSE greatest(last_pymnt_d::TIMESTAMPTZ, event_timestamp + INTERVAL 1 DAY)
    END AS outcome_observed_at
FROM application
