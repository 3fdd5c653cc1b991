import os
import signal
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from monitoring import logged_inputs, profile_index, profile_store
from monitoring.decision_log import DecisionLog, Entry, Source
from monitoring.log_tables import decisions
from monitoring.logged_inputs import LoggedInputs
from monitoring.logged_profile import profile_window
from monitoring.outcomes import Outcome, Outcomes
from monitoring.profiles import summaries
from monitoring.segments import BANDS, Segment, banded
from tests.unit.monitoring.postgres import a_postgres
from tests.unit.monitoring.test_decision_log import record

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LONG_AGO = datetime(2026, 3, 2, tzinfo=UTC)
YESTERDAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
LAST_WEEK = YESTERDAY - 6 * DAY


def decision(number: int, at: datetime, pd: float = 0.03, **changes):
    """Return a decision whose feature `amount` is its number."""
    features = {
        "request": Source(None, {"amount": float(number), "purpose": "car" if number % 3 else None}),
        "bureau": Source(at, {"lines": number % 5, "verified": number % 2 == 0}),
    }
    return record(number, decided_at=at, features=features, pd=pd, **changes)


@pytest.fixture
def home(tmp_path):
    return Home(root=tmp_path)


@pytest.fixture
def log(home):
    log = DecisionLog(home.decision_log_url)
    yield log
    log.close()


def fill(log, *moments, first=0):
    for number, at in enumerate(moments, first):
        log.append(decision(number, at))


def counted(home) -> int:
    return sum(day.decisions for day in profile_store.days(home))


def amounts(home, start=LONG_AGO - DAY, end=YESTERDAY + 9 * DAY):
    """Return which decisions are in the profiles of a time, each as often as it is there."""
    summary = summaries(profile_store.period(home, start, end))["amount"]
    distribution = summary.distribution
    steps = [b - a for a, b in zip((0.0, *distribution.cdf), distribution.cdf, strict=False)]
    return {int(point): round(step * summary.present) for point, step in zip(distribution.points, steps, strict=True)}


def test_hours_and_days_hold_each_decision_once(home, log):
    fill(log, *(LAST_WEEK + number * HOUR / 4 for number in range(120)))
    assert profile_store.update(home) == profile_store.Updated(hours=30, decisions=120)
    assert [(one.day, one.decisions, one.complete) for one in profile_store.days(home)] == [
        (LAST_WEEK.date(), 96, True),
        ((LAST_WEEK + DAY).date(), 24, True),
    ]
    assert amounts(home) == dict.fromkeys(range(120), 1)
    assert amounts(home, LAST_WEEK + 2 * HOUR, LAST_WEEK + 3 * HOUR) == dict.fromkeys(range(8, 12), 1)
    assert amounts(home, LAST_WEEK + 23 * HOUR, LAST_WEEK + 25 * HOUR) == dict.fromkeys(range(92, 100), 1)


def test_a_run_with_nothing_new_writes_nothing(home, log):
    fill(log, *(YESTERDAY + number * HOUR for number in range(30)))
    profile_store.update(home)
    before = {path: path.stat().st_mtime_ns for path in profile_store.folder(home).iterdir()}
    assert profile_store.update(home) == profile_store.Updated(0, 0)
    assert {path: path.stat().st_mtime_ns for path in profile_store.folder(home).iterdir()} == before


def test_what_came_since_is_added_to_its_hour_and_nothing_else_is_touched(home, log, monkeypatch):
    fill(log, YESTERDAY + HOUR, YESTERDAY + 2 * HOUR)
    profile_store.update(home)
    first = profile_index.read_index(profile_store.folder(home)).days[f"{YESTERDAY:%Y-%m-%d}"]
    log.append(decision(2, YESTERDAY + 2 * HOUR + timedelta(minutes=1)))
    read = []
    monkeypatch.setattr(
        LoggedInputs, "pages", lambda self, *a, pages=LoggedInputs.pages: read.append(a) or pages(self, *a)
    )
    assert profile_store.update(home) == profile_store.Updated(hours=1, decisions=1)
    second = profile_index.read_index(profile_store.folder(home)).days[f"{YESTERDAY:%Y-%m-%d}"]
    assert second.hours["01"] == first.hours["01"]
    assert second.hours["02"].file != first.hours["02"].file
    assert [after.decision_id for _, _, after in read] == [first.hours["02"].last.decision_id]
    assert amounts(home) == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("day", [LONG_AGO, YESTERDAY], ids=["a day without its hours", "a day with its hours"])
def test_a_decision_that_becomes_visible_late_is_counted_once(home, log, day):
    fill(log, day + HOUR, day + 3 * HOUR, day + 3 * HOUR + timedelta(minutes=5))
    profile_store.update(home)
    fill(log, day + 3 * HOUR + timedelta(minutes=1), first=3)
    assert profile_store.update(home).decisions == 1
    fill(log, day + 2 * HOUR, day + 3 * HOUR, first=4)
    assert profile_store.update(home).decisions == 2
    assert amounts(home) == dict.fromkeys(range(6), 1)
    assert profile_store.update(home) == profile_store.Updated(0, 0)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.integers(0, 60 * 27), max_size=6), min_size=1, max_size=5))
def test_in_whatever_order_decisions_come_each_is_counted_once(tmp_path_factory, runs):
    home = Home(root=tmp_path_factory.mktemp("home"))
    log = DecisionLog(home.decision_log_url)
    number = 0
    for minutes in [[0], *runs]:
        for minute in minutes:
            log.append(decision(number, YESTERDAY + timedelta(minutes=minute)))
            number += 1
        profile_store.update(home)
        assert amounts(home) == dict.fromkeys(range(number), 1)
    log.close()


def test_a_run_that_is_killed_between_any_two_steps_leaves_nothing_counted_twice_or_lost(home, log):
    fill(log, *(YESTERDAY + number * HOUR / 2 for number in range(6)), YESTERDAY - HOUR)
    profile_store.update(home)
    fill(log, *(YESTERDAY - DAY + number * HOUR / 2 for number in range(40, 46)), first=7)
    killed = 0
    while _killed_at(home, killed):
        killed += 1
        assert counted(home) == sum(amounts(home).values())
    assert killed > 6
    assert profile_store.update(home) == profile_store.Updated(0, 0)
    assert amounts(home) == dict.fromkeys(range(13), 1)


def _killed_at(home, step: int) -> bool:
    """Run an update in a child that kills itself before or after a file is written; return whether it did."""
    child = os.fork()
    if child == 0:
        steps = iter(range(step + 1))
        write = profile_index.write_atomically

        def one_step() -> None:
            if next(steps, None) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        def written(path, data):
            one_step()
            write(path, data)
            one_step()

        profile_index.write_atomically = written
        profile_store.update(home)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def test_two_runs_at_once_wait_for_one_another(home, log):
    fill(log, *(YESTERDAY + number * HOUR / 10 for number in range(60)))
    found = []
    threads = [threading.Thread(target=lambda: found.append(profile_store.update(home).decisions)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 0, 60]
    assert amounts(home) == dict.fromkeys(range(60), 1)


def test_on_postgresql_transactions_that_commit_out_of_order_are_counted_once(home):
    with a_postgres() as server:
        home = Home(root=home.root, log_override=server.url)
        log, slow = DecisionLog(server.url), DecisionLog(server.url)
        log.append(decision(0, YESTERDAY + HOUR))
        with slow.database.write() as cursor:
            slow._insert.run(cursor, [Entry.of(decision(1, YESTERDAY + 2 * HOUR)).row])
            log.append(decision(2, YESTERDAY + 2 * HOUR + timedelta(seconds=1)))
            assert profile_store.update(home).decisions == 2
            assert amounts(home) == {0: 1, 2: 1}
        log.append(decision(3, YESTERDAY + 2 * HOUR + timedelta(seconds=2)))
        assert profile_store.update(home).decisions == 2
        assert amounts(home) == dict.fromkeys(range(4), 1)
        assert profile_store.update(home) == profile_store.Updated(0, 0)
        log.close()
        slow.close()


def test_a_decision_that_is_taken_out_of_the_log_is_taken_out_of_the_profiles(home, log):
    fill(log, *(LONG_AGO + number * HOUR for number in range(26)))
    profile_store.update(home)
    with log.database.begin() as connection:
        connection.execute(sa.delete(decisions).where(decisions.c.decided_at >= LONG_AGO + 20 * HOUR))
    assert profile_store.update(home).decisions == -6
    assert amounts(home) == dict.fromkeys(range(20), 1)
    assert [one.decisions for one in profile_store.days(home)] == [20]


def test_a_period_is_what_the_log_itself_gives(home, log):
    rows = [
        decision(
            number,
            LAST_WEEK + number * HOUR / 8,
            pd=number / 1000,
            recommendation="APPROVED" if number <= 200 else "DECLINED",
            arm="challenger" if number % 4 == 0 else "champion",
            model_version="4" if number % 4 == 0 else "3",
        )
        for number in range(400)
    ]
    assert log.append_all([Entry.of(row) for row in rows]) == [None] * 400
    profile_store.update(home)
    reader = LoggedInputs(home.decision_log_url)
    for segment in (
        Segment(),
        Segment(recommendation="APPROVED"),
        Segment(arm="challenger", band=BANDS[1]),
        Segment(model_version="3", recommendation="DECLINED"),
    ):
        end = LAST_WEEK + 40 * HOUR
        direct, rows = profile_window(reader, LAST_WEEK + HOUR, end, segment)
        kept = summaries(profile_store.period(home, LAST_WEEK + HOUR, end, segment))
        assert kept == summaries(direct)
        assert kept["amount"].n == rows
    assert kept["recommendation"].counts == {"DECLINED": rows}
    reader.close()


def test_features_are_told_by_score_band(home, log):
    for number, pd in enumerate([0.01, 0.05, 0.07, 0.2, 0.9]):
        log.append(decision(number, LONG_AGO, pd=pd))
    profile_store.update(home)
    found = summaries(profile_store.period(home, LONG_AGO, LONG_AGO + DAY))
    assert [found[banded("amount", band)].distribution.points for band in BANDS] == [(0, 1), (2,), (3,), (4,)]
    assert found["purpose"].counts == {"car": 3}
    assert found["verified"].counts == {"true": 3, "false": 2}
    assert found["default_probability"].distribution.points == (0.01, 0.05, 0.07, 0.2, 0.9)
    assert banded("default_probability", BANDS[0]) not in found


def test_outcomes_are_those_that_are_known_when_a_period_is_asked_for(home, log):
    fill(log, *(LAST_WEEK + number * HOUR for number in range(5)))
    profile_store.update(home)
    assert "defaulted" not in summaries(profile_store.period(home, LAST_WEEK, LAST_WEEK + DAY))
    late = datetime(2027, 1, 1, tzinfo=UTC)
    Outcomes(log.database).store(
        [
            Outcome(outcome="REPAID", observed_at=late, decision_id=record(0).decision_id),
            Outcome(outcome="REPAID", observed_at=late, decision_id=record(1).decision_id),
            Outcome(outcome="DEFAULTED", observed_at=late + DAY, decision_id=record(1).decision_id),
            Outcome(outcome="REPAID", observed_at=late + 2 * DAY, decision_id=record(1).decision_id),
            Outcome(outcome="REPAID", observed_at=late, decision_id=record(4).decision_id),
        ]
    )
    found = summaries(profile_store.period(home, LAST_WEEK, LAST_WEEK + 4 * HOUR))["defaulted"]
    assert (found.n, found.counts) == (2, {"false": 1, "true": 1})


def test_neither_a_writer_nor_a_reader_waits_for_the_other(home, log):
    fill(log, *(YESTERDAY + number * timedelta(minutes=1) for number in range(5)))
    writer = sqlite3.connect(home.root / "decisions.db", isolation_level=None)
    writer.execute("begin immediate")
    assert profile_store.update(home).decisions == 5
    writer.execute("rollback")
    writer.close()
    reader = LoggedInputs(home.decision_log_url)
    with reader._log.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one() == 5
        log.append(decision(9, YESTERDAY))
        assert connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one() == 5
    reader.close()
    assert profile_store.update(home).decisions == 1


def test_only_files_that_the_index_names_count_and_others_are_swept_when_they_are_old(home, log):
    fill(log, YESTERDAY)
    profile_store.update(home)
    place = profile_store.folder(home)
    strays = [place / f"{YESTERDAY:%Y-%m-%d}-{name}.cells" for name in ("old", "new")]
    for stray in strays:
        stray.write_bytes(b"half a fi")
    os.utime(strays[0], (0, 0))
    profile_store.update(home)
    assert [stray.exists() for stray in strays] == [False, True]
    assert amounts(home) == {0: 1}


def test_files_that_are_gone_are_made_again_from_the_log(home, log):
    fill(log, *(YESTERDAY + number * HOUR for number in range(5)))
    profile_store.update(home)
    for path in profile_store.folder(home).glob("*.cells"):
        path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        amounts(home)
    assert profile_store.update(home).decisions == 0
    assert amounts(home) == dict.fromkeys(range(5), 1)


def test_profiles_that_were_made_otherwise_are_made_again(home, log, monkeypatch):
    fill(log, YESTERDAY)
    monkeypatch.setattr(profile_index, "MADE_AS", "0")
    index = profile_index.Index(made_as="0")
    profile_index.write_index(profile_store.folder(home), index)
    monkeypatch.undo()
    assert profile_index.read_index(profile_store.folder(home)).days == {}
    assert profile_store.update(home).decisions == 1


def test_hours_are_kept_for_five_weeks_and_days_for_good(home, log):
    fill(log, *(LONG_AGO + number * HOUR for number in range(3)), YESTERDAY)
    profile_store.update(home)
    fill(log, YESTERDAY + HOUR, first=4)
    profile_store.update(home)
    assert amounts(home, LONG_AGO, LONG_AGO + DAY) == dict.fromkeys(range(3), 1)
    with pytest.raises(InputError, match="the hours of 2026-03-02 are no longer kept apart: ask for the whole day"):
        amounts(home, LONG_AGO, LONG_AGO + HOUR)
    assert amounts(home, YESTERDAY, YESTERDAY + HOUR) == {3: 1}


def test_a_day_long_ago_is_profiled_at_once_and_comes_to_the_same(home, log):
    fill(log, *(LONG_AGO + number * HOUR / 2 for number in range(60)))
    assert profile_store.update(home) == profile_store.Updated(hours=30, decisions=60)
    assert len(list(profile_store.folder(home).glob("*.cells"))) == 2
    reader = LoggedInputs(home.decision_log_url)
    direct, _ = profile_window(reader, LONG_AGO, LONG_AGO + DAY, Segment())
    assert summaries(profile_store.period(home, LONG_AGO, LONG_AGO + DAY)) == summaries(direct)
    reader.close()
    assert profile_store.update(home) == profile_store.Updated(0, 0)


def test_what_cannot_be_given_is_refused(home, log):
    fill(log, YESTERDAY)
    profile_store.update(home)
    with pytest.raises(InputError, match="begin and end on the hour"):
        profile_store.period(home, YESTERDAY + timedelta(minutes=30), YESTERDAY + DAY)
    with pytest.raises(InputError, match="no decisions were profiled between 2026-03-02 00:00 and 2026-03-03 00:00"):
        profile_store.period(home, LONG_AGO, LONG_AGO + DAY)
    with pytest.raises(InputError, match="no decisions were profiled"):
        profile_store.period(home, YESTERDAY, YESTERDAY + DAY, Segment(arm="challenger"))


@pytest.mark.parametrize("damage", ["{", "[]", ""])
def test_a_damaged_index_is_made_again_from_the_log(home, log, damage, caplog):
    fill(log, YESTERDAY, YESTERDAY + HOUR)
    profile_store.update(home)
    before = amounts(home)
    (profile_store.folder(home) / "index.json").write_text(damage)
    assert profile_store.update(home) == profile_store.Updated(hours=2, decisions=2)
    assert amounts(home) == before
    assert "index.json is damaged" in caplog.text


def test_damaged_profiles_are_named_once_and_made_again_from_the_log(home, log):
    fill(log, YESTERDAY, YESTERDAY + HOUR)
    profile_store.update(home)
    before = amounts(home)
    for file in profile_store.folder(home).glob("*.cells"):
        file.write_bytes(b"torn")
    with pytest.raises(InputError, match="was damaged .* and is removed: profile again"):
        amounts(home)
    for _ in range(3):  # hours and day are each looked at when they are needed
        try:
            profile_store.update(home)
            assert amounts(home) == before
            break
        except InputError:
            continue
    assert amounts(home) == before


def test_a_log_that_is_not_there_is_told_and_not_made(home):
    with pytest.raises(UnavailableError, match="there is no decision log at"):
        profile_store.update(home)
    assert not (home.root / "decisions.db").exists()
    assert profile_store.days(home) == []


def test_segments_are_parsed_and_refused_by_name():
    assert Segment.parse(["recommendation=APPROVED", f"band={BANDS[2]}"]) == Segment(
        recommendation="APPROVED", band=BANDS[2]
    )
    for words in (["recomendation=APPROVED"], ["APPROVED"]):
        with pytest.raises(InputError, match="write NAME=VALUE, NAME being one of recommendation, arm"):
            Segment.parse(words)
    with pytest.raises(InputError, match="segment band=best: there are PD to 5 %"):
        Segment.parse(["band=best"])


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_pages_begin_where_the_last_one_ended_also_among_decisions_of_one_instant(home, log, monkeypatch, rows):
    monkeypatch.setattr(logged_inputs, "PAGE", rows)
    fill(log, *[YESTERDAY] * 5, *[YESTERDAY + timedelta(seconds=1)] * 4)
    reader = LoggedInputs(home.decision_log_url)
    pages = list(reader.pages(YESTERDAY, YESTERDAY + HOUR))
    reader.close()
    assert [amount for page in pages for amount in page.columns["amount"]] == list(range(9))
    assert max(page.rows for page in pages) == rows
    profile_store.update(home)
    assert amounts(home) == dict.fromkeys(range(9), 1)
