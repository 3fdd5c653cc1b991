"""Raw requests that no client would send: no 5xx, no hang, no stack trace, and decisions go on.

``python -m tests.benchmarks.bench_fuzz --requests 100000``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

REQUESTS = 20_000
CLIENTS = 8
LONGEST = 10.0
IMPATIENT = 0.05  # what is not whole is rightly waited for
SOUND = {"applicant_id": "APP_1", "purchase_amount": 3500, "term_months": 12}
PATHS = (
    "/predict", "/predict/batch", "/invocations", "/outcomes", "/applicants/APP_1/features", "/decisions/x",
    "/decisions/0190aaaa-0000-7000-8000-000000000000", "/decisions/0190aaaa-0000-7000-8000-000000000000/replay",
    "/decisions/x/notice", "/health", "/metrics", "/docs", "/schema/openapi.json", "/ping", "/", "//", "/%00", "/\xe9",
    "/applicants/%ff/features", "/applicants/" + "x" * 300 + "/features", "/decisions/..%2f..%2fpredict", "*",
    "/?" + "a=1&" * 50,
)  # fmt: skip
FIELDS = (
    "applicant_id", "purchase_amount", "term_months", "annual_income", "age", "home_ownership", "of_legal_age",
    "loan_purpose", "debt_to_income_ratio", "num_inquiries", "__proto__", "", "\ud800", "purchase_to_income",
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1, 12, 3500, 1e308, -1e308, 5e-324, 2**63, -(2**63) - 1, 10**400, 0.1 + 0.2, float("nan"),
    float("inf"), "", "APP_1", "x" * 10_000, "\x00", "\ud83d", "\u202e", "😀" * 200, "NaN", [], [[]], {}, {"a": 1},
    [None] * 50,
)  # fmt: skip


def run(requests: int = REQUESTS, seed: int = 1) -> list[dict[str, Any]]:
    """Return how many requests were answered how, and the longest answer.

    Raises
    ------
    AssertionError
        If one was answered with a 5xx or a stack trace, or not in 10 s, or a sound request after them is no decision.
    """
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="candor-fuzz-") as folder:
        server = context.Process(target=_serve, args=(Path(folder), theirs))
        server.start()
        try:
            found = asyncio.run(_fuzz(ours.recv(), requests, seed))
            assert server.is_alive(), "the server died"
        finally:
            ours.send("stop")
            server.join(30)
        traces = (Path(folder) / "stderr").read_text().count("Traceback")
    assert not traces, f"{traces} stack traces in the server's log"
    return [found]


def _serve(folder: Path, parent: Connection) -> None:
    import os

    from services.scoring.app import create_app
    from tests.unit.services.harness import a_home, a_model, promote, put
    from tests.unit.services.live import serving

    with (folder / "stderr").open("wb") as log:
        os.dup2(log.fileno(), 2)
    with a_home(folder / "home") as home:
        promote(home)
        put(home, "APP_1")
        with serving(create_app(home, lambda _: a_model())) as live:
            parent.send(live.port)
            parent.recv()


async def _fuzz(port: int, requests: int, seed: int) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    longest = 0.0
    begun = time.perf_counter()

    async def client(number: int) -> None:
        nonlocal longest
        chance = random.Random(seed * 1000 + number)
        for _ in range(requests // CLIENTS):
            raw, is_whole = a_request(chance)
            started = time.perf_counter()
            try:
                answer = await asyncio.wait_for(_ask(port, raw, chance), LONGEST if is_whole else IMPATIENT)
            except TimeoutError:
                assert not is_whole, f"no answer to {raw[:2000]!r}"
                answer = b"HTTP/1.1 waits for the rest"
            if is_whole:
                longest = max(longest, time.perf_counter() - started)
            status = answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "hung up"
            assert status.isdigit() or not is_whole, f"{status} on {raw[:2000]!r}"
            statuses[status] += 1
            assert not status.startswith("5"), f"{answer[:2000]!r} to {raw[:2000]!r}"
            assert b"Traceback" not in answer, raw

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    sound = _message(
        "POST", "/predict", json.dumps(SOUND).encode(), [b"content-type: application/json", b"connection: close"]
    )
    last = await asyncio.wait_for(_ask(port, sound, None), LONGEST)
    assert last.startswith(b"HTTP/1.1 200"), last
    seconds = time.perf_counter() - begun
    return {"requests": sum(statuses.values()), "seconds": seconds, "longest_s": longest} | dict(
        sorted(statuses.items())
    )


async def _ask(port: int, raw: bytes, chance: random.Random | None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        cut = chance.randrange(len(raw)) if chance and chance.random() < 0.2 and raw else 0
        writer.write(raw[:cut])
        await writer.drain()
        writer.write(raw[cut:])
        return await reader.read(65536)
    except OSError:
        return b""
    finally:
        writer.close()


def a_request(chance: random.Random) -> tuple[bytes, bool]:
    """Return the bytes of one request that is wrong somewhere, mostly, and whether it ends where it says it does."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(1, 400)), False
    method = chance.choice(("POST", "POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"))
    path = chance.choice(PATHS[:4]) if chance.random() < 0.6 else chance.choice(PATHS)
    headers = [b"connection: close"]
    if chance.random() < 0.9:
        headers.append(b"content-type: application/json")
    odd = (
        b"content-type: \xff", b"x-request-id: " + chance.randbytes(12).replace(b"\n", b"").replace(b"\r", b""),
        b"idempotency-key: " + b"k" * chance.randrange(300), b"host: evil.example", b"content-length: -1",
        b"transfer-encoding: chunked", b"expect: 100-continue", b"connection: upgrade\r\nupgrade: websocket",
        b"content-encoding: gzip", b"accept: text/html;q=x, */*;q=-1", b"x-api-key: candor_\xff",
        b"authorization: Bearer",
        b"x-long: " + b"a" * chance.randrange(20_000), b"accept: application/pdf", b"range: bytes=0-1",
    )  # fmt: skip
    added = chance.sample(odd, chance.choice((0, 0, 0, 1, 2)))
    headers += added
    is_whole = not any(one.startswith((b"content-length", b"transfer", b"connection")) for one in added)
    body = a_body(chance, path)
    is_whole = is_whole and (method == "POST" or len(body) < 60_000)  # nobody reads the long body of another method
    raw = _message(method, path, body, headers)
    if chance.random() < 0.05:
        place = chance.randrange(len(raw))
        raw = raw[:place] + chance.randbytes(chance.randrange(1, 9)) + raw[place + chance.randrange(4) :]
        is_whole = False
    return raw, is_whole


def a_body(chance: random.Random, path: str) -> bytes:
    """Return a body that is wrong somewhere, mostly."""
    kind = chance.random()
    if kind < 0.06:
        return chance.randbytes(chance.randrange(200))
    if kind < 0.12:
        depth = chance.choice((10, 1000, 30_000))
        return (
            b"[" * depth + b"]" * chance.choice((0, depth)) if kind < 0.09 else b'{"a":' * depth + b"1" + b"}" * depth
        )
    single = _an_object(chance)
    name = {"/predict/batch": b"requests", "/invocations": b"instances", "/outcomes": b"outcomes"}.get(path)
    if name is None or chance.random() < 0.2:
        return single
    many = b",".join(_an_object(chance) for _ in range(chance.choice((0, 1, 3))))
    return b'{"%s":[%s]}' % (name, many) if chance.random() < 0.9 else b'{"%s":%s}' % (name, single)


def _an_object(chance: random.Random) -> bytes:
    pairs = list(SOUND.items()) if chance.random() < 0.8 else []
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        pairs.append((chance.choice(FIELDS), chance.choice(VALUES)))  # a name may come twice
    text = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs)
    raw = f"{{{text}}}".encode()
    if chance.random() < 0.1:
        place = chance.randrange(len(raw))
        raw = raw[:place] + chance.randbytes(1) + raw[place + 1 :]
    return raw


def _message(method: str, path: str, body: bytes, headers: list[bytes]) -> bytes:
    head = [
        f"{method} {path} HTTP/1.1".encode("latin-1"),
        b"host: 127.0.0.1",
        b"content-length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.requests, arguments.seed), indent=1))
