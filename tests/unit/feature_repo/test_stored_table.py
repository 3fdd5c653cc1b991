"""Columns of Arrow as values of Python."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from feature_repo.stores.plan import FeatureSlot, OnlinePlan, ViewPlan
from feature_repo.stores.stored_table import datetimes_of, stored_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
KINDS = {"ratio": "number", "years": "count", "verified": "flag", "home": "category"}
PLAN = OnlinePlan(
    "p",
    "s",
    "k",
    (
        ViewPlan(
            name="profile",
            timestamp_field="_ts:profile",
            ttl_seconds=86400,
            slots=tuple(FeatureSlot(name=name, kind=kind, hash="00000000") for name, kind in KINDS.items()),
        ),
    ),
)


def joined(events, **columns):
    table = {
        "applicant_id": pa.array([f"A{i}" for i in range(len(events))]),
        "event_timestamp": pa.array([NOW] * len(events), pa.timestamp("us", "UTC")),
        "profile:": pa.array(events, pa.timestamp("us", "UTC")),
    }
    return pa.table(table | {f"profile:{name}": column for name, column in columns.items()})


def held(*, ratio, years, verified, home):
    rows = zip(ratio, years, verified, home, strict=True)
    return [dict(zip(KINDS, row, strict=True)) for row in rows]


@pytest.mark.parametrize("is_whole", [True, False])
def test_values_come_back_with_the_types_of_the_store(is_whole):
    columns = {
        "ratio": [0.1, -0.0, 5e-324] if is_whole else [None, 1.5, None],
        "years": [2**53 + 1, 0, -3] if is_whole else [7, None, 2**53 + 1],
        "verified": [True, False, True] if is_whole else [None, False, True],
        "home": ["OWN", "", "é"] if is_whole else ["OWN", None, ""],
    }
    found = stored_of(PLAN, joined([NOW - DAY] * 3, **{name: pa.array(column) for name, column in columns.items()}))
    values = [one.views["profile"].values for one in found]
    assert repr(values) == repr(held(**columns))  # types and signs of zeros, too
    assert [one.applicant_id for one in found] == ["A0", "A1", "A2"]
    assert {one.views["profile"].status for one in found} == {"PRESENT"}


def test_what_is_not_finite_is_missing_and_so_is_a_column_without_any_value():
    columns = {
        "ratio": pa.array([float("inf"), float("nan"), float("-inf"), 1.0]),
        "years": pa.array([None] * 4, pa.int64()),
        "verified": pa.array([None] * 4, pa.bool_()),
        "home": pa.array([None] * 4, pa.string()),
    }
    found = stored_of(PLAN, joined([NOW] * 4, **columns))
    assert [one.views["profile"].values["ratio"] for one in found] == [None, None, None, 1.0]
    assert all(one.views["profile"].values[name] is None for one in found for name in ("years", "verified", "home"))


def test_applicants_may_come_as_a_dictionary():
    table = joined([NOW] * 3, **{name: pa.array([None] * 3, pa.float64()) for name in KINDS})
    names = pa.array(["A1", None, "A2"]).dictionary_encode()
    found = stored_of(PLAN, table.set_column(0, "applicant_id", names))
    assert [one.applicant_id for one in found] == ["A1", None, "A2"]


def test_events_that_are_missing_or_old_say_so():
    columns = {name: pa.array([None] * 3, pa.float64()) for name in ("ratio", "years")}
    columns |= {"verified": pa.array([True] * 3), "home": pa.array(["OWN"] * 3)}
    found = stored_of(PLAN, joined([None, NOW - 2 * DAY, NOW - DAY], **columns))
    views = [one.views["profile"] for one in found]
    assert [view.status for view in views] == ["MISSING", "STALE", "PRESENT"]
    assert [view.event_timestamp for view in views] == [None, NOW - 2 * DAY, NOW - DAY]


def test_instants_are_in_utc_to_the_microsecond_and_made_once():
    first, second = NOW + timedelta(microseconds=1), NOW - 20_000 * DAY
    column = pa.chunked_array(
        [
            pa.array([first, None, second], pa.timestamp("us", "UTC")),
            pa.array([first], pa.timestamp("us", "UTC")),
        ]
    )
    found = datetimes_of(column)
    assert found == [first, None, second, first]
    assert found[0] is found[3]
    assert found[0].tzinfo is UTC
    assert datetimes_of(pa.chunked_array([], pa.timestamp("us", "UTC"))) == []
