from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from services.scoring.policy_sections import KnockOut
from training.dataset import _fires, digest_of_table
from training.loans import choose_loans, rolling_start

AS_OF = datetime(2025, 12, 1, tzinfo=UTC)
REQUEST = ["purchase_amount", "term_months"]


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def loan(loan_id, decided, defaulted, observed, *, applicant=None, known=None, amount=100.0):
    return {
        "loan_id": loan_id,
        "applicant_id": applicant or f"A_{loan_id}",
        "event_timestamp": at(decided),
        "created_timestamp": at(known or decided),
        "defaulted": defaulted,
        "outcome_observed_at": at(observed) if observed else None,
        "purchase_amount": amount,
        "term_months": 12,
    }


@pytest.fixture
def chosen(tmp_path):
    def run(*loans, months=0, decided=(), until=None):
        path = str(tmp_path / "loans.parquet")
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.register("given", pa.Table.from_pylist(list(loans)))
            connection.execute(f"copy given to '{path}'")
        here = pa.Table.from_pylist(list(decided)) if decided else None
        _, rows, _ = choose_loans(path, REQUEST, as_of=AS_OF, months=months, decided=here, observed_until=until)
        return {row["loan_id"]: (row["excluded"], row["defaulted"]) for row in rows.to_pylist()}

    return run


def test_only_outcomes_observed_by_as_of_count(chosen):
    assert chosen(
        loan("on time", "2025-01-05", True, "2025-12-01"),
        loan("too late", "2025-01-05", True, "2025-12-01T00:00:01"),
        loan("never", "2025-01-05", None, None),
    ) == {"on time": ("", True), "too late": ("young", True), "never": ("young", None)}


def test_a_performance_window_is_over_at_the_end_of_its_last_day(chosen):
    found = chosen(
        loan("over", "2025-05-31T18:00", False, "2025-11-20"),
        loan("ends later", "2025-06-01T00:00", True, "2025-07-01"),
        months=6,
    )
    # six months after 31 May end on 30 November, and that day ends as of 1 December
    assert found == {"over": ("", False), "ends later": ("young", True)}


def test_where_nobody_looked_any_more_a_loan_stays_young_though_the_clock_went_on(chosen):
    loans = (
        loan("over before", "2025-01-05", None, None),
        loan("still going on", "2025-03-05", None, None),
        loan("defaulted", "2025-03-05", True, "2025-07-01"),
    )
    here = [{**loan("here", "2025-03-05", None, None), "outcome_observed_at": at("2025-11-01"), "defaulted": False}]
    good = ("", False)
    found = chosen(*loans, months=6, until=at("2025-08-01"), decided=here)
    assert found == {
        "over before": good,
        "still going on": ("young", False),
        "defaulted": ("young", True),
        "here": good,
    }
    assert set(chosen(*loans, months=6, decided=here).values()) == {good, ("", True)}


def test_without_a_default_in_its_window_a_loan_is_good_whatever_comes_later(chosen):
    found = chosen(
        loan("within", "2025-01-05T10:00", True, "2025-07-06"),
        loan("after", "2025-01-05T10:00", True, "2025-07-06T00:00:01"),
        loan("still paying", "2025-01-05", None, None),
        loan("repaid later", "2025-01-05", False, "2026-03-01"),
        loan("not said", "2025-01-05", None, "2025-06-01"),
        months=6,
    )
    assert found == {
        "within": ("", True), "after": ("", False), "still paying": ("", False), "repaid later": ("", False),
        "not said": ("indeterminate", False),
    }  # fmt: skip


def test_a_loan_written_again_counts_as_what_was_last_known_of_it(chosen):
    found = chosen(
        loan("L", "2025-01-05", False, "2025-06-01", known="2025-06-01"),
        loan("L", "2025-01-05", True, "2025-07-01", known="2025-07-01"),
        loan("L", "2025-01-05", False, "2025-08-01", known="2025-12-24"),
    )
    assert found == {"L": ("", True)}


def test_of_an_application_sent_twice_the_first_counts(chosen):
    found = chosen(
        loan("1", "2025-01-05", False, "2025-06-01", applicant="A"),
        loan("2", "2025-01-05", False, "2025-06-01", applicant="A"),
        loan("3", "2025-01-05", False, "2025-06-01", applicant="A", amount=250.0),
        loan("4", "2025-01-05", False, "2025-06-01", applicant="B"),
    )
    assert {name: excluded for name, (excluded, _) in found.items()} == {"1": "", "2": "duplicate", "3": "", "4": ""}


def test_what_was_decided_here_counts_beside_the_table_by_its_last_outcome(chosen):
    def outcome(loan_id, defaulted, observed, **more):
        return loan(loan_id, "2025-01-05", defaulted, observed, known=observed, **more)

    found = chosen(
        loan("1", "2025-01-05", False, "2025-06-01"),
        loan("Z", "2025-01-05", True, "2025-06-01", applicant="A_in both"),
        decided=[
            outcome("cured", True, "2025-05-01"),
            outcome("cured", False, "2025-07-01"),
            outcome("relapsed", False, "2025-05-01"),
            outcome("relapsed", True, "2025-07-01"),
            outcome("relapsed", False, "2025-12-02"),
            outcome("in both", True, "2025-06-01"),
        ],
    )
    assert found == {
        "1": ("", False), "Z": ("", True), "cured": ("", False), "relapsed": ("", True), "in both": ("duplicate", True),
    }  # fmt: skip


def test_a_loan_of_the_table_that_is_named_by_its_decision_is_one_loan(chosen):
    found = chosen(
        loan("D", "2025-01-05", True, "2025-06-01", known="2025-08-01"),
        decided=[loan("D", "2025-01-05", False, "2025-06-01", known="2025-06-01")],
    )
    assert found == {"D": ("", True)}


def decided(*days, excluded=""):
    when = pa.array([datetime.fromisoformat(day).replace(tzinfo=UTC) for day in days], pa.timestamp("us", "UTC"))
    return pa.table({"event_timestamp": when, "excluded": [excluded] * len(days)})


def test_the_window_that_rolls_holds_the_latest_fifth_from_the_first_of_a_month():
    days = [f"2025-{month:02}-{day:02}" for month in range(1, 11) for day in (3, 17)]  # twenty loans in ten months
    assert rolling_start(decided(*days)) == at("2025-08-01")  # number 16 of 20 is of 17 August
    assert rolling_start(decided(*days, "2025-11-03", "2025-11-17")) == at("2025-09-01"), "it rolls on"
    assert rolling_start(decided(*reversed(days))) == at("2025-08-01"), "whatever their order"


def test_the_window_that_rolls_is_a_year_at_most_and_young_loans_do_not_move_it():
    days = [f"{year}-{month:02}-15" for year in range(2010, 2026) for month in range(1, 13)]
    assert rolling_start(decided(*days)) == at("2025-01-01"), "a fifth would be three years"
    both = pa.concat_tables([decided("2025-01-05", "2025-02-05"), decided("2025-09-05", excluded="young")])
    assert rolling_start(both) == at("2025-01-01")
    assert rolling_start(decided("2025-09-05", excluded="young")) is None


def test_rules_of_the_policy_ask_once_a_value_and_never_fire_on_the_unknown():
    above = KnockOut(code="c", feature="f", above=10.0)
    column = pa.chunked_array([[5.0, None, 10.0], [11.0, float("nan"), 11.0]])
    assert _fires(above, column).tolist() == [False, False, False, True, False, True]
    minor = KnockOut(code="c", feature="f", is_false=True)
    assert _fires(minor, pa.chunked_array([[True, False, None]])).tolist() == [False, True, False]


def test_the_digest_is_of_the_values_and_not_of_their_layout():
    values = {
        "text": ["one", None, "", "three", "four"],
        "number": [1.5, None, -0.0, float("inf"), 2.0],
        "flag": [True, None, False, True, False],
        "count": [1, None, 3, 4, 5],
        "when": [at("2025-01-05"), None, at("2025-01-06"), at("2025-01-07"), at("2025-01-08")],
        "nothing": [None] * 5,
    }
    whole = pa.table(values)
    longer = pa.table({name: [*column[:1], *column] for name, column in values.items()}, schema=whole.schema)
    parts = pa.concat_tables([longer.slice(1, 2), longer.slice(3, 3)])
    assert digest_of_table(whole) == digest_of_table(parts)
    filled = whole.set_column(1, "number", pa.array([1.5, 0.0, -0.0, float("inf"), 2.0]))
    moved = whole.set_column(0, "text", pa.array(["onet", None, "", "hree", "four"]))
    renamed = whole.rename_columns(["text", "other", "flag", "count", "when", "nothing"])
    assert len({digest_of_table(table) for table in (whole, filled, moved, renamed)}) == 4
    assert not np.array_equal(whole["number"].to_pylist(), filled["number"].to_pylist())
