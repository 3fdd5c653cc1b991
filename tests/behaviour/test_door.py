"""The door as those outside see it: who is let in where, and what is cut off."""

import asyncio
import contextlib
import gc
import json
import socket
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar, get
from litestar.testing import TestClient

from feature_repo.errors import InputError
from feature_repo.home import Home
from services.scoring.app import create_app
from services.scoring.door import keys as door_keys
from services.scoring.door import protocol
from services.scoring.door.door import Door
from services.scoring.door.keys import KeyFile, KeyRing
from services.scoring.door.policy import DoorOptions, DoorPolicy
from services.scoring.door.scopes import NEEDS, SCOPES, Directory
from services.scoring.metrics import Metrics
from tests.unit.services.harness import a_home, a_model, promote, put
from tests.unit.services.live import read_answer, request, serving

REQUEST = {"applicant_id": "APP_1", "purchase_amount": 3500, "term_months": 12}
BODY = json.dumps(REQUEST).encode()
JSON = {"content_type": "application/json"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("door")) as home:
        promote(home)
        put(home, "APP_1")
        yield home


def an_app(home, **policy):
    return create_app(home, lambda _: a_model(), DoorPolicy(**policy))


@pytest.fixture(scope="module")
def keyed(home):
    with TestClient(an_app(home, require_keys=True)) as client:
        yield client


@pytest.fixture
def key_of(home, monkeypatch):
    """Make a key with these scopes; its service sees it at once."""
    monkeypatch.setattr(door_keys, "_LOOK_EVERY", 0.0)
    return lambda *scopes, **more: KeyFile(home).create("test", scopes, **more)


ENTRANCES = [one for one in create_app(Home(root=Path("/nowhere"))).directory.entrances if one.method != "OPTIONS"]
GUARDED = [one for one in ENTRANCES if one.need != "open"]
OPEN = [one for one in ENTRANCES if one.need == "open"]


def call(client, entrance, **headers):
    path = entrance.template.replace("{applicant_id}", "APP_1").replace("{name}", "swagger-ui.css")
    path = path.replace("{decision_id}", "0190aaaa-0000-7000-8000-000000000000").replace("{path}", "openapi.json")
    content = BODY if entrance.method == "POST" else None
    return client.request(
        entrance.method, path, content=content, headers={"content-type": "application/json"} | headers
    )


LET_IN = (200, 404, 422)  # whatever the route then makes of it


def refused(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["request_id"] == response.headers["x-request-id"]
    return response.json()["detail"]


@pytest.mark.parametrize("entrance", GUARDED, ids=lambda one: f"{one.method} {one.template}")
def test_every_guarded_route_refuses_every_key_but_the_right_one(keyed, home, key_of, entrance):
    for headers in ({}, {"x-api-key": ""}, {"x-api-key": "candor_0_wrong"}, {"authorization": "Basic Zm9v"}):
        response = call(keyed, entrance, **headers)
        refused(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
    made, key = key_of(entrance.need)
    assert call(keyed, entrance, **{"x-api-key": key}).status_code in LET_IN
    assert call(keyed, entrance, authorization=f"Bearer {key}").status_code in LET_IN
    refused(call(keyed, entrance, **{"x-api-key": key[:-1] + ("a" if key[-1] != "a" else "b")}), 401)
    KeyFile(home).revoke(made.id)
    assert "revoked" in refused(call(keyed, entrance, **{"x-api-key": key}), 401)
    _, expired = _expired(home, entrance.need)
    assert "expired" in refused(call(keyed, entrance, **{"x-api-key": expired}), 401)
    others = [scope for scope in SCOPES if scope not in (entrance.need, "admin")]
    _, short = key_of(*others)
    assert entrance.need in refused(call(keyed, entrance, **{"x-api-key": short}), 403)
    _, admin = key_of("admin")
    assert call(keyed, entrance, **{"x-api-key": admin}).status_code in LET_IN


def _expired(home, scope):
    file = KeyFile(home)
    made, key = file.create("brief", [scope], expires_at=datetime.now(UTC) + timedelta(hours=1))
    past = datetime.now(UTC) - timedelta(seconds=1)
    with file._locked() as keys:
        file._write([msgspec.structs.replace(one, expires_at=past) if one == made else one for one in keys])
    return made, key


@pytest.mark.parametrize("entrance", OPEN, ids=lambda one: f"{one.method} {one.template}")
def test_open_routes_need_no_key(keyed, entrance):
    assert call(keyed, entrance).status_code == 200


def test_what_is_not_there_is_not_told_to_strangers(keyed, key_of):
    _, key = key_of("metrics")
    for method, path, found in (("GET", "/nowhere", 404), ("GET", "/predict", 405), ("PUT", "/predict", 405)):
        refused(keyed.request(method, path), 401)
        refused(keyed.request(method, path, headers={"x-api-key": key}), found)
    assert keyed.get("/predict", headers={"x-api-key": key}).headers["allow"] == "OPTIONS, POST"


@pytest.mark.parametrize(
    "path", ["/predict/", "//predict", "/predict//", "/Predict", "/x/../predict", "/predict/.", "/%70redict"]
)
def test_no_other_spelling_of_a_path_needs_less(keyed, key_of, path):
    _, short = key_of("metrics")
    status = keyed.post(path, json=REQUEST, headers={"x-api-key": short}).status_code
    assert status == (403 if path in ("/predict/", "/x/../predict", "/predict/.", "/%70redict") else 404)


def test_a_route_without_a_declared_scope_does_not_start():
    @get("/secrets", sync_to_thread=False)
    def secrets_() -> str:
        return ""

    with pytest.raises(InputError, match="GET /secrets declares no scope"):
        Directory(Litestar([secrets_], openapi_config=None), NEEDS)


def test_a_key_is_refused_within_a_second_of_its_revocation(home, keyed):
    made, key = KeyFile(home).create("checkout", ["read"])
    path = "/applicants/APP_1/features"
    assert _comes(1.0, lambda: keyed.get(path, headers={"x-api-key": key}).status_code == 200)
    KeyFile(home).revoke(made.id)
    assert _comes(1.0, lambda: keyed.get(path, headers={"x-api-key": key}).status_code == 401)


def _comes(seconds, happened):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if happened():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("127.0.0.1:8000", True),
        ("LOCALHOST", True),
        ("[::1]:8000", True),
        ("till.shop", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost@evil.example", False),
    ],
)
def test_on_loopback_only_names_of_its_own_are_answered(home, host, let_in):
    policy = DoorOptions(allowed_hosts=("till.shop",)).policy("127.0.0.1", 1)
    with TestClient(create_app(home, lambda _: a_model(), policy)) as client:
        response = client.post("/predict", json=REQUEST, headers={"host": host})
        assert response.status_code == (200 if let_in else 403)
        if not let_in:
            assert "--allowed-host" in refused(response, 403)


@pytest.mark.parametrize(
    ("address", "options", "keys", "rate"),
    [
        ("127.0.0.1", {}, False, 0),
        ("::1", {}, False, 0),
        ("127.0.0.1", {"require_keys": True}, True, 0),
        ("0.0.0.0", {}, True, 1000),
        ("::", {}, True, 1000),
        ("192.168.1.7", {"rate": 0.0}, True, 0),
        ("127.0.0.1", {"rate": 7.0}, False, 7),
    ],
)
def test_keys_are_needed_beyond_loopback(address, options, keys, rate):
    policy = DoorOptions(**options).policy(address, 2)
    assert (policy.require_keys, policy.rate, policy.hosts is None) == (keys, rate, keys)


def test_each_key_has_a_rate_of_its_own(home, key_of):
    _, slow = key_of("read", rate=2)
    _, usual = key_of("read")
    with TestClient(an_app(home, require_keys=True, rate=5.0)) as client:
        statuses = {
            name: [client.get("/applicants/APP_1/features", headers={"x-api-key": key}) for _ in range(8)]
            for name, key in (("slow", slow), ("usual", usual))
        }
    assert [response.status_code for response in statuses["slow"]].count(429) >= 4
    assert statuses["usual"][4].status_code == 200
    last = statuses["slow"][-1]
    assert "2 requests a second" in refused(last, 429)
    assert last.headers["retry-after"] == "1"


def test_without_keys_an_address_has_a_rate_and_probes_do_not_use_it_up(home):
    with TestClient(an_app(home, rate=3.0)) as client:
        statuses = [client.get("/applicants/APP_1/features").status_code for _ in range(8)]
        assert (statuses[:3], statuses[-1]) == ([200] * 3, 429)
        assert client.get("/health/live").status_code == 200


def test_workers_share_the_rate(home):
    with TestClient(an_app(home, rate=4.0, workers=2)) as client:
        statuses = [client.get("/applicants/APP_1/features").status_code for _ in range(6)]
    assert statuses.count(200) in (2, 3)


def test_those_who_guess_keys_are_slowed_down(home):
    with TestClient(an_app(home, require_keys=True, rate=3.0)) as client:
        statuses = [client.post("/predict", headers={"x-api-key": "no"}).status_code for _ in range(8)]
    assert (statuses[0], statuses[-1]) == (401, 429)


def test_answers_are_kept_by_nobody_and_sniffed_by_nobody(keyed, key_of):
    _, key = key_of("admin")
    for response in (
        keyed.post("/predict", json=REQUEST, headers={"x-api-key": key}),
        keyed.get("/applicants/APP_1/features"),
        keyed.get("/nowhere", headers={"x-api-key": key}),
    ):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "server" not in response.headers


def test_an_idempotency_key_is_its_clients_own(keyed, key_of):
    decisions = {}
    for client in "ab":
        _, key = key_of("decide")
        for turn in range(2):
            headers = {"x-api-key": key, "idempotency-key": "order-1"}
            decisions[client, turn] = keyed.post("/predict", json=REQUEST, headers=headers).json()["decision_id"]
    assert decisions["a", 0] == decisions["a", 1] != decisions["b", 0] == decisions["b", 1]


def test_the_document_tells_of_keys(keyed):
    document = keyed.get("/schema/openapi.json").json()
    assert document["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
    predict = document["paths"]["/predict"]["post"]
    assert predict["security"] == [{"ApiKey": []}]
    assert set(predict["responses"]) >= {"401", "403", "408", "413", "415", "422", "429", "503"}
    live = document["paths"]["/health/live"]["get"]
    assert "security" not in live
    assert "401" not in live["responses"]


@pytest.fixture(scope="module")
def live(home):
    with serving(an_app(home, body_seconds=0.3)) as live:
        yield live


def test_a_body_sent_a_byte_at_a_time_is_cut_off(live):
    with live.connect() as wire:
        wire.sendall(request("POST", "/predict", **JSON, content_length=str(len(BODY))))
        begun = time.monotonic()
        for byte in BODY[:5]:
            wire.sendall(bytes([byte]))
            time.sleep(0.02)
        answer = read_answer(wire)
        assert answer.status == 408
        assert answer.headers["content-type"] == "application/problem+json"
        assert wire.recv(1) == b""
        assert 0.25 < time.monotonic() - begun < 2


def test_a_head_sent_a_byte_at_a_time_is_cut_off(live, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    for begun in (b"", b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-slow: "):
        with live.connect() as wire:
            wire.sendall(begun)
            assert wire.recv(1) == b""  # hung up, not timed out


def test_a_kept_connection_that_sends_only_line_ends_is_cut_off(live, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with live.connect() as wire:
        wire.sendall(request("GET", "/health/live"))
        assert read_answer(wire).status == 200
        begun = time.monotonic()
        with contextlib.suppress(OSError):  # a reset or a broken pipe
            while time.monotonic() - begun < 3:
                wire.sendall(b"\r\n")
                time.sleep(0.05)
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-endless: " + b"a" * 40_000,
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(80)) + b"\r\n",
    ],
    ids=["long", "endless", "path", "many"],
)
def test_a_head_that_is_too_large_is_refused(live, raw):
    answer = live.ask(raw)
    assert (answer.status, answer.headers["content-type"]) == (431, "application/problem+json")


@pytest.mark.parametrize("raw", [b"\x00\xff" * 20, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_not_http_is_a_problem(live, raw):
    answer = live.ask(raw)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


def test_a_body_that_is_too_large_is_told_so_and_the_connection_lives_on(live):
    with live.connect() as wire:
        wire.sendall(request("POST", "/predict", b" " * 70_000, **JSON))
        answer = read_answer(wire)
        assert (answer.status, "connection" in answer.headers) == (413, False)
        wire.sendall(request("POST", "/predict", BODY, **JSON))
        assert read_answer(wire).status == 200


def test_a_body_that_announces_far_too_much_is_not_read(live):
    with live.connect() as wire:
        wire.sendall(request("POST", "/predict", **JSON, content_length="9999999999"))
        answer = read_answer(wire)
        assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_a_body_in_chunks_without_end_is_not_read_to_its_end(live):
    head = request("POST", "/predict", **JSON, transfer_encoding="chunked").replace(b"content-length: 0\r\n", b"")
    with live.connect() as wire:
        wire.sendall(head)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 60_000_000:
                wire.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        assert sent < 60_000_000


def test_requests_in_one_packet_are_answered_in_order(live):
    with live.connect() as wire:
        wire.sendall(request("GET", "/health/live", x_request_id="one") + request("POST", "/predict", BODY, **JSON))
        raw = b""
        while raw.count(b"HTTP/1.1 200") < 2 or b'"policy_version"' not in raw:
            raw += wire.recv(65536)
        assert b"x-request-id: one" in raw


def test_decisions_asked_for_at_once_are_answered_in_order_and_whole(live):
    names = [f"ask-{number}" for number in range(5)]
    closing = {"connection": "close"}
    asked = [request("POST", "/predict", BODY, **JSON, x_request_id=name) for name in names]
    last = request("POST", "/predict", BODY, **JSON, **closing, x_request_id="last")
    with live.connect() as wire:
        wire.sendall(b"".join(asked) + last)
        raw = b""
        while part := wire.recv(65536):  # the last is followed by the end of the connection
            raw += part
    assert raw.count(b"HTTP/1.1 200 OK\r\n") == len(names) + 1
    answers = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = int(lines[b"content-length"])
        answers.append(
            (lines[b"x-request-id"].decode(), lines.get(b"connection"), json.loads(rest[:size])["decision_id"])
        )
        raw = rest[size:]
    assert [name for name, *_ in answers] == [*names, "last"]
    assert [connection for _, connection, _ in answers] == [None] * len(names) + [b"close"]
    assert len({decision for *_, decision in answers}) == len(answers)


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/health/live", "/nowhere"])
def test_nothing_stays_of_a_connection_that_was_closed(live, path):
    """The garbage collector of the service runs rarely, and a body of 4 MB must not wait for it."""
    raw = request("GET" if path == "/health/live" else "POST", path, BODY, **JSON)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            with live.connect() as wire:
                wire.sendall(raw)
                read_answer(wire)
        time.sleep(0.2)  # until the last is closed on the other side, too
        assert gc.collect() < 20
    finally:
        gc.enable()


def test_a_client_that_goes_before_its_answers_is_no_error_of_the_service(live, caplog):
    with live.connect() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        wire.sendall(request("POST", "/predict", BODY, **JSON) * 30)
    time.sleep(0.3)
    with live.connect() as wire:
        wire.sendall(request("POST", "/predict", BODY, **JSON))
        assert read_answer(wire).status == 200
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_answer_to_head_has_no_body(live):
    with live.connect() as wire:
        wire.sendall(request("HEAD", "/predict") + request("GET", "/health/live", x_request_id="last"))
        raw = b""
        while b"x-request-id: last" not in raw:
            raw += wire.recv(65536)
    refusal, _, rest = raw.partition(b"\r\n\r\n")
    assert refusal.startswith(b"HTTP/1.1 405 ")
    assert rest.startswith(b"HTTP/1.1 200 ")


OFFER = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAEAAEAAAAIAAAAB"}


@pytest.mark.parametrize("cut", [0, 1, len(BODY), 20_000], ids=["whole", "last-byte", "head-and-body", "bytes"])
@pytest.mark.parametrize("chunked", [False, True])
def test_who_offers_http2_is_answered_by_http1_and_its_body_is_no_next_request(live, cut, chunked):
    asked = request("POST", "/predict", BODY, **JSON, **OFFER)
    if chunked:
        head = asked.removesuffix(BODY).replace(b"content-length: %d" % len(BODY), b"transfer-encoding: chunked")
        asked = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    asked += request("GET", "/health/live", **OFFER) + request("GET", "/health/live", x_request_id="last")
    step = 1 if cut > len(asked) else len(asked) - cut
    with live.connect() as wire:
        for begin in range(0, len(asked), step):
            wire.sendall(asked[begin : begin + step])
            time.sleep(0 if step == 1 else 0.05)
        raw = b""
        while b"x-request-id: last" not in raw and (part := wire.recv(65536)):
            raw += part
    assert raw.count(b"HTTP/1.1 200") == raw.count(b"HTTP/1.1 ") == 3
    assert b'"decision_id"' in raw


def test_a_body_behind_an_offer_may_look_like_a_request(live):
    asked = request("POST", "/predict", request("GET", "/health/live"), **JSON, **OFFER)
    with live.connect() as wire:
        for part in (asked[:-20], asked[-20:] + request("GET", "/health/live", x_request_id="last")):
            wire.sendall(part)
            time.sleep(0.1)
        raw = b""
        while b"x-request-id: last" not in raw and (part := wire.recv(65536)):
            raw += part
    assert [raw.count(b"HTTP/1.1 %d" % status) for status in (422, 200)] == [1, 1]


@pytest.mark.parametrize("first", ["one", "many"])
def test_a_large_body_is_no_part_of_the_next_head(live, first):
    body = b" " * 20_000 + BODY
    before = request("POST", "/predict", body, **JSON) if first == "one" else request("GET", "/health/live") * 400
    following = request("GET", "/health/live", x_request_id="last")
    with live.connect() as wire:
        wire.sendall(before + following[:30])
        time.sleep(0.2)
        wire.sendall(following[30:])
        raw = b""
        while b"x-request-id: last" not in raw:
            raw += wire.recv(65536)
    assert raw.count(b"HTTP/1.1 200") == (2 if first == "one" else 401)
    assert raw.count(b"HTTP/1.1 ") == raw.count(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "fault",
    [b"\x00\xff" * 20, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 40_000, b"GET / HTTP/1.1\r\na: " + b"a" * 40_000],
    ids=["garbage", "version", "path", "header"],
)
def test_what_was_whole_is_answered_before_a_fault_ends_the_connection(live, fault):
    raw = live.send(request("POST", "/predict", BODY, **JSON) + request("GET", "/health/live") * 3 + fault)
    assert raw.count(b"HTTP/1.1 200") == raw.count(b"HTTP/1.1 ") == 4
    assert b'"decision_id"' in raw
    assert raw.count(b"connection: close") == 1


CHUNKED = request("POST", "/predict", **JSON, transfer_encoding="chunked").replace(b"content-length: 0\r\n", b"")


@pytest.mark.parametrize(
    "rest",
    [b"zz\r\n", b"0\r\nx-trailer: " + b"a" * 60_000, b"5;" + b"e" * 60_000, b"0\r\n" + b"t:1\r\n" * 20_000],
    ids=["size", "trailer", "extension", "trailers"],
)
@pytest.mark.parametrize("before", [0, 2])
def test_a_body_that_is_no_http_is_a_problem_in_its_turn(live, rest, before):
    begun = b"%x\r\n%s\r\n" % (len(BODY), BODY)
    with live.connect() as wire:
        wire.sendall(request("GET", "/health/live") * before + CHUNKED + begun + rest)
        raw = b""
        with contextlib.suppress(ConnectionResetError):
            while part := wire.recv(65536):
                raw += part
    assert (raw.count(b"HTTP/1.1 200"), raw.count(b"HTTP/1.1 4")) == (before, 1)
    assert b'"decision_id"' not in raw


def test_a_body_in_many_small_chunks_is_one_body(live):
    body = b" " * 20_000 + BODY
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nx-trailer: 1\r\n\r\n"
    assert live.ask(CHUNKED + chunks).status == 200


def test_a_head_that_comes_in_parts_has_as_much_room_as_one_in_one_part(live):
    for size, status in ((15_000, 200), (17_000, 431)):
        head = request("GET", "/health/live", x_long="a" * size)
        with live.connect() as wire:
            for begin in range(0, len(head), 1000):
                wire.sendall(head[begin : begin + 1000])
                time.sleep(0.002)
            assert read_answer(wire).status == status


def test_64_headers_are_let_in(live):
    for more, status in ((62, 200), (63, 431)):
        assert live.ask(request("GET", "/health/live", **{f"x-{n}": "1" for n in range(more)})).status == status


def test_strangers_whose_bodies_never_come_take_nobodys_place(home, key_of):
    _, key = key_of("decide")
    kept = request("POST", "/predict", BODY, **JSON, x_api_key=key)
    with serving(an_app(home, require_keys=True, in_flight=4)) as live:
        waiting = [live.connect() for _ in range(20)]
        for wire in waiting:
            wire.sendall(request("POST", "/predict", **JSON, content_length="100") + b"{")
        time.sleep(0.1)
        assert live.ask(request("GET", "/health/live")).status == 200
        assert live.ask(kept).status == 200
        begun = time.monotonic()
        for wire in waiting:
            answer = read_answer(wire)
            assert (answer.status, answer.headers["connection"], wire.recv(1)) == (401, "close", b"")
        assert time.monotonic() - begun < 3


def test_a_body_that_is_still_coming_takes_no_place_among_the_answered(home):
    with serving(an_app(home, in_flight=1)) as live, live.connect() as waiting:
        waiting.sendall(request("POST", "/predict", **JSON, content_length=str(len(BODY))))
        time.sleep(0.1)
        assert live.ask(request("POST", "/predict", BODY, **JSON)).status == 200
        waiting.sendall(BODY)
        assert read_answer(waiting).status == 200


def test_one_caller_may_have_only_so_many_bodies_still_coming(home, key_of):
    (_, slow), (_, other) = key_of("decide"), key_of("decide")
    with serving(an_app(home, require_keys=True, room_for_bodies=512 * 1024)) as live:
        waiting = [live.connect() for _ in range(5)]
        for wire in waiting:
            wire.sendall(request("POST", "/predict", **JSON, x_api_key=slow, content_length=str(len(BODY))) + BODY[:1])
            time.sleep(0.02)
        waiting[4].sendall(BODY[1:])
        answer = read_answer(waiting[4])
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "of this caller" in answer.json()["detail"]
        assert live.ask(request("POST", "/predict", BODY, **JSON, x_api_key=other)).status == 200
        for wire in waiting[:4]:
            wire.sendall(BODY[1:])
            assert read_answer(wire).status == 200
        assert live.ask(request("POST", "/predict", BODY, **JSON, x_api_key=slow)).status == 200


def test_decisions_get_through_while_batches_take_all_the_room_that_they_may(home, key_of):
    keys = [key_of("decide")[1] for _ in range(3)]
    with serving(an_app(home, require_keys=True, room_for_bodies=2_000_000)) as live:
        waiting = [live.connect() for _ in keys]
        for wire, key, size in zip(waiting, keys, (850_000, 850_000, 100_000), strict=True):
            wire.sendall(request("POST", "/predict/batch", **JSON, x_api_key=key, content_length=str(size)) + b" ")
            time.sleep(0.1)
        assert live.ask(request("POST", "/predict", BODY, **JSON, x_api_key=keys[0])).status == 200
        assert read_answer(waiting[2]).status == 503


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_have_only_so_much_room(home, key_of, chunked):
    keys = [key_of("decide")[1] for _ in range(3)]
    size = 400_000
    part = b" " * (size - 1000)
    with serving(an_app(home, require_keys=True, room_for_bodies=1_000_000)) as live:
        waiting = [live.connect() for _ in keys]
        for wire, key in zip(waiting, keys, strict=True):
            head = request("POST", "/predict/batch", **JSON, x_api_key=key, content_length=str(size))
            if chunked:
                head = head.replace(b"content-length: %d" % size, b"transfer-encoding: chunked")
            wire.sendall(head + (b"%x\r\n" % size if chunked else b"") + part)
            time.sleep(0.2)
        if not chunked:
            waiting[2].sendall(b" " * 1000)
        answer = read_answer(waiting[2])
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "other bodies" in answer.json()["detail"]
        assert answer.headers.get("connection") == ("close" if chunked else None)
        assert live.ask(request("POST", "/predict", BODY, **JSON, x_api_key=keys[2])).status == 200
        waiting[0].sendall(b"[" + b" " * 999 + (b"\r\n0\r\n\r\n" if chunked else b""))
        assert read_answer(waiting[0]).status in (400, 422)
        answer = live.ask(request("POST", "/predict/batch", b" " * size, **JSON, x_api_key=keys[2]))
        assert answer.status in (400, 422)


def test_more_than_may_be_answered_at_once_are_asked_to_come_again_but_for_probes(home):
    @get("/sleep")
    async def sleep() -> None:
        await asyncio.sleep(1)

    @get("/health/live")
    async def alive() -> None:
        pass

    app = Litestar([sleep, alive], openapi_config=None)
    directory = Directory(app, {("GET", "/sleep"): "open", ("GET", "/health/live"): "open"})
    door = Door(app, directory, KeyRing(KeyFile(home)), DoorPolicy(in_flight=1), Metrics())
    with serving(door) as live, live.connect() as first:
        first.sendall(request("GET", "/sleep"))
        time.sleep(0.2)
        answer = live.ask(request("GET", "/sleep"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert live.ask(request("GET", "/health/live")).status == 200
        assert read_answer(first).status == 200
        assert live.ask(request("GET", "/sleep")).status == 200


def test_what_takes_too_long_is_given_up(home):
    @get("/sleep")
    async def sleep() -> None:
        await asyncio.sleep(30)

    app = Litestar([sleep], openapi_config=None)
    directory, keys = Directory(app, {("GET", "/sleep"): "open"}), KeyRing(KeyFile(home))
    door = Door(app, directory, keys, DoorPolicy(answer_seconds=0.2), Metrics())
    with TestClient(door) as client:
        begun = time.monotonic()
        assert "no answer in 0.2 s" in refused(client.get("/sleep"), 503)
        assert time.monotonic() - begun < 2
