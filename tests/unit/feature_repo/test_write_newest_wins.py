import random
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import redis

from feature_repo.errors import UnavailableError
from feature_repo.stores import newest_wins
from feature_repo.stores.encode import encode_keys, encode_timestamps, encode_values
from feature_repo.stores.newest_wins import TOGETHER, NewestWins
from feature_repo.stores.resp import Columns, Rows
from feature_repo.stores.wire import decode_timestamp
from tests.contract.online_harness import a_redis, contents, empty

EVENT = datetime(2026, 5, 31, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with a_redis(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
def client(port):
    empty(port)
    with redis.Redis(port=port, socket_timeout=5) as client:
        yield client


def some_rows(names, events, values, key_ttl=0, view="view"):
    return Rows(
        Columns(
            encode_keys({"applicant_id": (pa.array(names), "STRING")}, "candor"),
            encode_timestamps(pa.array(events, INSTANT), "event"),
            f"_ts:{view}".encode(),
            {b"abcd": encode_values(pa.array(values), "INT64", "value")},
            key_ttl,
        )
    )


def write(client, *batches):
    return NewestWins(client, "here:1").write(batches)


def stored(client, name):
    key = encode_keys({"applicant_id": (pa.array([name]), "STRING")}, "candor")[0].as_py()
    found = client.hgetall(key)
    return decode_timestamp(found[b"_ts:view"]), found[b"abcd"]


def value(number):
    return encode_values(pa.array([number]), "INT64", "value")[0].as_py()


MANY = 3 * TOGETHER + 5


@pytest.mark.parametrize("count", [1, MANY], ids=["one group", "several groups"])
def test_an_older_row_never_replaces_a_newer_one_and_an_equal_one_does(client, count):
    names = [f"A{number}" for number in range(count)]
    assert write(client, some_rows(names, [EVENT] * count, [1] * count)) == count
    events = [EVENT + timedelta(microseconds=number % 3 - 1) for number in range(count)]
    assert write(client, some_rows(names, events, [2] * count)) == sum(event >= EVENT for event in events)
    for name, event in zip(names, events, strict=True):
        assert stored(client, name) == (max(event, EVENT), value(2 if event >= EVENT else 1))


TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 58, 999999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, microsecond=1, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 2, 7, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 2, 8, tzinfo=UTC),
    EVENT,
    EVENT + timedelta(microseconds=1),
    EVENT + timedelta(seconds=1),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


def test_every_pair_of_times_is_compared_rightly_even_before_1970(client):
    pairs = [(first, second) for first in TIMES for second in TIMES]
    names = [f"A{number}" for number in range(len(pairs))]
    write(client, some_rows(names, [first for first, _ in pairs], [1] * len(pairs)))
    write(client, some_rows(names, [second for _, second in pairs], [2] * len(pairs)))
    for name, (first, second) in zip(names, pairs, strict=True):
        assert stored(client, name) == (max(first, second), value(2 if second >= first else 1)), (first, second)


def test_a_first_load_is_the_same_bytes_as_one_row_at_a_time(client, port):
    names = [f"A{number}" for number in range(MANY)]
    values = [None if number % 5 == 0 else number * 1000 - 7 for number in range(MANY)]
    events = [EVENT.replace(microsecond=number % 2) for number in range(MANY)]
    write(client, some_rows(names, events, values, key_ttl=1000))
    together = {key: client.dump(key) for key in client.scan_iter()}
    assert {client.ttl(key) for key in together} <= {999, 1000}
    empty(port)
    for row in zip(names, events, values, strict=True):
        write(client, some_rows(*([item] for item in row[:2]), pa.array([row[2]], pa.int64())))
    assert {key: client.dump(key) for key in client.scan_iter()} == together


@pytest.mark.parametrize("width", [63, 64, 300, 70000])
def test_long_values_are_whole_whatever_the_way_they_are_written(client, width):
    names = [f"A{number}" for number in range(MANY)]
    rows = some_rows(names, [EVENT] * MANY, [1] * MANY).columns
    text = encode_values(pa.array(["x" * (width - 3)] * (MANY - 1) + ["y"]), "STRING", "value")
    rows.values[b"efgh"] = text
    write(client, Rows(rows))
    assert [found[b"efgh"] for _, found in sorted(contents(client.get_connection_kwargs()["port"]).items())].count(
        text[0].as_py()
    ) == (MANY - 1)


def test_a_push_during_a_first_load_is_not_overwritten(client, monkeypatch):
    names = [f"A{number}" for number in range(MANY)]
    prepared = newest_wins._prepared

    def then_another_pushes(connection, rows):
        answer = prepared(connection, rows)
        if len(rows) > 1:
            assert answer[1] is not None
            write(client, some_rows(["A7"], [EVENT + timedelta(days=1)], [99]))
            write(client, some_rows(["A8"], [EVENT - timedelta(days=1)], [98]))
        return answer

    monkeypatch.setattr(newest_wins, "_prepared", then_another_pushes)
    assert write(client, some_rows(names, [EVENT] * MANY, [1] * MANY)) == MANY - 1
    assert stored(client, "A7") == (EVENT + timedelta(days=1), value(99))
    assert stored(client, "A8") == (EVENT, value(1))


def test_another_view_of_the_same_key_is_left_alone(client):
    names = [f"A{number}" for number in range(MANY)]
    write(client, some_rows(names, [EVENT] * MANY, [1] * MANY, view="other"))
    assert write(client, some_rows(names, [EVENT - timedelta(days=9)] * MANY, [2] * MANY)) == MANY
    found = contents(client.get_connection_kwargs()["port"])
    assert {frozenset(row) for row in found.values()} == {frozenset({b"_ts:view", b"_ts:other", b"abcd"})}


def test_a_server_that_forgot_the_script_gets_it_again(client):
    names = [f"A{number}" for number in range(MANY)]
    write(client, some_rows(names, [EVENT] * MANY, [1] * MANY))
    client.script_flush()
    assert write(client, some_rows(names, [EVENT] * MANY, [2] * MANY)) == MANY
    assert {stored(client, name)[1] for name in names} == {value(2)}


def test_eight_writers_with_shuffled_times_leave_the_newest_of_each_key(client, port):
    count, writers, rounds = 5000, 8, 2
    names = [f"A{number}" for number in range(count)]
    newest = dict.fromkeys(names, EVENT)

    def load(writer):
        chance = random.Random(writer)
        with redis.Redis(port=port) as own:
            for _ in range(rounds):
                order = chance.sample(names, count)
                ages = [chance.randrange(1000) for _ in order]
                write(own, some_rows(order, [EVENT + timedelta(seconds=age) for age in ages], ages))
                yield dict(zip(order, ages, strict=True))

    with ThreadPoolExecutor(writers) as pool:
        for written in pool.map(lambda writer: list(load(writer)), range(writers)):
            for ages in written:
                for name, age in ages.items():
                    newest[name] = max(newest[name], EVENT + timedelta(seconds=age))
    for name, event in newest.items():
        assert stored(client, name) == (event, value(int((event - EVENT).total_seconds())))


@pytest.mark.parametrize("count", [1, MANY])
def test_a_server_without_memory_is_named_as_such(tmp_path, count):
    with (
        a_redis(tmp_path, "--maxmemory", "100kb", "--maxmemory-policy", "noeviction") as port,
        redis.Redis(port=port) as own,
    ):
        with pytest.raises(UnavailableError, match=r"Redis at here:1 has no memory left \(maxmemory\)"):
            write(own, some_rows([f"A{number}" for number in range(count)], [EVENT] * count, [1] * count))
        own.config_set("maxmemory", 0)
        assert write(own, some_rows(["A1"], [EVENT], [1])) == 1


@pytest.mark.parametrize("count", [1, MANY])
def test_a_replica_is_named_as_such(client, count):
    client.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(UnavailableError, match="is a replica, which cannot be written to"):
            write(client, some_rows([f"A{number}" for number in range(count)], [EVENT] * count, [1] * count))
    finally:
        client.replicaof("NO", "ONE")


def test_a_key_that_is_no_hash_is_told_without_its_bytes(client):
    client.set(encode_keys({"applicant_id": (pa.array(["A1"]), "STRING")}, "candor")[0].as_py(), b"secret")
    with pytest.raises(UnavailableError, match="holds something that is not Feast's") as caught:
        write(client, some_rows(["A1"], [EVENT], [1]))
    assert "secret" not in str(caught.value)


def test_a_dead_server_and_a_silent_one_are_named():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        number = silent.getsockname()[1]
        with (
            redis.Redis(port=number, socket_timeout=0.2, retry=None) as own,
            pytest.raises(UnavailableError, match="here:1 gave no answer in time"),
        ):
            write(own, some_rows(["A1"], [EVENT], [1]))
    with redis.Redis(port=number, retry=None) as own, pytest.raises(UnavailableError, match="here:1 cannot be reached"):
        write(own, some_rows(["A1"], [EVENT], [1]))


def test_a_connection_that_broke_is_not_used_again(client, port, monkeypatch):
    send = newest_wins._send
    sent = []

    def broken(connection, raw):
        send(connection, raw)
        sent.append(raw)
        if len(sent) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(newest_wins, "_send", broken)
        with pytest.raises(KeyboardInterrupt):
            write(client, some_rows([f"A{number}" for number in range(MANY)], [EVENT] * MANY, [1] * MANY))
    assert write(client, some_rows(["A1"], [EVENT], [2])) == 1
    assert stored(client, "A1") == (EVENT, value(2))
