-- The file has no applicant: each loan is one person, named by the number of its row.
-- It gives months only, as their first day. What the applicant stated and the bureau report were
-- true at its midnight, and the decision fell at noon, so that it saw them.
CREATE TEMP VIEW application AS
SELECT
    'LC_' || lpad((file_row_number + 1)::VARCHAR, 7, '0') AS applicant_id,
    issue_d::TIMESTAMPTZ AS event_timestamp,
    issue_d::TIMESTAMPTZ AS created_timestamp,
    *
FROM raw.loan;
