"""The decision log on a real PostgreSQL server, where its programs are installed."""

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta

import pytest

from feature_repo.errors import UnavailableError
from monitoring import logged_results
from monitoring.decision_log import DecisionLog, Entry, Key, KeyTakenError
from monitoring.group_commit import GroupCommit, ThreadWriter
from monitoring.outcomes import Outcome, Outcomes
from tests.unit.monitoring.postgres import a_postgres
from tests.unit.monitoring.test_decision_log import START, record
from tests.unit.monitoring.test_group_commit import entry
from tests.unit.monitoring.test_performance import decision


@pytest.fixture(scope="module")
def server():
    with a_postgres() as server:
        yield server


@pytest.fixture
def log(server):
    log = DecisionLog(server.url)
    yield log
    with log.database.begin() as connection:
        connection.exec_driver_sql("truncate decisions, idempotency_keys, outcomes")
    log.close()


def test_what_is_appended_is_read_back_to_the_bit(log):
    fresh = record(1, decided_at=datetime(2000, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
    log.append(fresh)
    assert log.get(fresh.decision_id) == fresh
    assert list(log.rows(fresh.decided_at, fresh.decided_at + timedelta(microseconds=1))) == [fresh]
    assert log.count() == 1


def test_a_group_is_committed_and_a_bad_row_fails_alone(log):
    async def run():
        writer = GroupCommit(ThreadWriter(log.append_all))
        rows = [*(entry(number) for number in range(50)), entry(7, score=1)]
        found = await asyncio.gather(*(writer.commit(row) for row in rows), return_exceptions=True)
        await writer.close()
        return found

    *good, twin = asyncio.run(run())
    assert good == [None] * 50
    assert isinstance(twin, UnavailableError)
    assert [row.score for row in log.rows()] == [700] * 50


def test_a_key_is_taken_once(log):
    key = Key("shop", "k", "h")
    log.append(record(1), key)
    with pytest.raises(KeyTakenError):
        log.append(record(2), key)
    assert log.kept("shop", "k").output == b'{"credit_score":700}'
    assert log.count() == 1


def test_outcomes_are_stored_once(log):
    log.append(record(1))
    given = [Outcome(outcome="REPAID", observed_at=START, applicant_id="Ünï 😀", decided_at=record(1).decided_at)]
    outcomes = Outcomes(log.database)
    assert [outcomes.store(given)[0].status for _ in range(2)] == ["stored", "known"]
    assert list(outcomes.rows()) == [(record(1).decision_id, START, "REPAID")]


def test_results_are_read_with_the_outcome_that_counts(log, server, monkeypatch):
    monkeypatch.setattr(logged_results, "PAGE", 2)
    at = datetime(2025, 3, 2, 10, tzinfo=UTC)
    rows = [decision(number, at + timedelta(minutes=number)) for number in range(5)]
    assert not any(log.append_all([Entry.of(row) for row in rows]))
    days = [(0, "REPAID", 90), (0, "DEFAULTED", 120), (0, "REPAID", 130), (3, "DEFAULTED", 100), (3, "WITHDRAWN", 125)]
    told = [
        Outcome(outcome=name, observed_at=at + timedelta(days=day), decision_id=rows[number].decision_id)
        for number, name, day in days
    ]
    assert {taken.status for taken in Outcomes(log.database).store(told)} == {"stored"}
    reader = logged_results.LoggedResults(server.url)
    try:
        for known_by, expected in [(100, [0, -1, -1, 1, -1]), (120, [1, -1, -1, 1, -1]), (130, [1, -1, -1, -1, -1])]:
            pages = list(reader.pages(at - timedelta(days=1), at + timedelta(days=known_by)))
            assert [len(page.pd) for page in pages] == [2, 2, 1]
            assert [outcome for page in pages for outcome in page.outcome.tolist()] == expected
            assert [str(one) for one in pages[0].as_of] == ["2025-03-02T10:00:00.000000", "2025-03-02T10:01:00.000000"]
    finally:
        reader.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such limit")
def test_a_server_out_of_reach_is_given_up_by_the_system_in_seconds(log):
    connection = log.database.engine.raw_connection()
    with socket.socket(fileno=os.dup(connection.driver_connection.fileno())) as wire:
        unheard = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        idle = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    connection.close()
    assert 0 < unheard <= 5000
    assert idle <= 5


def test_a_server_that_is_killed_is_told_and_used_again_when_it_is_back(log, server):
    log.append(record(1))
    server.stop()
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{server.port}"):
        log.append(record(2))
    server.start()
    log.append(record(3))
    assert [row.decision_id for row in log.rows()] == [record(1).decision_id, record(3).decision_id]
