"""The synchronous reader over a server that answers as Redis does, but also late, in drops or not at all."""

import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import hiredis
import numpy as np
import pytest

from feature_repo.errors import UnavailableError
from feature_repo.stores import online_sync
from feature_repo.stores.compile import compile_plan
from feature_repo.stores.online_sync import SyncOnlineReader
from feature_repo.stores.protocol import bulk, command
from tests.unit.services.harness import CONTRACT, NOW, a_home, connect, encode, put, varint

PLAN = compile_plan(CONTRACT, project="candor")
NAMES = [f"A{number}" for number in range(60)]


def an_applicant(number):
    """Hash fields as Feast writes them; applicants differ in layout."""
    stored = {}
    for view in PLAN.views[number % 7 == 0 :]:
        for slot in view.slots:
            value = {"number": number / 3, "count": number, "flag": number % 2 == 0, "category": "OWN" * (number % 3)}
            stored[bytes.fromhex(slot.hash)] = encode(None if number % 5 == 0 else value[slot.kind])
        stored[view.timestamp_field.encode()] = b"\x08" + varint(int(NOW.timestamp()) - number)
    return stored


STORED = {PLAN.key(name): an_applicant(number) for number, name in enumerate(NAMES)}


class Server:
    """Answers HGETALL and HMGET from `hashes`; how it sends is the test's."""

    def __init__(self, listening, hashes):
        self.address = f"127.0.0.1:{listening.getsockname()[1]}"
        self.hashes = hashes
        self.connections = []
        self.send = lambda connection, answer: connection.sendall(answer)
        self._listening = listening

    def run(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def hang_up(self):
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection):
        reader = hiredis.Reader(notEnoughData=None)
        while True:
            try:
                received = connection.recv(65536)
            except OSError:
                return
            if not received:
                return
            reader.feed(received)
            answer = b""
            while asked := reader.gets():
                answer += self._answer(*asked)
            self.send(connection, answer)

    def _answer(self, name, *arguments):
        if name == b"CLIENT":  # redis-py introduces itself
            return b"+OK\r\n"
        stored = self.hashes.get(arguments[0], {})
        if isinstance(stored, bytes):
            return stored
        if name == b"HGETALL":
            return command(*(part for pair in stored.items() for part in pair)) if stored else b"*0\r\n"
        assert name == b"HMGET"
        values = [stored.get(field) for field in arguments[1:]]
        return b"*%d\r\n" % len(values) + b"".join([b"$-1\r\n" if value is None else bulk(value) for value in values])


@contextmanager
def a_server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(listening, dict(STORED))
        threading.Thread(target=server.run, daemon=True).start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)
        for connection in server.connections:
            connection.close()


@contextmanager
def a_reader(server, **options):
    reader = SyncOnlineReader(PLAN, server.address, **options)
    yield reader
    reader.close()


def in_drops(size):
    def send(connection, answer):
        for start in range(0, len(answer), size):
            connection.sendall(answer[start : start + size])
            time.sleep(0.0002)

    return send


def test_few_and_many_and_columns_say_the_same():
    with a_server() as server, a_reader(server) as reader:
        asked = [*NAMES, "nobody", NAMES[3], "é" * 300]
        one_by_one = [reader.read(name, NOW) for name in asked]
        assert reader.read_many(asked, NOW) == one_by_one
        assert reader.read_many(asked[:5], NOW) == one_by_one[:5]
        columns = reader.read_columns(asked, NOW)
        for view, column in columns.items():
            assert column.status.tolist() == [row.views[view].status for row in one_by_one]
        assert columns["credit_bureau"].values["num_inquiries"] == [
            row.views["credit_bureau"].values.get("num_inquiries") for row in one_by_one
        ]
        assert len(server.connections) == 1


def test_many_are_asked_for_in_portions(monkeypatch):
    with a_server() as server, a_reader(server) as reader:
        asked = [*NAMES, "nobody"]
        whole, columns = reader.read_many(asked, NOW), reader.read_columns(asked, NOW)
        counted = []
        server.send = lambda connection, answer: (counted.append(len(answer)), connection.sendall(answer))
        monkeypatch.setattr(online_sync, "_PORTION", 25)
        assert reader.read_many(asked, NOW) == whole
        assert len(counted) == 3
        for view, column in reader.read_columns(asked, NOW).items():
            np.testing.assert_array_equal(column.event_timestamp, columns[view].event_timestamp)
            np.testing.assert_equal(column.values, columns[view].values)


def test_nobody_is_asked_for_nothing():
    with a_server() as server, a_reader(server) as reader:
        assert reader.read_many([], NOW) == []
        columns = reader.read_columns([], NOW)
        assert [len(view.status) for view in columns.values()] == [0, 0, 0]
        assert not server.connections


@pytest.mark.parametrize("size", [7, 1000, 1501])
def test_answers_may_come_in_drops(size):
    with a_server() as server, a_reader(server) as reader:
        whole = reader.read_many(NAMES, NOW)
        server.send = in_drops(size)
        assert reader.read_many(NAMES, NOW) == whole
        assert reader.read_many(NAMES[:2], NOW) == whole[:2]


def test_other_fields_in_a_hash_are_no_matter_and_many_of_them_are_not_asked_for_again():
    with a_server() as server, a_reader(server) as reader:
        whole = reader.read_many(NAMES, NOW)
        more = {b"other%d" % number: b"*0\r\n" for number in range(100)}
        server.hashes = {key: more | stored for key, stored in STORED.items()}
        assert reader.read_many(NAMES, NOW) == whole
        sent = []
        server.send = lambda connection, answer: (sent.append(len(answer)), connection.sendall(answer))
        assert reader.read_many(NAMES, NOW) == whole
        assert sum(sent) < 60 * 300


@pytest.mark.parametrize("many", [1, 60])
def test_a_connection_that_died_while_idle_is_replaced(many):
    with a_server() as server, a_reader(server) as reader:
        whole = reader.read_many(NAMES[:many], NOW)
        server.hang_up()
        assert reader.read_many(NAMES[:many], NOW) == whole
        assert len(server.connections) == 2


def test_a_server_that_always_hangs_up_is_told_at_once():
    with a_server() as server, a_reader(server) as reader:
        reader.read("A1", NOW)
        server.send = lambda connection, answer: connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(UnavailableError, match=f"{server.address} gives no answer \\(ConnectionError\\)"):
            reader.read_many(NAMES, NOW)


@pytest.mark.parametrize("many", [1, 60])
def test_half_an_answer_is_waited_for_and_its_rest_is_never_taken_for_the_next(many):
    with a_server() as server, a_reader(server, timeout=0.1) as reader:
        whole = reader.read_many(NAMES[:many], NOW)
        send, held = server.send, []
        server.send = lambda connection, answer: (send(connection, answer[:-7]), held.append((connection, answer[-7:])))
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="TimeoutError"):
            reader.read_many(NAMES[:many], NOW)
        assert time.monotonic() - begun < 0.2  # not asked once more: it is not dead but slow
        server.send = send
        with contextlib.suppress(OSError):
            send(*held[0])
        assert reader.read_many(NAMES[:many], NOW) == whole


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"-WRONGTYPE Operation against secret\r\n", r"\(ResponseError WRONGTYPE\)"),
        (b"-secret\r\n", r"\(ResponseError\)"),
        (b"+OK\r\n", r"\((InvalidResponse|TimeoutError)\)"),  # among many it may look as if one were still to come
        (b"*0\r\n*0\r\n", r"\(InvalidResponse\)"),
        (b"*-1\r\n", r"\(InvalidResponse\)"),
        (b"?\r\n", r"\((InvalidResponse|TimeoutError)\)"),
    ],
)
@pytest.mark.parametrize("many", [1, 60])
def test_an_answer_that_is_none_is_told_without_its_text(many, answer, told):
    with a_server() as server, a_reader(server, timeout=0.2) as reader:
        server.hashes[PLAN.key(NAMES[many - 1])] = answer
        with pytest.raises(UnavailableError, match=told) as caught:
            reader.read_many(NAMES[:many], NOW)
        assert "secret" not in str(caught.value)
        server.hashes = STORED
        assert len(reader.read_many(NAMES[:many], NOW)) == many


@pytest.mark.parametrize("many", [1, 60])
def test_bytes_that_are_not_feasts_are_named_unless_no_event_time_says_that_they_are_there(many):
    view = PLAN.views[1]
    slot = view.slots[1]
    with a_server() as server, a_reader(server) as reader:
        stored = STORED[PLAN.key(NAMES[many - 1])] | {bytes.fromhex(slot.hash): b"\x12\x01x"}
        server.hashes[PLAN.key(NAMES[many - 1])] = stored
        for read in (reader.read_many, reader.read_columns):
            with pytest.raises(UnavailableError, match=f"credit_bureau:{slot.name} .*materialize again"):
                read(NAMES[:many], NOW)
        del stored[view.timestamp_field.encode()]
        assert reader.read_many(NAMES[:many], NOW)[-1].views["credit_bureau"].status == "MISSING"
        assert reader.read_columns(NAMES[:many], NOW)["credit_bureau"].status[-1] == "MISSING"


def test_threads_share_a_reader():
    with a_server() as server, a_reader(server) as reader:
        server.send = in_drops(4000)

        def read(place):
            names = NAMES[place:] + NAMES[:place]
            return [row.applicant_id for row in reader.read_many(names, NOW)] == names and [
                row.views["account_cashflow"].event_timestamp for row in reader.read_many(names, NOW)
            ] == [NOW - timedelta(seconds=int(name[1:])) for name in names]

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(read, range(40)))
        assert len(server.connections) <= 8


def test_a_forked_child_has_connections_of_its_own():
    with a_server() as server, a_reader(server) as reader:
        whole = reader.read("A1", NOW)
        child = os.fork()
        if not child:
            os._exit(0 if reader.read("A1", NOW) == whole else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert reader.read("A1", NOW) == whole
        assert len(server.connections) == 2


def test_a_password_and_a_database_are_given_to_redis(tmp_path):
    with a_home(tmp_path) as home, connect(home) as client:
        put(home, "A1")
        client.config_set("requirepass", "s=cret")
        with pytest.raises(UnavailableError, match="AuthenticationError"):
            SyncOnlineReader(PLAN, home.redis).read("A1", NOW)
        first, second = (SyncOnlineReader(PLAN, f"{home.redis},db={number},password=s=cret") for number in (0, 1))
        assert first.read("A1", NOW).is_known
        assert not second.read("A1", NOW).is_known
        first.close()
        second.close()
        client.config_set("requirepass", "")
