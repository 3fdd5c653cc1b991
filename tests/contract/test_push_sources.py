"""Plain Feast pushes to the project's own push sources: newest wins online, and the source gets a file more."""

from datetime import timedelta

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.data_source import PushMode

from feature_repo import registry
from feature_repo.home import Home
from feature_repo.portfolios.ingest import ingest
from services import embedded
from tests.contract.online_harness import a_config

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(root=tmp_path_factory.mktemp("pushed"))
    ingest(home, "simulated", applicants=200)
    embedded.ensure(home)
    yield home
    embedded.stop(home)


@pytest.fixture(scope="module")
def store(home):
    return registry.apply(home)


def an_event(home, table, applicant, age=HOUR, **changes):
    """The first row of a table, as if it were of this applicant and as old, as pandas reads it from Parquet."""
    with duckdb.connect() as connection:
        row = connection.execute(f"from read_parquet('{home.source_glob(table)}') limit 1").df()
    times = dict.fromkeys(("event_timestamp", "created_timestamp"), pd.Timestamp(home.now() - age))
    return row.assign(applicant_id=applicant, **times, **changes)


def appended(home, table):
    return sorted((home.sources / table).glob("appended-*.parquet"))


def served(store, applicant, feature):
    return store.get_online_features([feature], [{"applicant_id": applicant}]).to_dict()[feature.partition(":")[2]][0]


def known(store, applicant, at, feature):
    asked = pd.DataFrame({"applicant_id": [applicant], "event_timestamp": [at]})
    return store.get_historical_features(asked, [feature]).to_arrow()[feature.partition(":")[2]][0].as_py()


PUSHED = {
    "applicant_profile": ("annual_income", 1234.5),
    "credit_bureau": ("num_credit_inquiries", 17),
    "account_cashflow": ("inflow_90d", 1234.5),
    "repayment_history": ("max_days_past_due", 61),
}


@pytest.mark.parametrize("table", PUSHED)
def test_a_push_is_served_and_appended_and_an_older_one_appended_only(home, store, table):
    feature, value = PUSHED[table]
    name = f"{table}:{feature}"
    store.push(f"{table}_events", an_event(home, table, "NEW", **{feature: value}), to=PushMode.ONLINE_AND_OFFLINE)
    assert served(store, "NEW", name) == value
    assert known(store, "NEW", home.now(), name) == value
    assert known(store, "NEW", home.now() - 2 * HOUR, name) is None
    older = an_event(home, table, "NEW", 5 * HOUR, **{feature: 1})
    store.push(f"{table}_events", older, to=PushMode.ONLINE_AND_OFFLINE)
    assert served(store, "NEW", name) == value
    assert [known(store, "NEW", home.now() - age * HOUR, name) for age in (0, 2)] == [value, 1]
    assert len(appended(home, table)) == 2


def test_a_push_goes_where_it_is_told_to(home, store):
    before = len(appended(home, "credit_bureau"))
    event = an_event(home, "credit_bureau", "ONLINE", num_credit_lines=7)
    store.push("credit_bureau_events", event, to=PushMode.ONLINE)
    assert served(store, "ONLINE", "credit_bureau:num_credit_lines") == 7
    assert len(appended(home, "credit_bureau")) == before
    store.push("credit_bureau_events", event.assign(applicant_id="OFFLINE"), to=PushMode.OFFLINE)
    assert served(store, "OFFLINE", "credit_bureau:num_credit_lines") is None
    assert len(appended(home, "credit_bureau")) == before + 1


def test_a_count_that_is_not_known_is_null_on_both_sides(home, store):
    """pandas holds a whole number beside a null as a float; and a frame put together has an index of its own."""
    events = pd.concat(
        [an_event(home, "credit_bureau", name, num_credit_lines=count) for name, count in (("N1", None), ("N2", 3))]
    ).astype({"num_credit_lines": "float64"})
    store.push("credit_bureau_events", events, to=PushMode.ONLINE_AND_OFFLINE)
    feature = "credit_bureau:num_credit_lines"
    assert [served(store, name, feature) for name in ("N1", "N2")] == [None, 3]
    assert [known(store, name, home.now(), feature) for name in ("N1", "N2")] == [None, 3]
    written = duckdb.execute(f"from '{appended(home, 'credit_bureau')[-1]}'").to_arrow_table()
    assert written.schema.field("num_credit_lines").type == pa.int64()


def test_stocks_push_is_served_without_becoming_history(home, tmp_path):
    """It serves first, and then finds that it cannot append to several files."""
    stock = FeatureStore(config=a_config(tmp_path, int(home.redis.rpartition(":")[2]), ours=False))
    stock.apply(registry.load_definitions(home))
    event = an_event(home, "repayment_history", "STOCK", max_days_past_due=61)
    with pytest.raises(FileNotFoundError):
        stock.push("repayment_history_events", event, to=PushMode.ONLINE_AND_OFFLINE)
    assert served(stock, "STOCK", "repayment_history:max_days_past_due") == 61
