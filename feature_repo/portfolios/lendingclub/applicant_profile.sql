SELECT
    applicant_id,
    event_timestamp,
    created_timestamp,
    annual_inc AS annual_income,
    -- Whole years as text; the open ends take the nearest value that the text allows.
    CASE emp_length
        WHEN 'n/a' THEN NULL
        WHEN '< 1 year' THEN 0.5
        ELSE regexp_extract(emp_length, '\d+')::DOUBLE
    END AS employment_years,
    -- NONE was offered in early forms only (8 loans) and says no more than OTHER.
    CASE home_ownership WHEN 'NONE' THEN 'OTHER' ELSE home_ownership END AS home_ownership,
    -- 'Source Verified' means that the employer or payroll confirmed the income.
    verification_status <> 'Not Verified' AS income_verified,
    -- LendingClub lent to adults only; it published neither age nor sex.
    true AS of_legal_age
FROM application
