SELECT
    applicant_id,
    event_timestamp,
    created_timestamp,
    -- dti is a percentage, revol_util already a fraction.
    dti / 100 AS debt_to_income_ratio,
    revol_util AS credit_utilization,
    open_acc AS num_credit_lines,
    total_acc AS total_credit_lines,
    inq_last_6mths AS num_credit_inquiries,
    -- 0 with no delinquency in two years contradicts itself. All but two of these 820 loans were made by June
    -- 2008; from October 2007 to February 2008 no loan has a null there, later more than half have: a coded
    -- 'never', not a delinquency this month. The one 0 with a delinquency counted stays.
    CASE WHEN mths_since_last_delinq = 0 AND coalesce(delinq_2yrs, 0) = 0 THEN NULL ELSE mths_since_last_delinq END
        AS months_since_last_delinquency,
    pub_rec AS num_public_records,
    revol_bal AS revolving_balance,
    date_diff('month', earliest_cr_line, issue_d) AS credit_history_months
FROM application
