import gc
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores.stored import StoredView
from monitoring.decision_log import DecisionLog, DecisionRecord, Entry, Source
from monitoring.log_tables import decisions
from monitoring.outcomes import Outcome, Outcomes

START = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def record(number=0, **changes):
    base = DecisionRecord(
        decision_id=f"0190aaaa-0000-7000-8000-{number:012d}",
        decided_at=START + timedelta(minutes=number),
        as_of=START,
        applicant_id="Ünï 😀",
        bundle="sha256:" + "0" * 64,
        model_version="3",
        recommendation="APPROVED",
        pd=0.1 + 0.2,
        score=700,
        request={"applicant_id": "Ünï 😀", "purchase_amount": 3500.0},
        features={
            "v": Source(datetime(2026, 5, 31, tzinfo=UTC), {"a": 0.1}),
            "request": Source(None, {"b": None}),
        },
        views={"v": StoredView("STALE", START, 7, {"a": 0.1, "n": 2**62, "flag": False, "text": "x", "none": None})},
        impacts={"a": -1e-17},
        reference_log_odds=-1.5,
        guard={"passed": True, "violations": []},
        output={"credit_score": 700},
        policy_version="1",
        candor_version="0",
    )
    return msgspec.structs.replace(base, **changes)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'new folder' / 'decisions.db'}"


@pytest.fixture
def log(url):
    log = DecisionLog(url)
    yield log
    log.close()


def test_what_is_appended_is_read_back_to_the_bit(log):
    log.ping()
    log.append(record())
    assert log.get(record().decision_id) == record()
    assert log.get("nothing") is None


def test_a_second_process_sees_a_commit_at_once(log, url):
    log.append(record())
    code = f"from monitoring.decision_log import DecisionLog; print(len(list(DecisionLog({url!r}).rows())))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_columns_are_for_people_who_ask_in_sql(log, tmp_path):
    log.append(record())
    with sqlite3.connect(tmp_path / "new folder" / "decisions.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        row = database.execute("SELECT decided_at, recommendation, pd, score, applicant_id FROM decisions").fetchone()
    database.close()
    assert row == ("2026-06-01 00:00:00.000000", "APPROVED", 0.1 + 0.2, 700, "Ünï 😀")


def test_a_log_of_other_pages_stays_as_it_is(log, url, tmp_path):
    log.append(record(0))
    path = tmp_path / "new folder" / "decisions.db"
    assert pages_of(path) == 8192
    log.close()
    with closing(sqlite3.connect(path)) as database:
        database.executescript("PRAGMA journal_mode=DELETE; PRAGMA page_size=4096; VACUUM")
    for is_busy, pages in ((False, 1000), (True, 32_000_000 // 4096)):
        again = DecisionLog(url, is_busy)
        again.append(record(1 + is_busy))
        with again.database.write() as cursor:
            assert cursor.execute("PRAGMA wal_autocheckpoint").fetchone() == (pages,)
        assert [row.decision_id for row in again.rows()] == [record(n).decision_id for n in range(2 + is_busy)]
        again.close()
    assert pages_of(path) == 4096


def pages_of(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA page_size").fetchone()[0]


def test_a_window_takes_its_start_and_leaves_its_end(log):
    for number in (3, 1, 2, 0):
        log.append(record(number))
    offset = (START + timedelta(minutes=1)).astimezone(tz=None)
    minutes = [(row.decided_at - START).seconds // 60 for row in log.rows(offset, START + timedelta(minutes=3))]
    assert minutes == [1, 2]
    assert [row.decided_at for row in log.rows()] == sorted(row.decided_at for row in log.rows())
    assert len(list(log.rows(start=START + timedelta(minutes=2)))) == 2
    assert len(list(log.rows(end=START))) == 0


def test_many_rows_are_streamed(log):
    for number in range(1200):
        log.append(record(number))
    rows = log.rows()
    assert next(rows).decision_id == record(0).decision_id
    log.append(record(5000))
    assert len(list(rows)) >= 1199


def test_a_record_of_another_form_is_named_and_the_log_goes_on_taking_decisions(log):
    log.append(record(1))
    with log.database.begin() as connection:
        connection.execute(decisions.update().values(record='{"decision_id":"d-1","candor_version":"0.0.9"}'))
    for read in (lambda: log.get(record(1).decision_id), lambda: list(log.rows())):
        with pytest.raises(
            UnavailableError, match=r"decision d-1 was logged in a form .* by candor 0\.0\.9: Object miss"
        ):
            read()
    log.append(record(2))
    assert log.get(record(2).decision_id).score == 700


def test_who_reads_and_then_writes_waits_for_who_writes_meanwhile(log):
    """SQLite refuses to turn a reader into a writer once another has written: outcomes are stored beside decisions."""
    log.append(record(0))
    outcomes, done = Outcomes(log.database), threading.Event()

    def decide():
        number = 1
        while not done.is_set():
            log.append(record(number))
            number += 1

    deciding = threading.Thread(target=decide)
    deciding.start()
    try:
        taken = [
            outcomes.store(
                [Outcome(decision_id=record(0).decision_id, outcome="REPAID", observed_at=START + DAY * day)]
            )
            for day in range(1, 100)
        ]
    finally:
        done.set()
        deciding.join()
    assert [one.status for (one,) in taken] == ["stored"] * 99


def test_a_log_that_another_keeps_from_being_written_to_does_not_answer_a_ping(log, tmp_path):
    log.append(record(1))
    with closing(sqlite3.connect(tmp_path / "new folder" / "decisions.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked"):
            log.ping()
    log.ping()


def test_one_decision_is_logged_once(log):
    log.append(record())
    with pytest.raises(UnavailableError, match="UNIQUE"):
        log.append(record(score=1))
    assert log.get(record().decision_id).score == 700


def test_a_log_that_was_taken_away_is_not_written_to(log, tmp_path):
    log.append(record(1))
    (tmp_path / "new folder" / "decisions.db").unlink()
    log.append(record(2))
    assert [row.decision_id for row in log.rows()] == [record(2).decision_id]


def test_a_writer_that_waits_for_a_lock_holds_up_nobody_who_collects_garbage(log, tmp_path):
    """What a failed commit leaves behind must not hold on to the connection that the next one waits with."""
    log.append(record(1))
    longest = 0.0
    with closing(sqlite3.connect(tmp_path / "new folder" / "decisions.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        kept: list[Exception | None] = []

        def fail_twice():
            for number in (2, 3):
                kept.extend(log.append_all([Entry.of(record(number))]))

        writing = threading.Thread(target=fail_twice)
        writing.start()
        while writing.is_alive():
            if kept:
                knot = [kept.pop()]
                knot.append(knot)  # garbage that only a collection finds, as of a request that was refused
                del knot
            begun = time.monotonic()
            gc.collect()
            longest = max(longest, time.monotonic() - begun)
            time.sleep(0.05)
    assert longest < 1.0  # a commit waits for 2 s


def test_a_locked_log_says_so_and_works_again(log, tmp_path):
    log.append(record(1))
    other = sqlite3.connect(tmp_path / "new folder" / "decisions.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="decision log sqlite.*locked"):
        log.append(record(2))
    other.rollback()
    other.close()
    log.append(record(2))
    assert log.get(record(2).decision_id)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    log = DecisionLog(f"sqlite:///{tmp_path / 'file' / 'decisions.db'}")
    with pytest.raises(UnavailableError, match="decision log sqlite:///.*decisions.db"):
        log.append(record())
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)
    with pytest.raises(UnavailableError, match="not a database"):
        DecisionLog(f"sqlite:///{broken}").ping()


def test_a_server_that_is_not_there_is_named_without_its_password():
    log = DecisionLog("postgresql+psycopg://candor:hunter2@127.0.0.1:1/decisions")
    with pytest.raises(UnavailableError, match="127.0.0.1:1/decisions") as caught:
        log.ping()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("decisions.db", "needs a URL"),
        ("", "needs a URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("mysql://u:secret@h/d", "sqlite or postgresql, not on mysql"),
        ("postgresql+pg8000://u:secret@h/d", "needs the driver pg8000"),
    ],
)
def test_a_url_that_will_not_do_is_refused(url, message):
    with pytest.raises(InputError, match=message) as caught:
        DecisionLog(url)
    assert "secret" not in str(caught.value)
