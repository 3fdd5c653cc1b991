"""Redis and the decision log go for a while under load, and come back.

Redis hangs (SIGSTOP) and dies (SIGKILL); another program locks the SQLite log; PostgreSQL, where it is installed, is
shut down as by a power failure while it holds the log.

``python -m tests.benchmarks outage``
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from feature_repo.home import Home

CLIENTS = 8
STOPPED = 10.0
QUIET = 3.0
BODY = json.dumps({"applicant_id": "APP_1", "purchase_amount": 3500, "term_months": 12}).encode()
REDIS_HANGS, REDIS_DIES, LOCKED, POSTGRES_DIES = WAYS = (
    "Redis hangs",
    "Redis dies",
    "the SQLite log is locked",
    "the PostgreSQL log dies",
)
Answer = tuple[float, float, int]
"""When it came, how long it took (seconds), and its status; 0 if there was none."""


def run(stopped: float = STOPPED) -> list[dict[str, Any]]:
    """Return, for each way of failing, the longest answer, and the time to the first 503 and to 200 again, seconds.

    ``others`` counts answers that are neither 200 nor 503, and requests without one.
    """
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    found = []
    for way in WAYS:
        with tempfile.TemporaryDirectory(prefix="candor-outage-") as folder:
            server = context.Process(target=_serve, args=(Path(folder), theirs, way))
            server.start()
            try:
                port = ours.recv()
                if port:
                    found.append(asyncio.run(_outage(port, ours, way, stopped)))
            finally:
                ours.send("end")
                server.join(30)
    return found


def _serve(folder: Path, parent: Connection, way: str) -> None:
    from services.scoring.app import create_app
    from tests.unit.monitoring.postgres import a_postgres
    from tests.unit.services.harness import a_home, a_model, connect, promote, put
    from tests.unit.services.live import serving

    with ExitStack() as stack:
        home = stack.enter_context(a_home(folder / "home"))
        postgres = None
        if way == POSTGRES_DIES:
            try:
                postgres = stack.enter_context(a_postgres())
            except BaseException as error:  # pytest's word for what cannot run here is no Exception
                if type(error).__name__ != "Skipped":
                    raise
                parent.send(0)
                return
            home = replace(home, log_override=postgres.url)
        promote(home)
        put(home, "APP_1")
        with connect(home) as redis:
            redis.save()
        with serving(create_app(home, lambda _: a_model(), writes_apart=True)) as live:
            parent.send(live.port)
            outage = _outage_of(way, home, postgres)
            while parent.recv() != "end":
                next(outage)
                parent.send(time.monotonic())


def _outage_of(way: str, home: Home, postgres: Any) -> Iterator[None]:
    """Take something away at the first step, and give it back at the second."""
    from services import embedded
    from tests.unit.services.harness import connect

    if way == POSTGRES_DIES:
        postgres.stop()
        yield
        postgres.start()
    elif way == LOCKED:
        with closing(sqlite3.connect(home.root / "decisions.db", isolation_level=None, timeout=10)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
    else:
        with connect(home) as redis:
            process = redis.info("server")["process_id"]
        os.kill(process, signal.SIGSTOP if way == REDIS_HANGS else signal.SIGKILL)
        yield
        if way == REDIS_HANGS:
            os.kill(process, signal.SIGCONT)
        else:
            embedded.ensure(home)
    yield


async def _outage(port: int, server: Connection, way: str, stopped: float) -> dict[str, Any]:
    answers: list[Answer] = []
    is_over = asyncio.Event()
    clients = [asyncio.create_task(_load(port, answers, is_over)) for _ in range(CLIENTS)]
    await asyncio.sleep(QUIET)
    gone = await asyncio.to_thread(_order, server)
    await asyncio.sleep(stopped)
    back = await asyncio.to_thread(_order, server)
    await asyncio.sleep(QUIET)
    is_over.set()  # not cancelled: wait_for of Python 3.11 may swallow that
    await asyncio.gather(*clients)
    refused = [at for at, _, status in answers if status == 503 and at > gone]
    again = [at for at, _, status in answers if status == 200 and at > back]
    return {
        "outage": f"{way} for {stopped:g} s",
        "answers": len(answers),
        "200": sum(status == 200 for *_, status in answers),
        "503": sum(status == 503 for *_, status in answers),
        "others": sum(status not in (200, 503) for *_, status in answers),
        "longest_s": max(took for _, took, _ in answers),
        "first_503_s": refused[0] - gone if refused else None,
        "recovery_s": again[0] - back if again else None,
    }


def _order(server: Connection) -> float:
    server.send("go on")
    return float(server.recv())


async def _load(port: int, answers: list[Answer], is_over: asyncio.Event) -> None:
    head = "POST /predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(BODY)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not is_over.is_set():
        begun = time.monotonic()
        try:
            writer.write(head.encode() + BODY)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            status = int(answer[9:12])
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            status = 0
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers.append((time.monotonic(), time.monotonic() - begun, status))
        if status != 200:
            await asyncio.sleep(0.01)  # a refusal costs nothing: do not only measure how many there can be
