"""A Redis of its own and two Feast stores on it, stock and ours, for contract tests and benchmarks."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

from services.redis_server import executable

START = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(2030, 1, 1, tzinfo=UTC)
OURS = "feature_repo.stores.online_store.CandorOnlineStore"
ENGINE = "feature_repo.stores.engine.CandorEngine"
KEY_COLUMNS = {"event_timestamp", "created_timestamp"}


@contextmanager
def a_redis(folder: Path, *options: str) -> Iterator[int]:
    """A Redis server without persistence; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    command = [executable(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *options]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            for _ in range(500):
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    break
                time.sleep(0.01)
        yield port
    finally:
        server.kill()
        server.wait()


def a_config(root: Path, port: int, ours: bool, **online: Any) -> RepoConfig:
    """A Feast configuration over the DuckDB offline store that Feast ships."""
    more: dict[str, Any] = {"batch_engine": {"type": ENGINE}} if ours else {}
    return RepoConfig(
        project="candor",
        provider="local",
        registry=str(root / f"registry-{'ours' if ours else 'stock'}.db"),
        online_store={"type": OURS if ours else "redis", "connection_string": f"127.0.0.1:{port}", **online},
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
        repo_path=str(root),
        **more,
    )


def a_store(
    config: RepoConfig, path: Path, fields: dict[str, Any], *, keys: dict[str, ValueType] | None = None
) -> FeatureStore:
    """An applied store with one view, ``rows``, over one Parquet file or glob."""
    source = FileSource(
        name="rows_source",
        path=str(path),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    entities = [
        Entity(name=f"entity_{key}", join_keys=[key], value_type=kind)
        for key, kind in (keys or {"applicant_id": ValueType.STRING}).items()
    ]
    schema = [Field(name=name, dtype=dtype) for name, dtype in fields.items()]
    view = FeatureView(name="rows", entities=entities, ttl=timedelta(days=4000), source=source, schema=schema)
    store = FeatureStore(config=config)
    store.apply([*entities, source, view])
    return store


def write_rows(path: Path, table: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def contents(port: int) -> dict[bytes, dict[bytes, bytes]]:
    """Every hash in the server."""
    with redis.Redis(port=port) as client:
        return {key: client.hgetall(key) for key in client.scan_iter(count=1000)}


def dumps(port: int) -> dict[bytes, bytes]:
    """Every key as Redis would serialise it: bytes, order of fields and encoding."""
    with redis.Redis(port=port) as client:
        keys = sorted(client.scan_iter(count=1000))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.dump(key)
        return dict(zip(keys, pipeline.execute(), strict=True))


def empty(port: int) -> None:
    with redis.Redis(port=port) as client:
        client.flushall()


def calls(port: int) -> int:
    """How many writes the server has done, by whatever way."""
    with redis.Redis(port=port) as client:
        done = client.info("commandstats")
    return sum(done[name]["calls"] for name in ("cmdstat_restore", "cmdstat_hset") if name in done)


class Materializer:
    """A process that has imported everything and materializes in children that can be killed."""

    def __init__(self, root: Path, port: int) -> None:
        self._port = port
        command = [sys.executable, "-W", "ignore", "-m", "tests.contract.online_harness", str(root), str(port)]
        folder = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def kill_after(self, writes: int) -> bool:
        """Begin a materialize and kill it (SIGKILL) after so many writes; whether it was still at work."""
        with redis.Redis(port=self._port) as client:
            client.config_resetstat()
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        child = self._answer()
        ended = threading.Event()
        status: list[int] = []
        waiting = threading.Thread(target=lambda: (status.append(self._answer()), ended.set()))
        waiting.start()
        while not ended.is_set() and calls(self._port) < writes:
            time.sleep(0.001)
        if not ended.is_set():
            os.kill(child, signal.SIGKILL)
        waiting.join()
        return status[0] != 0

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


def serve_materialize(root: Path, port: int) -> None:
    """The process of a `Materializer`: for each line a child of its own, whose number and end it tells."""
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            doubles(root, port).materialize(START, END)
            os._exit(0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


def doubles(root: Path, port: int, ours: bool = True) -> FeatureStore:
    """A store over ``rows.parquet``, whose columns other than key and times are doubles."""
    path = root / "rows.parquet"
    names = [name for name in pq.read_schema(path).names if name not in KEY_COLUMNS | {"applicant_id"}]
    return a_store(a_config(root, port, ours), path, dict.fromkeys(names, Float64))


if __name__ == "__main__":
    serve_materialize(Path(sys.argv[1]), int(sys.argv[2]))
