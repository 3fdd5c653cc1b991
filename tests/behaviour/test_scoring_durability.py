"""No acknowledged decision is lost, however the service ends, and none is acknowledged that is not in the log."""

import time

import pytest

from monitoring.decision_log import DecisionLog
from services.scoring.replay import CitedModels, replay_all
from tests.behaviour.serving import Load, Server
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


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_that_goes_under_load_is_told_and_used_again_when_it_is_back(home, workers):
    server = Server(home, workers)
    server.start()
    database, away = home.root / "decisions.db", home.root / "away.db"
    load = Load(server, APPLICANTS)
    try:
        time.sleep(0.5)
        database.rename(away)
        database.mkdir()
        time.sleep(0.5)
        during = len(load.statuses)
        time.sleep(0.3)
        assert set(load.statuses[during:]) == {503}
        database.rmdir()
        away.rename(database)
        time.sleep(0.5)
        after = len(load.statuses)
        time.sleep(0.3)
    finally:
        load.stop()
        server.stop()
    assert set(load.statuses[after:]) == {200}
    assert set(load.statuses) == {200, 503}
    log = DecisionLog(home.decision_log_url)
    logged = {record.decision_id for record in log.rows()}
    log.close()
    assert set(load.acknowledged) <= logged
