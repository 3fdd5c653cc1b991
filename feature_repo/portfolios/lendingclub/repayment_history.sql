-- Payments to all lenders, from the bureau: delinq_2yrs counts those 30 or more days late in two years.
-- LendingClub did not publish which applicants had borrowed from it before.
SELECT
    applicant_id,
    event_timestamp,
    created_timestamp,
    delinq_2yrs AS num_late_payments
FROM application
