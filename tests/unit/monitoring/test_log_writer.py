import asyncio
import os
import resource
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing, suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import UnavailableError
from monitoring import log_process, log_writer
from monitoring.decision_log import DecisionLog, Entry, Key, KeyTakenError
from monitoring.frames import Frames, frame
from monitoring.group_commit import GroupCommit
from monitoring.log_process import Batch, write_all
from monitoring.log_writer import ProcessWriter
from tests.unit.monitoring.test_decision_log import record
from tests.unit.monitoring.test_group_commit import entry, started


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'decisions.db'}"


@pytest.fixture
def log(url):
    log = DecisionLog(url)
    yield log
    log.close()


def held(log):
    return [row.decided_at.minute for row in log.rows()]


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 30), min_size=1))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(contents, cuts):
    stream, frames, found = b"".join(map(frame, contents)), Frames(), []
    while stream:
        found += frames.of(stream[: cuts[0]])
        stream, cuts = stream[cuts[0] :], cuts[1:] or cuts
    assert found == contents


def test_what_is_committed_is_in_the_log_to_the_bit_and_a_bad_row_fails_alone(url, log):
    rows = [*(entry(number) for number in range(40)), entry(7, score=1)]

    async def run():
        writer = GroupCommit(ProcessWriter(url))
        found = await asyncio.gather(*(writer.commit(row) for row in rows), return_exceptions=True)
        await writer.commit_all([entry(number) for number in range(40, 50)])
        await writer.close()
        return found

    *good, twin = asyncio.run(run())
    assert good == [None] * 40
    assert isinstance(twin, UnavailableError)
    assert held(log) == list(range(50))
    assert log.get(record(3).decision_id) == record(3)


def test_a_key_that_is_taken_is_told_as_such(url, log):
    log.append(record(1), Key("shop", "k", "h"))

    async def run():
        writer = GroupCommit(ProcessWriter(url))
        with pytest.raises(KeyTakenError, match="Idempotency-Key"):
            await writer.commit(entry(2, key=Key("shop", "k", "h")))
        await writer.commit(entry(3, key=Key("shop", "other", "h")))
        await writer.close()

    asyncio.run(run())
    assert held(log) == [1, 3]
    assert log.kept("shop", "other").decision_id == record(3).decision_id


def test_who_waits_for_a_writer_that_is_killed_is_told_at_once_and_another_is_started(url, log, monkeypatch):
    monkeypatch.setattr(log_writer, "_START_EVERY", 0.3)

    async def run():
        process = ProcessWriter(url)
        writer = GroupCommit(process)
        await writer.commit(entry(0))
        first = process._process.pid
        os.kill(first, signal.SIGSTOP)  # it has the next ones, and does nothing about them
        waiting = await started(writer, [entry(number) for number in range(1, 9)])
        begun = time.monotonic()
        os.kill(first, signal.SIGKILL)
        faults = await asyncio.gather(*waiting, return_exceptions=True)
        assert time.monotonic() - begun < 2
        assert {type(fault) for fault in faults} == {UnavailableError}
        assert "writer of the decision log has ended" in str(writer.fault)
        while not await accepted(writer, entry(9)):
            await asyncio.sleep(0.02)
        assert process._process.pid != first
        assert writer.fault is None
        await writer.close()

    asyncio.run(run())
    assert {0, 9} <= set(held(log))


async def accepted(writer, one):
    try:
        await writer.commit(one)
    except UnavailableError:
        return False
    return True


def test_a_writer_that_hangs_is_told_kept_from_more_and_ended(url, log, monkeypatch):
    monkeypatch.setattr(log_writer, "_HUNG_SECONDS", 1.0)

    async def run():
        process = ProcessWriter(url)
        writer = GroupCommit(process, deadline=0.5)
        await writer.commit(entry(0))
        first = process._process.pid
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(UnavailableError, match="no answer in"):
            await writer.commit(entry(1))
        assert "no answer in" in str(writer.fault)
        for _ in range(100):
            with pytest.raises(UnavailableError, match="no answer in"):
                await writer.commit(entry(2))
        assert len(process._waiting) == 1
        await asyncio.wait_for(process._has_ended.wait(), 5)
        writer = GroupCommit(process)  # which waits for a start
        while not await accepted(writer, entry(3)):
            await asyncio.sleep(0.02)
        assert process._process.pid != first
        await writer.close()

    asyncio.run(run())
    assert held(log) == [0, 3]


def test_a_writer_that_does_not_stay_is_neither_started_nor_logged_by_every_decision(url, monkeypatch, caplog):
    begun = []
    spawn = log_writer._spawn

    def counted(wire):
        begun.append(time.monotonic())
        return spawn(wire)

    monkeypatch.setattr(log_writer, "_spawn", counted)
    monkeypatch.setattr(log_writer.sys, "executable", "/bin/false")

    async def run():
        writer = GroupCommit(ProcessWriter(url))
        assert not any([await accepted(writer, entry(number)) for number in range(50)])
        await writer.close()

    asyncio.run(run())
    assert all(later - earlier >= log_writer._START_EVERY for earlier, later in zip(begun, begun[1:], strict=False))
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == len(begun)


def test_a_program_that_is_not_there_is_told(url, monkeypatch):
    monkeypatch.setattr(log_writer.sys, "executable", "/nowhere/python")

    async def run():
        writer = GroupCommit(ProcessWriter(url))
        with pytest.raises(UnavailableError, match="cannot be started"):
            await writer.commit(entry(1))
        await writer.close()

    asyncio.run(run())


def test_a_writer_for_which_there_was_no_socket_is_started_once_there_is(url, log, monkeypatch):
    monkeypatch.setattr(log_writer, "_START_EVERY", 0.0)
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run():
        process = ProcessWriter(url)
        writer = GroupCommit(process)
        await writer.commit(entry(0))
        os.kill(process._process.pid, signal.SIGKILL)
        await process._has_ended.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        try:
            with pytest.raises(UnavailableError, match="cannot be started"):
                await writer.commit(entry(1))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
        await writer.commit(entry(2))
        await writer.close()

    asyncio.run(run())
    assert held(log) == [0, 2]


def test_what_cannot_be_sent_takes_nobodys_answer(url, log):
    async def run():
        writer = GroupCommit(ProcessWriter(url))
        await writer.commit(entry(0))
        cannot = await started(writer, [Entry((object(),) * 13)])
        twin = await started(writer, [entry(0, score=1)])
        good = await started(writer, [entry(1)])
        found = await asyncio.gather(*cannot, *twin, *good, return_exceptions=True)
        await writer.close()
        return found

    cannot, twin, good = asyncio.run(run())
    assert isinstance(cannot, TypeError)
    assert isinstance(twin, UnavailableError)
    assert good is None
    assert held(log) == [0, 1]


def test_a_service_that_is_gone_has_what_it_sent_written_and_the_writer_ends(url, log):
    ours, theirs = socket.socketpair()
    due = time.monotonic() + 60
    batches = [msgspec.msgpack.encode(Batch(due, [entry(number)])) for number in range(5)]
    late = msgspec.msgpack.encode(Batch(time.monotonic() - 1, [entry(5)]))
    ours.sendall(b"".join(map(frame, [url.encode(), *batches, late])))
    ours.close()
    with theirs:
        writing = threading.Thread(target=write_all, args=(theirs,))
        writing.start()
        writing.join(10)
    assert not writing.is_alive()
    assert held(log) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("after", "at_last", "lull"), [(10, 10**6, 3), (10**6, 10, 3), (5, 10, 10**6)], ids=["lull", "at-last", "no-lull"]
)
def test_the_database_is_checkpointed_in_a_lull_or_beside_the_commits(
    url, log, monkeypatch, tmp_path, after, at_last, lull
):
    monkeypatch.setattr(log_process, "_CHECKPOINT_AFTER", after)
    monkeypatch.setattr(log_process, "_CHECKPOINT_AT_LAST", at_last)
    monkeypatch.setattr(log_process, "_LULL_MS", lull)

    def in_the_database_alone():
        with (
            suppress(sqlite3.Error),  # it is being copied to
            closing(sqlite3.connect(f"file:{tmp_path / 'decisions.db'}?immutable=1", uri=True)) as connection,
        ):
            return connection.execute("select count(*) from decisions").fetchone()[0]
        return 0

    ours, theirs = socket.socketpair()
    with ours, theirs:
        writing = threading.Thread(target=write_all, args=(theirs,))
        writing.start()
        ours.sendall(frame(url.encode()))
        for number in range(12):
            batch = Batch(time.monotonic() + 60, [entry(number)])
            ours.sendall(frame(msgspec.msgpack.encode(batch)))
            ours.recv(4096)
        until = time.monotonic() + 10
        while (copied := in_the_database_alone()) < 10 and time.monotonic() < until:
            time.sleep(0.02)
        ours.shutdown(socket.SHUT_WR)
        writing.join(10)
    assert 10 <= copied <= 12
    assert held(log) == list(range(12))


def test_closing_writes_what_waits_and_leaves_no_process(url, log):
    async def run():
        process = ProcessWriter(url)
        process.start()
        writer = GroupCommit(process)
        await writer.commit(entry(0))
        number_of_process = process._process.pid
        tasks = [asyncio.create_task(writer.commit(entry(number))) for number in range(1, 5)]
        await asyncio.sleep(0)
        await writer.close()
        assert await asyncio.gather(*tasks) == [None] * 4
        return number_of_process

    ended = asyncio.run(run())
    assert held(log) == [0, 1, 2, 3, 4]
    with pytest.raises(ProcessLookupError):
        os.kill(ended, 0)


def test_told_to_end_by_a_signal_it_goes_on_until_the_service_ends(url, log):
    async def run():
        process = ProcessWriter(url)
        writer = GroupCommit(process)
        await writer.commit(entry(0))
        os.kill(process._process.pid, signal.SIGTERM)
        os.kill(process._process.pid, signal.SIGINT)
        await writer.commit(entry(1))
        await writer.close()

    asyncio.run(run())
    assert held(log) == [0, 1]
