-- YYMMDD, all of it in the 1900s (people born in 1910 would otherwise be born in 2010).
CREATE TEMP MACRO czech_date(text) AS strptime('19' || text, '%Y%m%d')::DATE;

CREATE TEMP MACRO applicant(account) AS 'ACC_' || lpad(account::VARCHAR, 8, '0');

CREATE TEMP TABLE account AS
SELECT account_id, czech_date(date) AS opened FROM raw.account;

CREATE TEMP TABLE loan AS
SELECT loan_id, account_id, czech_date(date) AS granted, amount, duration, status FROM raw.loan;

-- A transaction that both files hold counts once, with its exact amount.
-- PRIJEM is money in; VYDAJ and VYBER are money out.
CREATE TEMP TABLE movement AS
WITH both_files AS (
    SELECT trans_id, account_id, czech_date(date) AS booked, type, operation, amount, balance, k_symbol FROM raw.transaction_exact
    UNION ALL
    SELECT trans_id, account_id, date, type, operation, amount, balance, k_symbol FROM raw.transaction_rounded
    WHERE trans_id NOT IN (SELECT trans_id FROM raw.transaction_exact)
)
SELECT
    *,
    CASE WHEN type = 'PRIJEM' THEN amount ELSE 0 END AS inflow,
    CASE WHEN type = 'PRIJEM' THEN 0 ELSE amount END AS outflow,
    CASE WHEN k_symbol = 'SANKC. UROK' THEN amount ELSE 0 END AS penalty,
    -- Transfers from and to other banks: wages and pensions; household bills, insurance and other orders.
    CASE WHEN operation = 'PREVOD Z UCTU' THEN amount ELSE 0 END AS transfer_in,
    CASE WHEN operation = 'PREVOD NA UCET' THEN amount ELSE 0 END AS bill,
    -- Cash taken out, at the counter or by card; fees and penalties are booked as withdrawals too.
    CASE
        WHEN type <> 'PRIJEM' AND operation IN ('VYBER', 'VYBER KARTOU') AND coalesce(k_symbol, '') NOT IN ('SLUZBY', 'SANKC. UROK')
        THEN amount ELSE 0
    END AS cash
FROM both_files;

-- The balance at the end of each day with a transaction. trans_id is no order within a day (balances
-- continue from one row to the next in 60 % of rows only), and no other column is. But accounts start
-- at zero, so the running total of all movements is the closing balance, up to the rounding of the
-- CSV files; the day's reported balance nearest to it is the closing balance itself.
CREATE TEMP TABLE day AS
WITH total AS (
    SELECT
        account_id,
        booked,
        sum(inflow) AS inflow,
        sum(outflow) AS outflow,
        sum(penalty) AS penalty,
        sum(transfer_in) AS transfer_in,
        sum(bill) AS bill,
        sum(cash) AS cash,
        count(*) AS movements,
        sum(sum(inflow - outflow)) OVER (PARTITION BY account_id ORDER BY booked) AS running
    FROM movement
    GROUP BY account_id, booked
)
SELECT
    account_id,
    booked,
    any_value(total.inflow) AS inflow,
    any_value(total.outflow) AS outflow,
    any_value(total.penalty) AS penalty,
    any_value(total.transfer_in) AS transfer_in,
    any_value(total.bill) AS bill,
    any_value(total.cash) AS cash,
    any_value(total.movements) AS movements,
    arg_min(balance, {distance: abs(balance - running), balance: balance}) AS closing,
    -- The balance stands until the day before the next transaction.
    coalesce(lead(booked) OVER (PARTITION BY account_id ORDER BY booked) - 1, DATE '9999-12-31') AS stands_until
FROM movement
JOIN total USING (account_id, booked)
GROUP BY account_id, booked;
