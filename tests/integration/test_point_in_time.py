"""Training sees what was known when it was decided, and serving sees the same."""

import asyncio
import shutil
from datetime import timedelta

import duckdb
import numpy as np
import pandas as pd
import pytest

from feature_repo import registry
from feature_repo.home import Home, HomeState
from feature_repo.on_demand import affordability
from feature_repo.stores.online import OnlineReader
from services import embedded, pipeline
from services.scoring.policy import DEFAULT_POLICY, load_policy
from training.bundle import bundle_path, load_bundle
from training.dataset import build_dataset


@pytest.fixture(scope="module")
def copy(finished, tmp_path_factory):
    """A home with the same sources, to be tampered with."""
    home = Home(root=tmp_path_factory.mktemp("copy"))
    shutil.copytree(finished.home.sources, home.sources)
    shutil.copy(finished.home.state_path, home.state_path)
    state = home.state()
    home.save_state(
        HomeState(as_of=state.as_of, oot_start=state.oot_start, performance_months=state.performance_months)
    )
    yield home
    embedded.stop(home)


def dataset(home):
    embedded.ensure(home)
    store = registry.apply(home)
    contract = registry.read_contract(store, pipeline.SERVICE)
    return build_dataset(
        store,
        contract,
        home.source_glob("loans"),
        as_of=home.outcomes_now(),
        oot_start=home.state().oot_start,
        performance_months=home.state().performance_months,
        policy=load_policy(DEFAULT_POLICY.read_bytes()).knock_out,
    )


def test_what_became_known_after_a_decision_changes_no_training_feature(finished, copy):
    # Each applicant's last loan: what comes to be known after it is known before none.
    frame = finished.outcome.dataset.frame
    loans = frame.groupby("applicant_id", as_index=False)["event_timestamp"].max()
    assert len(loans) > 1000
    for table in ("credit_bureau", "account_cashflow", "repayment_history", "applicant_profile"):
        source = copy.sources / table / "data.parquet"
        extra = copy.sources / table / "late.parquet"
        numbers = [name for name, kind in registry.table_columns(copy)[table].items() if kind in ("DOUBLE", "BIGINT")]
        poison = ", ".join(f"17 as {name}" for name in numbers)
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute(
                f"""copy (
                    with row as (select * from '{source}' limit 1)
                    select row.* replace (
                        loans.applicant_id as applicant_id, moved.event_timestamp as event_timestamp,
                        moved.created_timestamp as created_timestamp, {poison})
                    from loans, row, lateral (values
                        -- true before the decision, known a second after it
                        (loans.event_timestamp - interval 1 hour, loans.event_timestamp + interval 1 second),
                        -- true and known after it
                        (loans.event_timestamp + interval 1 second, loans.event_timestamp + interval 1 day)
                    ) as moved(event_timestamp, created_timestamp)
                ) to '{extra}' (format parquet)"""
            )
            assert connection.execute(f"select count(*) from '{extra}'").fetchone()[0] == 2 * len(loans)
    assert dataset(copy).digest == finished.outcome.dataset.digest


def test_a_row_known_before_the_decision_does_change_it(finished, copy):
    """The check above can fail: the same poison, known in time, is seen."""
    before = dataset(copy).digest
    source = copy.sources / "credit_bureau" / "data.parquet"
    loan = finished.outcome.dataset.frame.iloc[0]
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            f"""copy (select * replace ('{loan.applicant_id}' as applicant_id,
                timestamptz '{loan.event_timestamp - timedelta(hours=1)}' as event_timestamp,
                timestamptz '{loan.event_timestamp}' as created_timestamp, 9.5 as debt_to_income_ratio)
                from '{source}' limit 1) to '{source.with_name("known.parquet")}' (format parquet)"""
        )
    after = dataset(copy)
    assert after.digest != before
    row = after.frame[after.frame["loan_id"] == loan.loan_id].iloc[0]
    assert row["debt_to_income_ratio"] == 9.5


def test_training_and_serving_see_the_same_values_at_the_same_instant(finished):
    home = finished.home
    store = registry.open_store(home)
    bundle = load_bundle(bundle_path(home, finished.bundle_digest))
    with duckdb.connect() as connection:
        people = [row[0] for row in connection.execute(
            f"select distinct applicant_id from '{home.sources / 'applicant_profile' / 'data.parquet'}' order by 1"
        ).fetchall()] + ["APP_UNKNOWN"]  # fmt: skip
    assert len(people) > 2000
    random = np.random.default_rng(1)
    entity = pd.DataFrame(
        {
            "applicant_id": people,
            "event_timestamp": pd.Timestamp(home.now()),
            "purchase_amount": random.uniform(100, 5000, len(people)).round(2),
            "term_months": random.choice([3, 12, 24, 36], len(people)),
            "loan_purpose": random.choice(["electronics", "furniture"], len(people)),
        }
    )
    frame = store.get_historical_features(
        entity_df=entity,
        features=store.get_feature_service(pipeline.SERVICE),
        filter_by_created_timestamp=True,
    ).to_arrow().to_pandas().set_index("applicant_id").loc[people]  # fmt: skip

    async def read():
        reader = OnlineReader(bundle.plan, home.redis)
        try:
            return await reader.read_many(people, home.now())
        finally:
            await reader.close()

    stored = asyncio.run(read())
    online = pd.DataFrame(
        [{name: value for view in one.views.values() for name, value in usable(view).items()} for one in stored],
        index=people,
    )
    request = {name: entity[name].tolist() for name in ("purchase_amount", "term_months")}
    inputs = request | {name: values(online, name) for name in ("annual_income", "debt_to_income_ratio", "inflow_90d")}
    online = online.assign(**affordability(inputs))
    names = [spec.name for spec in bundle.contract.features if spec.view != "request"]
    for name in names:
        pd.testing.assert_series_equal(
            comparable(frame[name]), comparable(online[name]), check_exact=True, check_names=False, obj=name
        )
    assert online["instalment_to_income"].notna().sum() > 1000
    statuses = {view.status for one in stored for view in one.views.values()}
    assert {"PRESENT", "MISSING"} <= statuses


def usable(view):
    return view.values if view.status == "PRESENT" else dict.fromkeys(view.values)


def values(frame, name):
    return [None if pd.isna(value) else value for value in frame[name]]


def comparable(series):
    return series.astype(object).where(series.notna(), None).map(lambda v: float(v) if isinstance(v, bool | int) else v)
