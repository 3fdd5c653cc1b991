"""Reading online features: stock Feast, our readers and bare Redis commands, one applicant and a hundred.

python -m tests.benchmarks.bench_read
"""

import asyncio
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import redis
from feast import Entity, FeatureService, FeatureStore, FeatureView, FileSource, ValueType

from feature_repo.registry import read_contract
from feature_repo.schema import feature
from feature_repo.stores.compile import compile_plan
from feature_repo.stores.online import OnlineReader
from feature_repo.stores.online_columns import ViewColumns
from feature_repo.stores.online_sync import SyncOnlineReader
from feature_repo.stores.stored import StoredFeatures
from tests.benchmarks.bench_materialize import a_table, table_lines
from tests.contract.online_harness import END, START, a_config, a_redis

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VIEWS, COLUMNS = 4, 5
TURNS = 10  # so that what else the machine does meets all alike


def a_service(root: Path, port: int, rows: int) -> FeatureStore:
    """Four views of five doubles each, in one feature service."""
    table = a_table(rows)
    store = FeatureStore(config=a_config(root, port, ours=True))
    applicant = Entity(name="applicant", join_keys=["applicant_id"], value_type=ValueType.STRING)
    views = []
    for number in range(VIEWS):
        names = [f"feature_{place:02}" for place in range(number * COLUMNS, (number + 1) * COLUMNS)]
        path = root / f"view_{number}.parquet"
        pq.write_table(table.select(["applicant_id", "event_timestamp", "created_timestamp", *names]), path)
        source = FileSource(
            name=f"source_{number}",
            path=str(path),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )
        fields = [feature(name, "number", "", unit="things", reason="r") for name in names]
        views.append(FeatureView(name=f"view_{number}", entities=[applicant], source=source, schema=fields))
    store.apply([applicant, *views, *(view.batch_source for view in views), FeatureService(name="all", features=views)])
    store.materialize(START, END)
    return store


def run(rows: int = 2000, seconds: float = 2.0) -> list[dict[str, Any]]:
    """Measure each reader for a while.

    Returns
    -------
    list of dict
        ``name``, ``rows`` (applicants a call), ``seconds`` (median of a call), ``p99_ms``, ``rows_per_second``,
        ``peak_mb`` of Python memory in a call, and ``ratio`` of stock's seconds to its.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder, a_redis(Path(folder)) as port:
        store = a_service(Path(folder), port, rows)
        plan = compile_plan(read_contract(store, "all"), project=store.project)
        address = f"127.0.0.1:{port}"
        stock = FeatureStore(config=a_config(Path(folder), port, ours=False))
        stock.config.registry.path = str(Path(folder) / "registry-ours.db")
        stock = FeatureStore(config=stock.config)
        service = stock.get_feature_service("all")
        sync = SyncOnlineReader(plan, address)
        client = redis.Redis(port=port)
        fields = [
            field
            for view in plan.views
            for field in [view.timestamp_field, *(bytes.fromhex(s.hash) for s in view.slots)]
        ]

        def bare(names: list[str], *command: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.execute_command(command[0], plan.key(name), *command[1:])
            pipeline.execute()

        with asyncio.Runner() as loop:
            reader = OnlineReader(plan, address)
            for count in (1, 100):
                names = [f"A{number:08}" for number in range(0, rows, max(1, rows // count))][:count]
                asked = [{"applicant_id": name} for name in names]
                check(
                    stock.get_online_features(service, [*asked, {"applicant_id": "nobody"}]).to_dict(),
                    sync.read_many([*names, "nobody"], NOW),
                    sync.read_columns([*names, "nobody"], NOW),
                )
                contenders: dict[str, Callable[[], Any]] = {
                    "stock get_online_features": lambda asked=asked: stock.get_online_features(
                        service, asked
                    ).to_dict(),
                    "ours, sync": lambda names=names: sync.read_many(names, NOW),
                    "ours, sync, as columns": lambda names=names: sync.read_columns(names, NOW),
                    "ours, async": lambda names=names: loop.run(reader.read_many(names, NOW)),
                    "bare HMGET, not decoded": lambda names=names: bare(names, "HMGET", *fields),
                    "bare HGETALL, not decoded": lambda names=names: bare(names, "HGETALL"),
                }
                figures = measure(contenders, seconds)
                slowest = figures["stock get_online_features"]["seconds"]
                for name, figure in figures.items():
                    found.append(
                        {"name": name, "rows": count}
                        | figure
                        | {
                            "rows_per_second": round(count / figure["seconds"]),
                            "ratio": round(slowest / figure["seconds"], 1),
                        }
                    )
            loop.run(reader.close())
    return found


def check(answer: dict[str, list[Any]], rows: list[StoredFeatures], columns: dict[str, ViewColumns]) -> None:
    """All readers must say the same, and ours who is missing, the last."""
    for place, row in enumerate(rows):
        values = {name: value for view in row.views.values() for name, value in view.values.items()}
        assert len(values) == (0 if row is rows[-1] else VIEWS * COLUMNS)
        assert values == {name: answer[name][place] for name in values}
    for name, view in columns.items():
        assert view.status.tolist() == [row.views[name].status for row in rows]
        assert view.status.tolist()[-1] == "MISSING"
        for feature_name, column in view.values.items():
            assert [None if value != value else value for value in column] == answer[feature_name]


def measure(contenders: dict[str, Callable[[], Any]], seconds: float) -> dict[str, dict[str, float]]:
    """Return median and 99th percentile of each one's calls, some of each in turn, and the peak memory of one."""
    peaks = {}
    for name, call in contenders.items():
        call()
        tracemalloc.start()
        call()
        peaks[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, call in contenders.items():
            until = time.perf_counter() + seconds / TURNS
            while time.perf_counter() < until:
                begun = time.perf_counter()
                call()
                spent[name].append(time.perf_counter() - begun)
    return {
        name: {
            "seconds": round(statistics.median(times), 6),
            "p99_ms": round(statistics.quantiles(times, n=100)[-1] * 1000, 3),
            "peak_mb": round(peaks[name] / 1e6, 3),
        }
        for name, times in spent.items()
    }


if __name__ == "__main__":
    for line in table_lines(run()):
        print(line)
