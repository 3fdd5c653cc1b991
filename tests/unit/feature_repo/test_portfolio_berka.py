"""Berka: account features per month end, equal to a slow computation and blind to the future."""

import calendar
import csv
import shutil
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from feature_repo.home import PROJECT_ROOT, Home
from feature_repo.portfolios.ingest import ingest
from feature_repo.registry import table_specs

DATA = PROJECT_ROOT.parent / "shared" / "data" / "berka"
TRANSACTION = "trans_id,account_id,date,type,operation,amount,balance,k_symbol,bank,account"


def rows_of(home, table):
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        relation = con.sql(f"SELECT * FROM '{home.sources / table / 'data.parquet'}'")
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


# ---- a bank of three accounts -----------------------------------------------------------------------

FILES = {
    "account.asc": '"account_id";"district_id";"frequency";"date"\n1;1;"X";930110\n2;1;"X";930105\n3;1;"X";930101\n',
    "client.asc": (
        '"client_id";"birth_number";"district_id"\n1;"706213";1\n2;"100301";1\n3;"450204";1\n4;"805131";1\n'
    ),
    # Client 3 only disposes of account 1.
    "disp.asc": (
        '"disp_id";"client_id";"account_id";"type"\n1;1;1;"OWNER"\n2;3;1;"DISPONENT"\n3;2;2;"OWNER"\n4;4;3;"OWNER"\n'
    ),
    "loan.asc": (
        '"loan_id";"account_id";"date";"amount";"duration";"payments";"status"\n'
        '11;1;930415;1200;12;100.00;"B"\n12;2;930520;2400;24;100.00;"C"\n'
    ),
    "trans_all_x.asc": (
        ";".join(f'"{name}"' for name in TRANSACTION.split(",")) + "\n"
        '5;1;930110;"PRIJEM";"VKLAD";1000.40;1000.40;"";;\n'
        # One day, ids against the order: 1000.40 - 1100 = -99.60, + 30.00 = -69.60, - 0.40 = -70.00
        '9;1;930201;"VYDAJ";"VYBER";1100.00;-99.60;"";;\n'
        '8;1;930201;"PRIJEM";"PREVOD Z UCTU";30.00;-69.60;"DUCHOD";"ST";1\n'
        '3;1;930201;"VYDAJ";"VYBER";0.40;-70.00;"SANKC. UROK";;\n'
        '10;1;930211;"PRIJEM";"VKLAD";570.00;500.00;"";;\n'
        # After the loan of 15 April.
        '12;1;930420;"PRIJEM";"VKLAD";9000.00;9500.00;"";;\n'
        '6;3;930101;"PRIJEM";"VKLAD";50.00;50.00;"";;\n'
    ),
    # Rounded copies of three of them, one transaction more of account 1, and account 2.
    "trans_preloan_1.csv": (
        TRANSACTION + "\n"
        "5,1,1993-01-10,PRIJEM,VKLAD,1000,1000,,,\n"
        "9,1,1993-02-01,VYDAJ,VYBER,1100,-100,,,\n"
        "10,1,1993-02-11,PRIJEM,VKLAD,570,500,,,\n"
        "11,1,1993-03-20,VYDAJ,PREVOD NA UCET,100,400,SIPO,ST,2.0\n"
    ),
    "trans_preloan_2.csv": TRANSACTION + "\n20,2,1993-01-05,PRIJEM,VKLAD,700,700,,,\n",
}
END = {
    month: datetime(1993, month, calendar.monthrange(1993, month)[1], 23, 59, 59, tzinfo=UTC) for month in range(1, 13)
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    root = tmp_path_factory.mktemp("bank")
    for name, text in FILES.items():
        (root / name).write_text(text.replace("\n", "\r\n") if name.endswith(".asc") else text)
    home = Home(root / "home")
    ingest(home, "berka", root)
    return home


def test_month_ends_run_from_the_opening_to_the_last_day_of_which_all_is_known(bank):
    months = defaultdict(list)
    for row in rows_of(bank, "account_cashflow"):
        months[row["applicant_id"]].append(row["event_timestamp"])
        assert row["created_timestamp"] - row["event_timestamp"] == timedelta(hours=4, seconds=1)
    # Account 2's file is cut at its loan of 20 May, and account 1's exact file goes on to 20 April.
    # Account 3's stops in its first month, of which the rest is not known.
    assert months == {"ACC_00000001": [END[1], END[2], END[3]], "ACC_00000002": [END[1], END[2], END[3], END[4]]}


def test_features_of_a_known_account(bank):
    january, february, march = (
        row for row in rows_of(bank, "account_cashflow") if row["applicant_id"] == "ACC_00000001"
    )
    assert january["balance_mean_90d"] == january["balance_min_90d"] == pytest.approx(1000.40)
    assert january["account_age_days"] == 21
    # 22 days at 1000.40, 10 at -70.00 (whatever the order of that day), 18 at 500.00
    assert february["balance_mean_90d"] == pytest.approx((22 * 1000.40 - 10 * 70 + 18 * 500) / 50)
    assert february["balance_min_90d"] == february["balance_min_180d"] == -70
    assert february["days_below_zero_90d"] == 10
    assert february["inflow_90d"] == pytest.approx(1000.40 + 30 + 570)
    assert february["outflow_90d"] == pytest.approx(1100.40)
    assert february["transfers_in_90d"] == 30
    assert february["penalty_interest_90d"] == pytest.approx(0.4)
    assert february["num_transactions_90d"] == 5
    assert february["bills_90d"] == 0
    assert march["bills_90d"] == 100
    assert march["num_transactions_90d"] == 6


def test_owners_and_their_age(bank):
    rows = rows_of(bank, "applicant_profile")
    first = {row["applicant_id"]: row for row in reversed(rows)}
    assert {name: (row["age"], row["sex"], row["of_legal_age"]) for name, row in first.items()} == {
        "ACC_00000001": (22, "female", True),
        "ACC_00000002": (82, "male", True),
        "ACC_00000003": (12, "female", False),
    }
    assert [row["of_legal_age"] for row in rows if row["applicant_id"] == "ACC_00000003"] == [False] * 6 + [True]
    assert max(row["event_timestamp"] for row in rows) == datetime(1999, 1, 1, tzinfo=UTC)


def test_loans_and_when_their_outcome_was_known(bank):
    ended, running = rows_of(bank, "loans")
    assert (ended["loan_id"], ended["applicant_id"], ended["purchase_amount"], ended["term_months"]) == (
        "BERKA_11",
        "ACC_00000001",
        1200,
        12,
    )
    assert ended["event_timestamp"] == datetime(1993, 4, 15, 12, tzinfo=UTC)
    assert (ended["defaulted"], ended["outcome_observed_at"]) == (True, datetime(1994, 4, 15, tzinfo=UTC))
    assert (running["defaulted"], running["outcome_observed_at"]) == (False, datetime(1998, 12, 31, tzinfo=UTC))


# ---- the real bank ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    if not DATA.is_dir():
        pytest.skip(f"{Path(*DATA.parts[-3:])} is not beside the project")
    return DATA


@pytest.fixture(scope="module")
def real(data, tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("berka-real"))
    ingest(home, "berka", data)
    return home


def day_of(text):
    return date(1900 + int(text[:2]), int(text[2:4]), int(text[4:]))


def transactions(folder):
    """Return every transaction by account: exact ones first, each once."""
    found = {}
    for path in sorted(folder.glob("trans_preloan_*.csv")):
        with path.open() as stream:
            for row in csv.DictReader(stream):
                found[row["trans_id"]] = (row, date.fromisoformat(row["date"]))
    with next(folder.glob("trans_all*.asc")).open() as stream:
        for row in csv.DictReader(stream, delimiter=";"):
            found[row["trans_id"]] = (row, day_of(row["date"]))
    accounts = defaultdict(list)
    for row, day in found.values():
        accounts[int(row["account_id"])].append((day, row))
    return accounts


def expected_features(booked, opened, until):
    """Compute the features of one month end day by day, knowing bookings up to it only."""
    known = [(day, row) for day, row in booked if day <= until]
    signed = [(day, float(row["amount"]) * (1 if row["type"] == "PRIJEM" else -1)) for day, row in known]
    days = [until - timedelta(days=back) for back in range(180)]
    balances = [sum(amount for day, amount in signed if day <= at) for at in days if at >= opened]
    recent = [(day, row) for day, row in known if day > until - timedelta(days=90)]

    def total(chosen):
        return sum(float(row["amount"]) for _, row in recent if chosen(row))

    return {
        "balance_mean_90d": sum(balances[:90]) / len(balances[:90]),
        "balance_min_90d": min(balances[:90]),
        "balance_min_180d": min(balances),
        "inflow_90d": total(lambda row: row["type"] == "PRIJEM"),
        "outflow_90d": total(lambda row: row["type"] != "PRIJEM"),
        "transfers_in_90d": total(lambda row: row["operation"] == "PREVOD Z UCTU"),
        "bills_90d": total(lambda row: row["operation"] == "PREVOD NA UCET"),
        "num_transactions_90d": len(recent),
        "days_below_zero_90d": sum(balance < -10 for balance in balances[:90]),
        "penalty_interest_90d": total(lambda row: row["k_symbol"] == "SANKC. UROK"),
        "account_age_days": (until - opened).days,
    }


@pytest.mark.real_data
def test_features_equal_a_slow_day_by_day_computation(real, data):
    booked = transactions(data)
    with (data / "account.asc").open() as stream:
        opened = {int(row["account_id"]): day_of(row["date"]) for row in csv.DictReader(stream, delimiter=";")}
    rows = defaultdict(list)
    for row in rows_of(real, "account_cashflow"):
        rows[int(row["applicant_id"].removeprefix("ACC_"))].append(row)
    # One of the exact file, two that were overdrawn, one in both files, one of the last loans.
    overdrawn = [account for account, months in rows.items() if any(row["penalty_interest_90d"] for row in months)]
    chosen = [576, 1787, *overdrawn[:2], max(rows, key=lambda account: rows[account][-1]["event_timestamp"])]
    for account in chosen:
        for row in rows[account][::3]:
            expected = expected_features(booked[account], opened[account], row["event_timestamp"].date())
            for name, value in expected.items():
                # The CSV files round balances to a crown: their running total drifts by some crowns.
                slack = 20 if name.startswith("balance") else 1 if name.startswith("days") else 1e-6
                assert row[name] == pytest.approx(value, abs=slack), (account, row["event_timestamp"], name)


def edges(folder):
    """Return each loan's decision time by applicant."""
    with (folder / "loan.asc").open() as stream:
        return {
            f"ACC_{int(row['account_id']):08d}": datetime.combine(day_of(row["date"]), datetime.min.time(), UTC)
            + timedelta(hours=12)
            for row in csv.DictReader(stream, delimiter=";")
        }


@pytest.mark.real_data
def test_transactions_after_a_loan_never_reach_its_features(real, data, tmp_path):
    """Inject a fortune and a ruin after every loan, in both files; what the loan may see stays the same."""
    raw = tmp_path / "raw"
    shutil.copytree(data, raw)
    decided = edges(data)
    number = 90_000_000
    exact, rounded = next(raw.glob("trans_all*.asc")), raw / "trans_preloan_2.csv"
    with exact.open("a") as asc, rounded.open("a") as text:
        for applicant, at in decided.items():
            account = int(applicant.removeprefix("ACC_"))
            for days, kind, amount in ((0, "PRIJEM", 5_000_000), (1, "VYDAJ", 9_000_000), (40, "VYDAJ", 1)):
                day = at.date() + timedelta(days=days)
                number += 1
                asc.write(
                    f'{number};{account};{day:%y%m%d};"{kind}";"VYBER";{amount}.00;{amount}.00;"SANKC. UROK";;\r\n'
                )
                number += 1
                text.write(f"{number},{account},{day},{kind},VYBER,{amount},{amount},,,\n")
    home = Home(tmp_path / "home")
    ingest(home, "berka", raw)

    def seen(rows):
        return [row for row in rows if row["created_timestamp"] <= decided.get(row["applicant_id"], END[1])]

    before, after = rows_of(real, "account_cashflow"), rows_of(home, "account_cashflow")
    assert before != after, "the injected transactions are there, later"
    assert len({row["applicant_id"] for row in seen(before)} & set(decided)) == len(decided)
    assert seen(before) == seen(after)


@pytest.mark.real_data
def test_every_loan_sees_fresh_features_and_a_known_outcome(real, data):
    loans = {row["applicant_id"]: row for row in rows_of(real, "loans")}
    assert len(loans) == 682
    assert sum(row["defaulted"] for row in loans.values()) == 76
    assert max(row["outcome_observed_at"] for row in loans.values()) <= real.now() == datetime(1999, 1, 1, tzinfo=UTC)
    for table, ttl in (("account_cashflow", 62), ("applicant_profile", 400)):
        newest = {}
        for row in rows_of(real, table):
            loan = loans.get(row["applicant_id"])
            if loan and row["created_timestamp"] <= loan["event_timestamp"]:
                newest[row["applicant_id"]] = row["event_timestamp"]
        for applicant, loan in loans.items():
            assert loan["event_timestamp"] - newest[applicant] <= timedelta(days=ttl), (table, applicant)


@pytest.mark.real_data
def test_the_last_loans_are_fresh_at_the_end_of_the_portfolio(real):
    last = {
        row["applicant_id"] for row in rows_of(real, "loans") if row["event_timestamp"].strftime("%Y%m") == "199812"
    }
    newest = {row["applicant_id"]: row["event_timestamp"] for row in rows_of(real, "account_cashflow")}
    assert last
    assert all(real.now() - newest[applicant] <= timedelta(days=62) for applicant in last)


@pytest.mark.real_data
def test_real_values_lie_in_the_ranges_of_the_contract(real):
    for table, specs in table_specs(real).items():
        path = real.sources / table / "data.parquet"
        for spec in specs:
            if spec.low is not None:
                query = f"SELECT min({spec.name}), max({spec.name}) FROM '{path}'"
                low, high = duckdb.sql(query).fetchall()[0]
                assert low is None or spec.low <= low <= high <= spec.high, spec.name
            if spec.kind == "category":
                found = {value for (value,) in duckdb.sql(f"SELECT DISTINCT {spec.name} FROM '{path}'").fetchall()}
                assert found <= {None, *spec.categories}, spec.name
    assert {row["sex"] for row in rows_of(real, "applicant_profile")} == {"female", "male"}
