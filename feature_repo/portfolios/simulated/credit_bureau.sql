-- The bureau learns of a delinquency on the day it becomes one, so a report knows those up to its own time.
SELECT
    report.applicant_id,
    report.reported_at AS event_timestamp,
    report.received_at AS created_timestamp,
    monthly_debt_payment / nullif(monthly_income, 0) AS debt_to_income_ratio,
    -- Without a revolving limit there is nothing to use: null, not zero.
    revolving_balance / nullif(revolving_limit, 0) AS credit_utilization,
    open_lines AS num_credit_lines,
    total_lines AS total_credit_lines,
    inquiries_6m AS num_credit_inquiries,
    floor((reported_at::DATE - late_on) / 30.4375) AS months_since_last_delinquency,
    public_records AS num_public_records,
    revolving_balance,
    date_diff('month', oldest_line_opened, reported_at::DATE) AS credit_history_months
FROM raw.bureau_reports AS report
ASOF LEFT JOIN raw.delinquencies AS delinquency
    ON delinquency.applicant_id = report.applicant_id AND delinquency.late_on <= report.reported_at::DATE
