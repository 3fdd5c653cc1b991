import asyncio
import socket
import struct
import time
from datetime import UTC, datetime, timedelta

import pytest
import uvloop

from feature_repo.contract import Contract, FeatureSpec, ViewSpec
from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores.address import parse_address
from feature_repo.stores.compile import compile_plan
from feature_repo.stores.connection import RedisConnection
from feature_repo.stores.online import OnlineReader
from feature_repo.stores.wire import decode_timestamp, decode_value
from tests.unit.services.harness import CONTRACT, DAY, GOOD, NOW, a_home, connect, put

PLAN = compile_plan(CONTRACT, project="candor")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("online")) as home:
        yield home


def read(home, *applicants, now=NOW):
    async def run():
        reader = OnlineReader(PLAN, home.redis)
        try:
            return await reader.read_many(applicants, now)
        finally:
            await reader.close()

    return asyncio.run(run())


def ping(address):
    async def run():
        reader = OnlineReader(PLAN, address)
        try:
            await reader.ping()
        finally:
            await reader.close()

    asyncio.run(run())


def test_what_was_stored_is_read(home):
    put(home, "A1")
    (stored,) = read(home, "A1")
    assert stored.is_known
    assert {name: view.values for name, view in stored.views.items()} == GOOD
    bureau = stored.views["credit_bureau"]
    assert (bureau.status, bureau.event_timestamp, bureau.age_seconds) == ("PRESENT", NOW - DAY, 86400)


def test_an_unknown_applicant_is_missing_everywhere(home):
    (stored,) = read(home, "nobody")
    assert not stored.is_known
    assert {view.status for view in stored.views.values()} == {"MISSING"}
    assert all(view.values == {} and view.event_timestamp is None for view in stored.views.values())


def test_many_are_answered_in_the_order_asked(home):
    put(home, "B1", {"account_cashflow": {"inflow_90d": 1.0}})
    put(home, "B2", {"account_cashflow": {"inflow_90d": 2.0}})
    found = read(home, "B2", "nobody", "B1", "B2")
    assert [stored.applicant_id for stored in found] == ["B2", "nobody", "B1", "B2"]
    assert [stored.views["account_cashflow"].values.get("inflow_90d") for stored in found] == [2.0, None, 1.0, 2.0]
    assert read(home) == []


def test_reads_at_once_share_a_round_trip_and_get_their_own_answer_or_error(home):
    names = [f"M{number}" for number in range(150)]
    for number, name in enumerate(names):
        put(home, name, {"account_cashflow": {"inflow_90d": float(number)}})
    with connect(home) as client:
        client.delete(PLAN.key("M7"))
        client.set(PLAN.key("M7"), b"not a hash")

    async def run():
        reader = OnlineReader(PLAN, home.redis)
        tasks = [asyncio.create_task(reader.read(name, NOW)) for name in names]
        await asyncio.sleep(0)
        tasks[3].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await reader.close()
        return answers

    answers = asyncio.run(run())
    assert isinstance(answers[3], asyncio.CancelledError)
    assert isinstance(answers[7], UnavailableError)
    for number in set(range(150)) - {3, 7}:
        assert answers[number].applicant_id == names[number]
        assert answers[number].views["account_cashflow"].values == {"inflow_90d": float(number)}


def test_the_time_to_live_is_inclusive_and_stale_values_are_still_reported(home):
    put(home, "C1", age=timedelta(days=62))
    (fresh,) = read(home, "C1")
    (stale,) = read(home, "C1", now=NOW + timedelta(microseconds=1))
    assert fresh.views["account_cashflow"].status == "PRESENT"
    assert stale.views["account_cashflow"].status == "STALE"
    assert stale.views["account_cashflow"].values == {"inflow_90d": 15000.0}
    assert stale.views["applicant_profile"].status == "PRESENT"


def test_bytes_that_are_not_feasts_are_named(home):
    with connect(home) as client:
        client.hset(PLAN.key("D1"), b"_ts:credit_bureau", b"\x08\x01")
        slot = PLAN.views[1].slots[1]
        client.hset(PLAN.key("D1"), bytes.fromhex(slot.hash), b"\x12\x01x")
    with pytest.raises(UnavailableError, match=f"credit_bureau:{slot.name} .*materialize again"):
        read(home, "D1")


def test_a_command_that_redis_refuses_is_told_without_its_text(home):
    with connect(home) as client:
        client.set(PLAN.key("D2"), b"not a hash")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:\d+ answered with an error \(ResponseError\)"):
        read(home, "D2")


def test_a_slow_redis_gives_up_in_time_and_never_mixes_answers(home):
    put(home, "E1", {"account_cashflow": {"inflow_90d": 1.0}})
    put(home, "E2", {"account_cashflow": {"inflow_90d": 2.0}})

    async def run():
        reader = OnlineReader(PLAN, home.redis, timeout=0.1)
        await reader.ping()
        with connect(home) as client:
            sleeping = asyncio.to_thread(client.execute_command, "DEBUG", "SLEEP", "0.3")
            task = asyncio.create_task(sleeping)
            await asyncio.sleep(0.05)
            begun = time.monotonic()
            first = asyncio.create_task(reader.read("E1", NOW))
            await asyncio.sleep(0.02)
            second = asyncio.create_task(reader.read("E2", NOW))
            for read in (first, second):
                with pytest.raises(UnavailableError, match="gave no answer in 100 ms"):
                    await read
            assert time.monotonic() - begun < 0.2
            await task
        after = await reader.read("E2", NOW)
        await reader.close()
        return after.views["account_cashflow"].values

    assert asyncio.run(run()) == {"inflow_90d": 2.0}


def test_a_process_that_was_busy_itself_waits_on(home):
    put(home, "F1")

    async def run():
        reader = OnlineReader(PLAN, home.redis)
        await reader.ping()
        with connect(home) as client:
            sleeping = asyncio.create_task(asyncio.to_thread(client.execute_command, "DEBUG", "SLEEP", "0.5"))
            await asyncio.sleep(0.05)
            reading = asyncio.create_task(reader.read("F1", NOW))
            await asyncio.sleep(0.01)
            time.sleep(0.35)
            found = await reading
            await sleeping
        await reader.close()
        return found

    assert asyncio.run(run()).is_known


def test_an_address_where_nothing_listens_is_named_without_the_password():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    async def run():
        reader = OnlineReader(PLAN, f"127.0.0.1:{port},password=hunter2")
        await reader.read("A1", NOW)

    with pytest.raises(UnavailableError, match=f"Redis at 127.0.0.1:{port} cannot be reached") as caught:
        asyncio.run(run())
    assert "hunter2" not in str(caught.value)


def test_a_port_that_never_answers_costs_no_more_than_the_deadline():
    async def run(port):
        reader = OnlineReader(PLAN, f"127.0.0.1:{port}", timeout=30)
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="gave no answer in 200 ms"):
            await reader.read("A1", NOW)
        assert time.monotonic() - begun < 0.4

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(run(silent.getsockname()[1]))


def test_a_password_is_asked_for_and_given(home):
    with connect(home) as client:
        client.config_set("requirepass", "s=cret")
        try:
            with pytest.raises(UnavailableError, match="refuses the credentials"):
                ping(home.redis)
            ping(f"{home.redis},db=0,password=s=cret")
        finally:
            client.config_set("requirepass", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one host:port, not 0"),
        ("a:1,b:2", "one host:port, not 2"),
        ("localhost", "starts with host:port"),
        ("localhost:99999", "1..65535"),
        ("localhost:1,pasword=secret", "'pasword' is not known"),
        ("localhost:1,db=x", "db is a number"),
    ],
)
def test_an_address_that_is_none_is_refused(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)


def test_an_address_shows_no_secret():
    address = parse_address("redis:6379,password=12345,socket_timeout=9,ssl=true")
    assert address.options == {"password": "12345", "ssl": True}
    assert "12345" not in f"{address} {address!r}"


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        (b"\x29" + struct.pack("<d", -0.1), "number", -0.1),
        (b"\x35" + struct.pack("<f", 0.5), "number", 0.5),
        (b"\x29" + struct.pack("<d", float("nan")), "number", None),
        (b"\x29" + struct.pack("<d", float("inf")), "number", None),
        (b"\x20\x07", "number", 7.0),
        (b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "count", -1),
        (b"\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "count", -(2**63)),
        (b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "count", 2**63 - 1),
        (b"\x18\x00", "count", 0),
        (b"\x38\x00", "flag", False),
        (b"\x12\x00", "category", ""),
        (b"\x98\x01\x00", "count", None),
    ],
)
def test_values_are_decoded(raw, kind, value):
    decoded = decode_value(raw, kind)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"\x29\x00", "number"),
        (b"\x20", "count"),
        (b"\x20\x80", "count"),
        (b"\x20" + b"\xff" * 12, "count"),
        (b"\x20\x01\x01", "count"),
        (b"\x12\x05ab", "category"),
        (b"\x12\x01\xff", "category"),
        (b"\x6a\x01", "number"),
        (b"\x38\x01", "number"),
        (b"\x20\x01", "flag"),
        (b"\x29" + bytes(8), "count"),
        (b"\x12\x01x", "number"),
    ],
)
def test_other_bytes_are_refused(raw, kind):
    with pytest.raises(ValueError):  # noqa: PT011
        decode_value(raw, kind)


def test_timestamps_are_decoded():
    assert decode_timestamp(b"") == datetime(1970, 1, 1, tzinfo=UTC)
    assert decode_timestamp(b"\x08\x01\x10\xf0\xfb\x9f\x1d") == datetime(1970, 1, 1, 0, 0, 1, 61341, tzinfo=UTC)
    with pytest.raises(ValueError, match="out of range"):
        decode_timestamp(b"\x08" + b"\xff" * 8 + b"\x7f")
    with pytest.raises(ValueError, match="unknown timestamp field"):
        decode_timestamp(b"\x18\x01")


def test_two_features_in_one_field_are_refused():
    # Two names found by search whose 32-bit Murmur3 hashes are equal.
    specs = tuple(
        FeatureSpec(name=name, view="v", kind="number", description="", unit="") for name in ("f37660", "f43618")
    )
    view = ViewSpec(name="v", table="t", ttl_seconds=0, missing_reason="", features=specs)
    with pytest.raises(InputError, match="share a Redis field"):
        compile_plan(Contract(service="s", views=(view,), request=(), on_demand=()), project="p")


class Scripted:
    """A server on a port of its own that answers each read by what `script` says of its number."""

    def __init__(self, script):
        self.connections = 0
        self._script = script

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = parse_address(f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}")
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        number = 0
        while asked := await reader.read(1 << 16):
            if b"CLIENT" in asked:
                writer.write(b"+OK\r\n" * asked.count(b"SETINFO"))
            elif (answer := self._script(self.connections, number)) is not None:
                writer.write(answer)
                number += 1
        writer.close()


def of(value):
    return b"*1\r\n$1\r\n" + value + b"\r\n"


@pytest.fixture(params=["asyncio", "uvloop"])
def on_a_loop(request):
    """Run on the loop of tests, and on the one that the service runs on."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    return run


def test_an_answer_that_nobody_asked_for_ends_the_connection(on_a_loop):
    def script(connection, number):
        return of(b"a") + of(b"stray") if connection == 1 else of(b"bc"[number : number + 1])

    async def run():
        async with Scripted(script) as server:
            connection = RedisConnection(server.address)
            found = []
            for _ in range(3):
                found.append(await connection.fetch(b"key", [b"field"]))
                await asyncio.sleep(0.02)
            await connection.close()
            return found, server.connections

    assert on_a_loop(run()) == ([[b"a"], [b"b"], [b"c"]], 2)


@pytest.mark.parametrize(
    "answer", [b"*-1\r\n", b":5\r\n", b"+OK\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"nonsense\r\n"]
)
def test_an_answer_of_another_shape_is_unavailable(on_a_loop, answer):
    async def run():
        async with Scripted(lambda *_: answer) as server:
            connection = RedisConnection(server.address)
            for _ in range(2):
                with pytest.raises(UnavailableError, match=r"answered with an error|cannot be reached"):
                    await connection.fetch(b"key", [b"field"])
            await connection.close()

    on_a_loop(run())


def test_who_waits_when_it_is_closed_is_told_so_and_so_is_who_comes_after(on_a_loop):
    async def run():
        async with Scripted(lambda *_: None) as server:
            connection = RedisConnection(server.address)
            waiting = asyncio.create_task(connection.fetch(b"key", [b"field"]))
            await asyncio.sleep(0.05)
            await connection.close()
            for asking in (waiting, connection.fetch(b"key", [b"field"])):
                with pytest.raises(UnavailableError, match="cannot be reached"):
                    await asyncio.wait_for(asking, 1)
            return server.connections

    assert on_a_loop(run()) == 1


def test_a_connection_that_breaks_is_asked_once_more_and_no_more(on_a_loop):
    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        while asked := await reader.read(1 << 16):
            if b"CLIENT" not in asked:
                break
            writer.write(b"+OK\r\n" * asked.count(b"SETINFO"))
        writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        connection = RedisConnection(parse_address(f"127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await connection.fetch(b"key", [b"field"])
        await connection.close()
        server.close()

    connections = 0
    on_a_loop(run())
    assert connections == 2


def test_one_connection_serves_one_loop_after_the_other(home):
    put(home, "L1")
    reader = OnlineReader(PLAN, home.redis)
    assert all(asyncio.run(reader.read("L1", NOW)).is_known for _ in range(2))


def test_who_is_slow_to_take_many_answers_does_not_blame_redis(home, on_a_loop):
    put(home, "P1")

    async def one(reader):
        await reader.read("P1", NOW)
        time.sleep(0.001)

    async def run():
        reader = OnlineReader(PLAN, home.redis)
        await asyncio.gather(*(one(reader) for _ in range(500)))
        await reader.close()

    on_a_loop(run())
