-- A statement sent again, perhaps corrected, stays a row of its own: both were known, one after the other.
SELECT
    applicant_id,
    stated_at AS event_timestamp,
    received_at AS created_timestamp,
    annual_income,
    (stated_at::DATE - employed_since) / 365.25 AS employment_years,
    home_ownership,
    income_verified,
    date_part('year', age(stated_at::DATE, born)) >= 18 AS of_legal_age,
    date_part('year', age(stated_at::DATE, born)) AS age,
    sex
FROM raw.profile_statements
JOIN raw.applicants USING (applicant_id)
