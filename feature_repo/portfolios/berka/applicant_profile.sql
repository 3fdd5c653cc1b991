-- The owner of the account is the applicant; a second person may only dispose of it.
-- Women carry their month of birth plus 50.
WITH owner AS (
    SELECT
        account_id,
        opened,
        substr(birth_number, 3, 2)::INTEGER AS month_code,
        czech_date(
            substr(birth_number, 1, 2)
            || lpad((CASE WHEN month_code > 50 THEN month_code - 50 ELSE month_code END)::VARCHAR, 2, '0')
            || substr(birth_number, 5, 2)
        ) AS born,
        CASE WHEN month_code > 50 THEN 'female' ELSE 'male' END AS sex
    FROM account
    JOIN raw.disp USING (account_id)
    JOIN raw.client USING (client_id)
    WHERE disp.type = 'OWNER'
),
-- The bank knows it from the day of opening. A row each New Year keeps it fresh and lets people come of age.
moment AS (
    SELECT account_id, opened AS day FROM account
    UNION
    SELECT account_id, unnest(generate_series(date_trunc('year', opened) + INTERVAL 1 YEAR, getvariable('as_of')::DATE, INTERVAL 1 YEAR))::DATE
    FROM account
)
-- Income and housing stay null: a region's average salary is not the applicant's.
SELECT
    applicant(account_id) AS applicant_id,
    day::TIMESTAMPTZ AS event_timestamp,
    day::TIMESTAMPTZ AS created_timestamp,
    date_part('year', age(day, born)) >= 18 AS of_legal_age,
    date_part('year', age(day, born)) AS age,
    sex
FROM moment
JOIN owner USING (account_id)
