"""Stock Feast's materialize, ours and the bare socket, one after the other on one Redis.

python -m tests.benchmarks.bench_materialize --rows 200000
"""

import argparse
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from feast.types import Float64

from feature_repo.stores.bulk import ViewEncoder, record_batches
from feature_repo.stores.protocol import bulk
from feature_repo.stores.resp import Columns, Packed, arguments, joined
from tests.contract.online_harness import END, START, a_config, a_redis, a_store, empty

COLUMNS = 20
FIELDS = {f"feature_{number:02}": Float64 for number in range(COLUMNS)}
EVENT = datetime(2026, 5, 31, tzinfo=UTC)


def a_table(rows: int, event: datetime = EVENT) -> pa.Table:
    """One row for each of `rows` applicants: 20 doubles, no nulls."""
    random = np.random.default_rng(0)
    instant = pa.timestamp("us", "UTC")
    begun = int(event.timestamp() * 1_000_000)
    return pa.table(
        {
            "applicant_id": pa.array([f"A{number:08}" for number in range(rows)]),
            "event_timestamp": pa.array(random.integers(begun - 10**12, begun, rows)).cast(instant),
            "created_timestamp": pa.array(np.full(rows, begun)).cast(instant),
        }
        | {name: random.normal(size=rows) for name in FIELDS}
    )


def one(what: str, root: Path, port: int) -> dict[str, float]:
    """Run one contender in this process: seconds of the write itself, and peak memory above the imports."""
    path = root / "rows.parquet"
    ours = what != "stock"
    offline = {"type": "feature_repo.stores.offline.CandorOfflineStore"} if ours else {"type": "duckdb"}
    config = a_config(root, port, ours).model_copy(update={"offline_config": offline})
    store = a_store(config, path, FIELDS)
    store.materialize(START, START + timedelta(days=1))  # no rows: only what is imported on first use
    before = _peak_mb()
    if what == "socket":
        view = store.get_feature_view("rows")
        encoder = ViewEncoder(store.config, view)
        commands = [hset(encoder.encode(batch).columns) for batch in record_batches(pq.read_table(path), 1024)]
        seconds = _feed(port, commands)
    else:
        begun = time.perf_counter()
        store.materialize(START, END)
        seconds = time.perf_counter() - begun
    return {"seconds": seconds, "peak_mb": _peak_mb() - before}


def hset(columns: Columns) -> Packed:
    """The same bytes as plain HSET commands."""
    parts: list[Any] = [bulk(columns.stamp_field), *arguments(columns.stamps)]
    for field, values in columns.values.items():
        parts += [bulk(field), *arguments(values)]
    head = b"*%d\r\n" % (4 + 2 * len(columns.values)) + bulk(b"HSET")
    return Packed(joined(head, *arguments(columns.keys), *parts))


def _feed(port: int, commands: list[Any]) -> float:
    """Send ready commands through one socket and count the answers, doing nothing else."""
    total, answers = sum(map(len, commands)), 0
    with socket.create_connection(("127.0.0.1", port)) as stream:
        begun = time.perf_counter()
        for number, packed in enumerate(commands):
            stream.sendall(packed.run(0, len(packed)))
            while answers < sum(map(len, commands[: max(0, number - 1)])):
                answers += stream.recv(1 << 16).count(b"\n")
        while answers < total:
            answers += stream.recv(1 << 16).count(b"\n")
        return time.perf_counter() - begun


def run(rows: int = 200_000, repeat: int = 1) -> list[dict[str, Any]]:
    """Measure; each contender in a process of its own, the best of `repeat` turns.

    Returns
    -------
    list of dict
        ``name``, ``rows``, ``seconds``, ``rows_per_second``, ``peak_mb`` above the imports, and
        ``ratio`` of its rows per second to stock's.
    """
    with tempfile.TemporaryDirectory() as folder, a_redis(Path(folder)) as port:
        root = Path(folder)
        pq.write_table(a_table(rows), root / "rows.parquet")
        contenders = {
            "bare socket, first load": ("socket", "empty"),
            "bare socket, over older rows": ("socket", "older"),
            "ours, first load": ("ours", "empty"),
            "ours, over older rows": ("ours", "older"),
            "ours, over newer rows": ("ours", "newer"),
            "stock, first load": ("stock", "empty"),
        }
        best: dict[str, dict[str, float]] = {}
        for _ in range(repeat):
            for name, (what, before) in contenders.items():
                measured = _in_a_process(root, port, what, before, rows)
                if name not in best or measured["seconds"] < best[name]["seconds"]:
                    best[name] = measured
    stock = best["stock, first load"]["seconds"]
    return [
        {
            "name": name,
            "rows": rows,
            "seconds": round(found["seconds"], 2),
            "rows_per_second": round(rows / found["seconds"]),
            "peak_mb": round(found["peak_mb"]),
            "ratio": round(stock / found["seconds"], 1),
        }
        for name, found in best.items()
    ]


def _in_a_process(root: Path, port: int, what: str, before: str, rows: int) -> dict[str, float]:
    empty(port)
    if before != "empty":
        age = timedelta(days=300) * (1 if before == "older" else -1)
        _fill(root, port, a_table(rows, EVENT - age))
    command = [sys.executable, "-m", "tests.benchmarks.bench_materialize", "--one", what, str(root), str(port)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with redis.Redis(port=port) as client:
        assert client.dbsize() == rows
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def _fill(root: Path, port: int, table: pa.Table) -> None:
    store = a_store(a_config(root, port, ours=True), root / "rows.parquet", FIELDS)
    encoder = ViewEncoder(store.config, store.get_feature_view("rows"))
    store._get_provider().online_store.write_rows(store.config, map(encoder.encode, record_batches(table)))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table_lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """Return the figures as a table."""
    names = list(dict.fromkeys(name for row in found for name in row))
    yield " | ".join(names)
    for row in found:
        yield " | ".join(str(row.get(name, "")) for name in names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--one", nargs=3)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], Path(options.one[1]), int(options.one[2]))))
    else:
        for line in table_lines(run(options.rows, options.repeat)):
            print(line)
