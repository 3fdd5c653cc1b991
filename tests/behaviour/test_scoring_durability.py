"""No acknowledged decision is lost, however the service ends, and none is acknowledged that is not in the log."""

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from monitoring.decision_log import DecisionLog
from services.scoring.replay import CitedModels, replay_all
from tests.behaviour.serving import Load, Server
from tests.unit.monitoring.postgres import a_postgres
from tests.unit.services.harness import a_home, put
from tests.unit.services.small_bundle import promote

KILLS = 3
APPLICANTS = 10


@pytest.fixture
def home(tmp_path):
    with a_home(tmp_path) as home:
        promote(home)
        for number in range(APPLICANTS):
            put(home, f"APP_{number}")
        yield home


def test_what_was_acknowledged_before_a_kill_is_in_the_log(home):
    server = Server(home)
    acknowledged = []
    for _ in range(KILLS):
        server.start()
        load = Load(server, APPLICANTS)
        time.sleep(0.7)
        server.kill()
        load.stop()
        assert load.acknowledged
        acknowledged += load.acknowledged
    server.start()  # over what the killed ones left behind
    status, _ = server.ask("GET", f"/decisions/{acknowledged[-1]}")
    server.stop()
    assert status == 200
    log = DecisionLog(home.decision_log_url)
    logged = list(log.rows())
    log.close()
    assert set(acknowledged) <= {record.decision_id for record in logged}
    assert all(replayed.identical for replayed in replay_all(logged, CitedModels(home)))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the writer in /proc")
def test_a_writer_that_is_killed_under_load_loses_nothing_acknowledged_and_ends_with_its_service(home):
    server = Server(home)
    server.start()
    load = Load(server, APPLICANTS)
    writers = []
    try:
        for _ in range(KILLS):
            after = len(load.acknowledged)
            _until(lambda after=after: len(load.acknowledged) > after + 20)
            (writer,) = children(server)
            writers.append(writer)
            os.kill(writer, signal.SIGKILL)
            time.sleep(1.1)
        after = len(load.acknowledged)
        _until(lambda: len(load.acknowledged) > after + 20)
        writers += children(server)
        server.kill()
    finally:
        load.stop()
    assert len(set(writers)) == KILLS + 1
    assert set(load.statuses) <= {200, 503}
    _until(lambda: not Path(f"/proc/{writers[-1]}").exists())
    log = DecisionLog(home.decision_log_url)
    logged = {record.decision_id for record in log.rows()}
    log.close()
    assert set(load.acknowledged) <= logged


def children(server):
    process = server._process.pid
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def gone_and_back(server, url, take_away, bring_back):
    """Take the log away under load and bring it back; every status must fit, and every answered decision be logged."""
    server.start()
    load = Load(server, APPLICANTS, clients=8)
    try:
        time.sleep(0.5)
        take_away()
        time.sleep(0.5)
        during = len(load.statuses)
        _until(lambda: len(load.statuses) > during + 16)
        back = len(load.statuses)
        bring_back()
        _until(lambda: 200 in load.statuses[back:])
        time.sleep(0.5)
        after = len(load.statuses)
        _until(lambda: len(load.statuses) > after + 16)
    finally:
        load.stop()
        server.stop()
    assert set(load.statuses[during:back]) == {503}
    assert set(load.statuses[after:]) == {200}
    log = DecisionLog(url)
    logged = {record.decision_id for record in log.rows()}
    log.close()
    assert set(load.acknowledged) <= logged


def _until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_that_another_program_locks_is_told_and_used_again_when_it_is_free(home, workers):
    other = []

    def lock():
        other.append(sqlite3.connect(home.root / "decisions.db", isolation_level=None, timeout=10))
        other[0].execute("BEGIN IMMEDIATE")

    def free():
        other[0].execute("ROLLBACK")
        other[0].close()

    gone_and_back(Server(home, workers), home.decision_log_url, lock, free)


def test_a_log_server_that_is_killed_under_load_is_told_and_used_again_when_it_is_back(home):
    with a_postgres() as postgres:
        server = Server(home, log=postgres.url)
        gone_and_back(server, postgres.url, postgres.stop, postgres.start)
