import asyncio
import stat
import threading
import time

import pytest

from feature_repo.errors import UnavailableError
from monitoring import group_commit
from monitoring.decision_log import DecisionLog, Entry, Key, KeyTakenError
from monitoring.group_commit import GroupCommit, ThreadWriter
from tests.unit.monitoring.test_decision_log import record


class Slow:
    """Writes when it is let; tells in which groups."""

    def __init__(self, write=None):
        self.groups = []
        self.open = threading.Event()
        self.open.set()
        self._write = write

    def __call__(self, entries):
        self.groups.append(len(entries))
        self.open.wait(10)
        return self._write(entries) if self._write else [None] * len(entries)


@pytest.fixture
def log(tmp_path):
    log = DecisionLog(f"sqlite:///{tmp_path / 'decisions.db'}")
    yield log
    log.close()


def entry(number=0, key=None, **changes):
    return Entry.of(record(number, **changes), key)


async def started(writer, entries):
    tasks = [asyncio.create_task(writer.commit(one)) for one in entries]
    await asyncio.sleep(0.02)
    return tasks


def test_what_comes_during_a_commit_is_the_next_group():
    async def run():
        write = Slow()
        writer = GroupCommit(ThreadWriter(write))
        await writer.commit(entry())
        write.open.clear()
        first = await started(writer, [entry(1)])
        rest = await started(writer, [entry(number) for number in range(2, 42)])
        assert writer.waiting == 41
        write.open.set()
        await asyncio.gather(*first, *rest)
        assert writer.waiting == 0
        await writer.close()
        return write.groups

    assert asyncio.run(run()) == [1, 1, 40]


def test_what_comes_in_one_turn_is_one_group():
    async def run():
        write = Slow()
        writer = GroupCommit(ThreadWriter(write))
        await asyncio.gather(*(writer.commit(entry(number)) for number in range(30)))
        await writer.close()
        return write.groups

    assert asyncio.run(run()) == [30]


def test_one_bad_row_fails_alone(log):
    async def run():
        writer = GroupCommit(ThreadWriter(log.append_all))
        rows = [entry(1), entry(2), entry(1, score=1), entry(3)]
        found = await asyncio.gather(*(writer.commit(row) for row in rows), return_exceptions=True)
        await writer.close()
        return found

    first, second, twin, third = asyncio.run(run())
    assert first is second is third is None
    assert isinstance(twin, UnavailableError)
    assert [row.score for row in log.rows()] == [700, 700, 700]


def test_a_group_that_cannot_be_committed_fails_whole_and_the_next_does_not(log, tmp_path):
    async def run():
        writer = GroupCommit(ThreadWriter(log.append_all))
        await writer.commit(entry(0))
        database = tmp_path / "decisions.db"
        database.rename(tmp_path / "away.db")
        database.mkdir()
        faults = await asyncio.gather(*(writer.commit(entry(n)) for n in range(1, 9)), return_exceptions=True)
        database.rmdir()
        (tmp_path / "away.db").rename(database)
        await writer.commit(entry(9))
        await writer.close()
        return faults

    assert {type(fault) for fault in asyncio.run(run())} == {UnavailableError}
    assert [row.decided_at.minute for row in log.rows()] == [0, 9]


def test_who_comes_when_too_many_wait_is_refused():
    async def run():
        write = Slow()
        write.open.clear()
        writer = GroupCommit(ThreadWriter(write), most_waiting=3)
        tasks = await started(writer, [entry(number) for number in range(3)])
        with pytest.raises(UnavailableError, match="is behind: 3 requests"):
            await writer.commit(entry(4))
        write.open.set()
        await asyncio.gather(*tasks)
        await writer.commit(entry(5))
        await writer.close()

    asyncio.run(run())


def test_who_waits_too_long_is_told_and_not_written_later():
    async def run():
        write = Slow()
        write.open.clear()
        writer = GroupCommit(ThreadWriter(write), deadline=0.1)
        first = await started(writer, [entry(1)])
        second = await started(writer, [entry(2)])
        begun = time.monotonic()
        for task in (*first, *second):
            with pytest.raises(UnavailableError, match="no answer in"):
                await task
        assert time.monotonic() - begun < 1
        assert "no answer in" in str(writer.fault)
        with pytest.raises(UnavailableError, match="no answer in"):
            await asyncio.wait_for(writer.commit(entry(4)), 0.05)  # at once: nothing is kept for a writer that hangs
        write.open.set()
        while writer.fault and "no answer in" in str(writer.fault):
            await asyncio.sleep(0.01)
        await writer.commit(entry(3))
        await writer.close()
        return write.groups

    assert asyncio.run(run()) == [1, 1]  # the first was being written already; the second was not begun


def test_an_error_that_nobody_thought_of_reaches_who_waits():
    def broken(_entries):
        raise ZeroDivisionError

    async def run():
        writer = GroupCommit(ThreadWriter(broken))
        with pytest.raises(ZeroDivisionError):
            await writer.commit(entry())
        await writer.close()

    asyncio.run(run())


def test_closing_writes_what_waits_and_takes_no_more(log):
    async def run():
        writer = GroupCommit(ThreadWriter(log.append_all))
        tasks = [asyncio.create_task(writer.commit(entry(number))) for number in range(5)]
        await asyncio.sleep(0)
        await writer.close()
        await asyncio.gather(*tasks)
        with pytest.raises(UnavailableError, match="stopping"):
            await writer.commit(entry(6))

    asyncio.run(run())
    assert len(list(log.rows())) == 5


def test_the_last_fault_is_told_until_a_group_is_committed_or_a_while_has_passed(monkeypatch):
    broken = [UnavailableError("disk full")]

    def write(entries):
        return [broken[0] if broken else None] * len(entries)

    async def fails(writer):
        with pytest.raises(UnavailableError):
            await writer.commit(entry())

    async def run():
        writer = GroupCommit(ThreadWriter(write))
        assert writer.fault is None
        await fails(writer)
        assert str(writer.fault) == "disk full"
        fault = broken.pop()
        await writer.commit(entry())
        assert writer.fault is None
        broken.append(fault)
        await fails(writer)
        monkeypatch.setattr(group_commit, "_REMEMBERED", 0.0)
        assert writer.fault is None
        await writer.close()

    asyncio.run(run())


def test_many_decisions_of_one_request_are_one_transaction(log):
    async def run():
        writer = GroupCommit(ThreadWriter(log.append_all))
        faults = await writer.commit_all([entry(number) for number in range(2500)])
        await writer.close()
        return faults

    assert asyncio.run(run()) == [None] * 2500
    assert log.count() == 2500


def test_a_key_is_taken_once_and_takes_its_decision_with_it(log):
    key = Key("shop", "k1", "h1")
    log.append(record(1), key)
    with pytest.raises(KeyTakenError):
        log.append(record(2), key)
    log.append(record(3), Key("other shop", "k1", "h2"))
    assert [row.decision_id for row in log.rows()] == [record(1).decision_id, record(3).decision_id]
    kept = log.kept("shop", "k1")
    assert (kept.request_hash, kept.decision_id, kept.output) == ("h1", record(1).decision_id, b'{"credit_score":700}')
    assert log.kept("", "k1") is None


def test_only_its_owner_can_read_the_log(log, tmp_path):
    log.append(record())
    files = sorted(tmp_path.glob("decisions.db*"))
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
