"""What writers at once and a kill leave: rows lost by stock Feast and by ours, and runs that did not heal.

python -m tests.benchmarks.bench_safety --keys 100000
"""

import argparse
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import redis
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores.wire import decode_timestamp
from tests.benchmarks.bench_materialize import a_table, table_lines
from tests.contract.online_harness import END, START, Materializer, a_config, a_redis, doubles, dumps, empty

EVENT = datetime(2026, 1, 1, tzinfo=UTC)
WRITERS, BATCH = 8, 500


def writers_at_once(root: Path, port: int, ours: bool, keys: int) -> dict[str, Any]:
    """Let eight writers write all keys, each with event times of its own; count keys without their newest."""
    empty(port)
    doubles(root, port, ours)
    chance = random.Random(0)
    ages = [[chance.randrange(10**6) for _ in range(keys)] for _ in range(WRITERS)]

    def write(writer: int) -> None:
        store = FeatureStore(config=a_config(root, port, ours))
        view, online = store.get_feature_view("rows"), store._get_provider().online_store
        for start in range(0, keys, BATCH):
            places = list(range(start, min(start + BATCH, keys)))
            random.Random(writer).shuffle(places)
            entries = [
                (
                    EntityKey(join_keys=["applicant_id"], entity_values=[Value(string_val=f"A{place}")]),
                    {"feature_00": Value(double_val=float(ages[writer][place]))},
                    EVENT + timedelta(seconds=ages[writer][place]),
                    None,
                )
                for place in places
            ]
            online.online_write_batch(store.config, view, entries, None)

    begun = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    seconds = time.perf_counter() - begun
    lost = 0
    newest = [max(column) for column in zip(*ages, strict=True)]
    with redis.Redis(port=port) as client:
        for key in client.scan_iter(count=1000):
            place = int(key.removesuffix(b"candor").rpartition(b"A")[2])
            lost += decode_timestamp(client.hget(key, "_ts:rows")) != EVENT + timedelta(seconds=newest[place])
        assert client.dbsize() == keys
    return {"seconds": round(seconds, 1), "lost": lost}


def kills(root: Path, port: int, points: int) -> dict[str, Any]:
    """Kill a materialize at random points, run it again and compare with an uninterrupted one; count differences."""
    rows = pq.read_metadata(root / "rows.parquet").num_rows
    chance = random.Random(0)
    empty(port)
    doubles(root, port).materialize(START, END)
    whole = dumps(port)
    worker = Materializer(root, port)
    begun, different, at_work = time.perf_counter(), 0, 0
    for _ in range(points):
        empty(port)
        at_work += worker.kill_after(chance.randrange(1, rows))
        doubles(root, port).materialize(START, END)
        different += dumps(port) != whole
    worker.close()
    return {"seconds": round(time.perf_counter() - begun, 1), "lost": different, "killed at work": at_work}


def run(keys: int = 100_000, points: int = 10) -> list[dict[str, Any]]:
    """Return ``name``, ``rows``, ``seconds`` and ``lost``: keys that are not the newest, or runs that did not heal."""
    with tempfile.TemporaryDirectory() as folder, a_redis(Path(folder)) as port:
        root = Path(folder)
        pq.write_table(a_table(50_000), root / "rows.parquet")
        return [
            {"name": "8 writers at once, ours", "rows": keys * WRITERS} | writers_at_once(root, port, True, keys),
            {"name": "8 writers at once, stock", "rows": keys * WRITERS} | writers_at_once(root, port, False, keys),
            {"name": f"killed at {points} points and run again", "rows": 50_000} | kills(root, port, points),
        ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=10)
    options = parser.parse_args()
    for line in table_lines(run(options.keys, options.points)):
        print(line)
