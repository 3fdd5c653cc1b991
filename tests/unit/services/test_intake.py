"""What the gates are told of a home's tables, from the definitions and the portfolio."""

from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.home import Home, HomeState
from services import intake


@pytest.fixture
def home(tmp_path):
    return Home(root=tmp_path)


def people(home, seed):
    path = home.raw / "simulated" / "applicants.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"applicant_id": [f"{seed}-{i}" for i in range(9)]}), path)


def test_tables_promise_what_the_definitions_and_the_portfolio_say(home):
    home.save_state(HomeState(portfolio="berka"))
    tables = intake.source_tables(home)
    assert list(tables)[-1] == "loans"
    assert {name for name, table in tables.items() if table.allow_empty} == {"credit_bureau", "repayment_history"}
    assert tables["credit_bureau"].ttl == timedelta(days=120)
    assert tables["applicant_profile"].ttl == timedelta(days=400)
    assert tables["loans"].ttl is None
    assert tables["credit_bureau"].refers_to == ("applicant_profile",)
    assert tables["applicant_profile"].refers_to == ()
    assert set(tables["loans"].refers_to) == tables.keys() - {"loans"}


def test_tables_that_a_user_brought_promise_loans_only(home):
    home.save_state(HomeState(portfolio="tables"))
    assert {name for name, table in intake.source_tables(home).items() if not table.allow_empty} == {"loans"}


def test_only_tables_of_one_origin_are_compared_over_time(home):
    assert intake.origin(home) == ""
    home.save_state(HomeState(portfolio="berka"))
    people(home, seed=1)
    assert intake.origin(home) == "berka"  # what a simulator left behind is not of this portfolio
    home.save_state(HomeState(portfolio="simulated"))
    first = intake.origin(home)
    assert first.startswith("simulated-")
    people(home, seed=1)
    assert intake.origin(home) == first
    people(home, seed=2)
    assert intake.origin(home) not in (first, "simulated")
