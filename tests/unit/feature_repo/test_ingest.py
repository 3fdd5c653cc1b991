"""Ingest: all source tables or none, and bad input stopped with the file and the column named."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import duckdb
import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import InputError
from feature_repo.home import Home, HomeState
from feature_repo.portfolios import ingest as module
from feature_repo.portfolios import portfolio as declarations
from feature_repo.portfolios.ingest import ingest, list_portfolios
from feature_repo.portfolios.source_tables import source_schema
from feature_repo.portfolios.swap import replacing, undisturbed
from feature_repo.registry import table_columns

T0 = datetime(2026, 3, 1, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def own_rows(**columns):
    size = len(next(iter(columns.values()))) if columns else 1
    keys = {
        "applicant_id": [f"A{i}" for i in range(size)],
        "event_timestamp": pa.array([T0] * size, INSTANT),
        "created_timestamp": pa.array([T0 + timedelta(hours=1)] * size, INSTANT),
    }
    return pa.table({**keys, **columns})


def write_own(folder, **tables):
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def good_loans(**changes):
    columns = {
        "loan_id": ["L0", "L1"],
        "purchase_amount": [100.0, 250.0],
        "term_months": [3, 12],
        "loan_purpose": ["electronics", None],
        "defaulted": pa.array([True, None]),
        "outcome_observed_at": pa.array([T0 + timedelta(days=180), None], INSTANT),
    }
    return own_rows(**{**columns, **changes})


def read(home, table):
    return duckdb.sql(f"SELECT * FROM '{home.sources / table / 'data.parquet'}'")


# ---- own tables -----------------------------------------------------------------------------------


def test_own_tables_are_taken_as_they_are_and_the_clock_is_the_wall(home, tmp_path):
    bureau = own_rows(credit_utilization=[0.5, float("nan")], num_credit_lines=[3, None])
    report = ingest(home, "tables", write_own(tmp_path / "own", credit_bureau=bureau, loans=good_loans()))
    assert report.rows["credit_bureau"] == 2
    assert report.rows["loans"] == 2
    assert report.rows["account_cashflow"] == 0
    assert home.state() == HomeState(portfolio="tables")
    rows = read(home, "credit_bureau").fetchall()
    columns = read(home, "credit_bureau").columns
    assert [row[columns.index("credit_utilization")] for row in rows] == [0.5, None], "NaN is null"
    assert rows[0][columns.index("event_timestamp")] == T0


def test_every_table_has_the_schema_of_the_contract_even_without_rows(home, tmp_path):
    ingest(home, "tables", write_own(tmp_path / "own", loans=good_loans()))
    types = {"DOUBLE": pa.float64(), "BIGINT": pa.int64(), "BOOLEAN": pa.bool_(), "VARCHAR": pa.string()}
    for table, columns in source_schema(home).items():
        schema = pq.read_schema(home.sources / table / "data.parquet")
        assert schema.names == list(columns), table
        for name, kind in columns.items():
            assert schema.field(name).type == (INSTANT if kind == "TIMESTAMPTZ" else types[kind]), (table, name)
        if table != "loans":
            assert set(columns) - set(table_columns(home)[table]) == {
                "applicant_id",
                "event_timestamp",
                "created_timestamp",
            }


def test_a_table_may_be_a_folder_of_files(home, tmp_path):
    folder = tmp_path / "own" / "credit_bureau" / "year=2026"
    folder.mkdir(parents=True)
    pq.write_table(own_rows(credit_utilization=[0.25]), folder / "a.parquet")
    pq.write_table(own_rows(num_public_records=[1, 2]).slice(1), folder / "b.parquet")
    assert ingest(home, "tables", tmp_path / "own").rows["credit_bureau"] == 2


def test_negative_values_are_left_for_validation_to_refuse(home, tmp_path):
    ingest(home, "tables", write_own(tmp_path / "own", applicant_profile=own_rows(annual_income=[-5.0])))
    assert read(home, "applicant_profile").select("annual_income").fetchall() == [(-5.0,)]


def naive(table):
    return table.set_column(1, "event_timestamp", pa.array([T0.replace(tzinfo=None)] * len(table), pa.timestamp("us")))


def nanoseconds(table):
    return table.set_column(2, "created_timestamp", pa.array([T0] * len(table), pa.timestamp("ns", "UTC")))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"credit_bureau": naive(own_rows(credit_utilization=[0.1]))}, "event_timestamp: timestamps have no time zone"),
        ({"credit_bureau": nanoseconds(own_rows(credit_utilization=[0.1]))}, "created_timestamp: .* in ns"),
        ({"credit_bureau": own_rows(credit_utilization=[float("inf")])}, "credit_utilization is infinite in 1 rows"),
        ({"credit_bureau": own_rows(credit_utilization=["high"])}, "column credit_utilization: string where .* DOUBLE"),
        ({"credit_bureau": own_rows(num_credit_lines=[1.5])}, "column num_credit_lines: double where .* BIGINT"),
        ({"credit_bureau": own_rows(utilisation=[0.1])}, "does not know the column utilisation"),
        ({"credit_bureau": own_rows(credit_utilization=[0.1]).drop_columns("created_timestamp")}, "lacks the column"),
        ({"credit_bureau": own_rows(credit_utilization=[0.1]).slice(0, 0)}, "has no rows"),
        ({"credit_bureau": own_rows(applicant_id=["A", "A"])}, "two rows of applicant A share"),
        ({"credit_bureau": own_rows(applicant_id=["A", ""])}, "applicant_id is null or empty in 1 rows"),
        ({"credit_bureau": own_rows(applicant_id=["A", None])}, "applicant_id is null or empty in 1 rows"),
        ({"credit_buro": own_rows(credit_utilization=[0.1])}, "there is no source table 'credit_buro'"),
        ({}, "holds no source table"),
        ({"loans": good_loans(purchase_amount=[100.0, -1.0])}, "loan L1: purchase_amount is not positive"),
        ({"loans": good_loans(purchase_amount=[100.0, None])}, "loan L1: purchase_amount is not positive"),
        ({"loans": good_loans(purchase_amount=[float("inf"), 1.0])}, "purchase_amount is infinite"),
        ({"loans": good_loans(term_months=[0, 3])}, "loan L0: term_months is not positive"),
        ({"loans": good_loans(loan_purpose=["yacht", None])}, "loan L0: loan_purpose is not one of appliances"),
        ({"loans": good_loans(defaulted=pa.array([True, False]))}, "loan L1: defaulted and outcome_observed_at"),
        ({"loans": good_loans(loan_id=["L0", "L0"])}, "loan L0: loan_id is not unique"),
        (
            {"loans": good_loans(outcome_observed_at=pa.array([T0 - timedelta(days=1), None], INSTANT))},
            "outcome_observed_at is before the decision",
        ),
    ],
)
def test_bad_own_tables_are_refused(home, tmp_path, tables, message):
    folder = write_own(tmp_path / "own", **tables)
    with pytest.raises(InputError, match=message):
        ingest(home, "tables", folder)
    assert not home.sources.exists()
    assert not home.state_path.exists()


def test_a_file_that_is_not_parquet_is_named(home, tmp_path):
    folder = write_own(tmp_path / "own")
    (folder / "loans.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match=r"loans\.parquet is not a readable Parquet file"):
        ingest(home, "tables", folder)


# ---- portfolios -----------------------------------------------------------------------------------


def test_portfolios_are_listed():
    assert list_portfolios() == ("berka", "lendingclub", "simulated", "tables")


@pytest.mark.parametrize("name", [name for name in list_portfolios() if name != "tables"])
def test_a_portfolio_declares_its_clock_and_an_sql_file_for_each_table(name):
    declared = declarations.load_portfolio(name)
    assert declared.as_of is not None
    assert declared.oot_start is not None
    assert declared.oot_start < declared.as_of
    for table in declared.tables:
        assert (declarations.FOLDER / name / f"{table}.sql").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch", None), "portfolio 'nosuch' is not known .known: berka, lendingclub"),
        (("lendingclub", None), "'lendingclub' needs --from PATH: give the loans"),
        (("tables", None), "'tables' needs --from PATH: give a folder of source tables"),
    ],
)
def test_a_portfolio_that_cannot_start_says_what_to_give(home, arguments, message):
    with pytest.raises(InputError, match=message):
        ingest(home, *arguments)


def test_a_path_that_is_not_there_is_named(home, tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        ingest(home, "lendingclub", tmp_path / "nowhere")


def test_only_the_simulated_portfolio_takes_a_number_of_applicants(home, tmp_path):
    with pytest.raises(InputError, match="takes no number of applicants"):
        ingest(home, "lendingclub", tmp_path, applicants=5)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A small portfolio of one CSV, read by SQL of its own."""
    folder = tmp_path / "portfolios"
    (folder / "shop").mkdir(parents=True)
    toml = (
        'title = "Shop"\nobtain = "ask the shop"\ntables = ["applicant_profile"]\nas_of = 2026-04-01T00:00:00Z\n'
        '[raw.people]\nfile = "people.csv"\ndelimiter = ","\n'
        'columns = { person = "VARCHAR", day = "DATE", income = "DOUBLE" }\n'
    )
    (folder / "shop" / "portfolio.toml").write_text(toml)
    write_sql(folder / "shop", "income AS annual_income")
    load = declarations.load_portfolio
    monkeypatch.setattr(module, "FOLDER", folder)
    monkeypatch.setattr(module, "load_portfolio", lambda name: load(name, folder))
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "people.csv").write_text("person,day,income,note\nA,2026-01-31,1000,x\nB,2026-01-31,,\n")
    return folder / "shop", raw


def write_sql(folder, columns):
    query = f"SELECT person AS applicant_id, day::TIMESTAMPTZ AS event_timestamp, {columns} FROM raw.people"
    query = query.replace("event_timestamp,", "event_timestamp, day::TIMESTAMPTZ AS created_timestamp,")
    (folder / "applicant_profile.sql").write_text(f"{query} -- a comment without an end")


def test_a_csv_portfolio_fills_its_table(home, shop):
    _, raw = shop
    stages = []
    report = ingest(home, "shop", raw, progress=stages.append)
    assert report.rows["applicant_profile"] == 2
    assert home.now() == datetime(2026, 4, 1, tzinfo=UTC)
    assert stages == ["read raw files", "applicant_profile"]
    rows = read(home, "applicant_profile").select("applicant_id, annual_income").fetchall()
    assert rows == [("A", 1000.0), ("B", None)]


def test_a_portfolio_of_one_file_can_be_given_the_file(home, shop):
    _, raw = shop
    path = (raw / "people.csv").rename(raw / "other-name.csv")
    assert ingest(home, "shop", path).rows["applicant_profile"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"person,day,wage\nA,2026-01-31,1\n", "people.csv lacks the column income .it has: person, day, wage"),
        (b"person;day;income\nA;2026-01-31;1\n", "people.csv lacks the column person, day, income"),
        (b"person,day,income\n", "people.csv has no rows"),
        (b"", "people.csv has no rows"),
        ("person,day,income\nŽofie,2026-01-31,1\n".encode("cp1250"), "people.csv, line 2: not UTF-8"),
        (b"person,day,income\nA,2026-01-31,1\nB,31.01.2026,1\n", "column day: '31.01.2026' is not a finite DATE"),
        (b"person,day,income\nA,2026-01-31,much\n", "column income: 'much' is not a finite DOUBLE"),
        (b"person,day,income\nA,2026-01-31,-Infinity\n", "column income: '-Infinity' is not a finite DOUBLE"),
        (b"person,day,income\nA,2026-01-31\n", "people.csv cannot be read"),
        (b"person,day,income\nA,2026-01-31,1,2,3\n", "people.csv cannot be read"),
        (b"person,day,income\n,2026-01-31,1\n", "applicant_id is null or empty"),
    ],
)
def test_a_bad_csv_is_refused(home, shop, content, message):
    _, raw = shop
    (raw / "people.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        ingest(home, "shop", raw)


def test_a_missing_file_is_named_with_where_to_get_it(home, shop):
    _, raw = shop
    (raw / "people.csv").unlink()
    with pytest.raises(InputError, match=r"people\.csv is missing; ask the shop"):
        ingest(home, "shop", raw)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("income AS yearly_income", "applicant_profile.sql: the contract does not know the column yearly_income"),
        ("income / 0 * 0 AS annual_income, nosuch", "applicant_profile.sql: .*nosuch"),
        ("'inf'::DOUBLE AS annual_income", "applicant_profile.sql: annual_income is infinite in 2 rows"),
        ("'tall' AS annual_income", "applicant_profile.sql: Conversion Error"),
    ],
)
def test_sql_that_does_not_fit_the_contract_is_refused(home, shop, columns, message):
    folder, raw = shop
    write_sql(folder, columns)
    with pytest.raises(InputError, match=message):
        ingest(home, "shop", raw)


def test_sql_with_naive_timestamps_is_refused(home, shop):
    folder, raw = shop
    (folder / "applicant_profile.sql").write_text(
        "SELECT person AS applicant_id, day::TIMESTAMP AS event_timestamp, now() AS created_timestamp FROM raw.people"
    )
    with pytest.raises(InputError, match="event_timestamp is TIMESTAMP; make it TIMESTAMPTZ"):
        ingest(home, "shop", raw)


def test_raw_parquet_needs_zones_and_turns_nan_into_null(home, shop):
    folder, raw = shop
    text = (folder / "portfolio.toml").read_text()
    text = text.replace("people.csv", "people.parquet").replace('delimiter = ","\n', "")
    (folder / "portfolio.toml").write_text(text.replace('"DATE"', '"TIMESTAMPTZ"'))
    day = pd.Series([T0]).astype("datetime64[us, UTC]")
    frame = pd.DataFrame({"person": ["A"], "day": day, "income": [float("nan")]})
    frame.to_parquet(raw / "people.parquet")
    ingest(home, "shop", raw)
    assert read(home, "applicant_profile").select("annual_income").fetchall() == [(None,)]
    frame.assign(income=[float("inf")]).to_parquet(raw / "people.parquet")
    with pytest.raises(InputError, match="people.parquet, column income: inf is not a finite DOUBLE"):
        ingest(home, "shop", raw)
    frame.assign(day=frame["day"].dt.tz_localize(None)).to_parquet(raw / "people.parquet")
    with pytest.raises(InputError, match="people.parquet, column day: .* has no time zone"):
        ingest(home, "shop", raw)


def test_a_failed_ingest_leaves_the_home_as_it_was(home, shop):
    _, raw = shop
    ingest(home, "shop", raw)
    home.save_state(msgspec.structs.replace(home.state(), redis_port=17001, materialized_to=T0))
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    (raw / "people.csv").write_text("person,day,income\nA,2026-01-31,inf\n")
    with pytest.raises(InputError):
        ingest(home, "shop", raw)
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_a_new_ingest_keeps_the_redis_port_and_forgets_what_was_materialized(home, shop):
    _, raw = shop
    home.save_state(HomeState(redis_port=17001, materialized_to=T0, outcomes_as_of=T0))
    (home.truth).mkdir(parents=True)
    ingest(home, "shop", raw)
    assert home.state() == HomeState(portfolio="shop", as_of=datetime(2026, 4, 1, tzinfo=UTC), redis_port=17001)
    assert not home.truth.exists(), "the truth of another portfolio's loans"


# ---- swap -----------------------------------------------------------------------------------------


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "sources"
    with replacing(target) as staging:
        (staging / "a").write_text("old")
    with pytest.raises(IsADirectoryError), replacing(target) as staging:
        staging.write_text("half")
    assert (target / "a").read_text() == "old"
    with replacing(target) as staging:
        (staging / "b").write_text("new")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".sources.lock", "sources"]


def test_a_folder_is_not_replaced_while_someone_writes_in_it(tmp_path):
    target = tmp_path / "sources"
    target.mkdir()

    def replace():
        with replacing(target) as staging:
            (staging / "new").touch()

    with ThreadPoolExecutor(1) as pool:
        with undisturbed(target):
            waiting = pool.submit(replace)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
            (target / "appended").touch()
        waiting.result(10)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_what_a_crash_between_the_renames_left_is_restored(tmp_path):
    target = tmp_path / "sources"
    with replacing(target) as staging:
        (staging / "a").write_text("old")
    target.rename(tmp_path / ".sources.before")
    with pytest.raises(RuntimeError), replacing(target):
        raise RuntimeError
    assert (target / "a").read_text() == "old"
