"""The point-in-time join: stock Feast, our store cold and warm, and the bare SQL of the same two-time work.

``python -m tests.benchmarks.bench_join --entity-rows 10000 1000000 --history 24 60``

Each contender runs in a process of its own, which reports the peak memory of the join above what the
process held before it. *cold* makes the index of every source and then joins; *warm* finds it. *no
index* keeps none: it makes what the call needs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import duckdb

APPLICANTS = 100_000
LARGE = (2_000_000, 25)
VIEWS = 3
LETTERS = "abcdefg"  # five doubles, an integer and a string a view
TTL = timedelta(days=90)
CONTENDERS = ("stock", "ours cold", "ours warm", "ours no index", "raw sql")
STORES = {"stock": "duckdb", "raw sql": ""}


def run(
    entity_rows: tuple[int, ...] = (10_000, 100_000, 1_000_000),
    history: tuple[int, ...] = (24, 60),
    contenders: tuple[str, ...] = CONTENDERS,
) -> list[dict[str, object]]:
    """Return a row for each contender: seconds, rows/s, MB above the bare process, and stock's seconds over its own."""
    results: list[dict[str, object]] = []
    for length in history:
        with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
            make_sources(Path(folder), APPLICANTS, length)
            for count in entity_rows:
                make_frame(Path(folder), APPLICANTS, count)
                measured = [measure(name, Path(folder)) for name in contenders]
                for name, row in zip(contenders, measured, strict=True):
                    results.append(
                        {
                            "name": name,
                            "entity_rows": count,
                            "history": length,
                            "seconds": row["seconds"],
                            "rows/s": count / row["seconds"],
                            "peak MB": row["peak"],
                            "ratio": measured[0]["seconds"] / row["seconds"],
                        }
                    )
                    print(json.dumps(results[-1]), flush=True)
    return results


def run_large() -> list[dict[str, object]]:
    """Join 1M entity rows to one source of 50M rows under a limit of 4 GiB: cold, warm and without an index."""
    results: list[dict[str, object]] = []
    applicants, length = LARGE
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        make_sources(Path(folder), applicants, length, views=1)
        make_frame(Path(folder), applicants, 1_000_000)
        for name in ("ours cold", "ours warm", "ours no index"):
            row = measure(name, Path(folder), views=1, memory="4GiB")
            results.append({"name": f"50M rows, {name}", "seconds": row["seconds"], "peak MB": row["peak"]})
            print(json.dumps(results[-1]), flush=True)
    return results


def make_sources(folder: Path, applicants: int, history: int, views: int = VIEWS) -> None:
    """Write sources over two years in order of event; a tenth of the rows came up to 60 days late."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("select setseed(0.5)")
        for view in range(views):
            columns = ", ".join(f"random() as {letter}{view}" for letter in LETTERS[:5])
            connection.execute(f"""copy (
                select
                    'APP_' || lpad((i // {history})::varchar, 8, '0') as applicant_id, event_timestamp,
                    event_timestamp + to_microseconds((random() * case when random() < 0.1 then 60 else 2 end
                        * 86400e6)::bigint) as created_timestamp,
                    {columns}, (random() * 100)::bigint as f{view}, ['x', 'y', 'z'][1 + (random() * 2)::int] as g{view}
                from (
                    select i, timestamptz '2024-01-01' + to_microseconds((random() * 730 * 86400e6)::bigint)
                        as event_timestamp
                    from range({applicants * history}) t(i)
                ) order by event_timestamp
            ) to '{folder}/v{view}.parquet' (format parquet)""")


def make_frame(folder: Path, applicants: int, count: int) -> None:
    """Write an entity frame over the same time, in no order; one row in a hundred is of nobody."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"""copy (
            select i as loan_id, 'APP_' || lpad((random() * {applicants} * 1.01)::int::varchar, 8, '0') as applicant_id,
                timestamptz '2024-01-01' + to_microseconds((random() * 730 * 86400e6)::bigint) as event_timestamp,
                random() < 0.1 as defaulted
            from range({count}) t(i)
        ) to '{folder}/frame.parquet' (format parquet)""")


def measure(name: str, folder: Path, views: int = VIEWS, memory: str = "") -> dict[str, float]:
    """Run one contender in its own process."""
    if name == "ours cold":
        shutil.rmtree(folder / "prepared", ignore_errors=True)
    arguments = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.bench_join"]
    command = [*arguments, "--contender", name, "--folder", str(folder), "--views", str(views), "--memory", memory]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def contend(name: str, folder: Path, views: int, memory: str) -> dict[str, float]:
    """Join once and return seconds and MB."""
    import pandas as pd

    frame = pd.read_parquet(folder / "frame.parquet")
    join = raw_sql(folder, frame, views) if name == "raw sql" else through_feast(name, folder, frame, views, memory)
    before, start = peak(), time.perf_counter()
    result = join()
    seconds = time.perf_counter() - start
    assert result.num_rows == len(frame), "a join gives one row for each row asked"
    assert result["a0"].null_count < len(frame) // 2, "a join finds features"
    return {"seconds": seconds, "peak": peak() - before}


def peak() -> float:
    """Return the most memory that this process ever held, MB; getrusage would tell of its parent, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def through_feast(name, folder, frame, views, memory):
    """Return get_historical_features of a store with the sources of `folder`."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64, String

    repo = Path(tempfile.mkdtemp(dir=folder))
    kind = STORES.get(name, "feature_repo.stores.offline.CandorOfflineStore")
    prepared = f", prepared_directory: {folder}/prepared" if name in ("ours cold", "ours warm") else ""
    limit = f", memory_limit: {memory}" if memory else ""
    (repo / "feature_store.yaml").write_text(
        f"project: bench\nprovider: local\nregistry: {repo}/registry.db\n"
        f"offline_store: {{type: {kind}{prepared}{limit}}}\n"
        f"online_store: {{type: sqlite, path: {repo}/online.db}}\nentity_key_serialization_version: 3\n"
    )
    store = FeatureStore(str(repo))
    applicant = Entity(name="applicant", join_keys=["applicant_id"], value_type=ValueType.STRING)
    kinds = {"f": Int64, "g": String}
    defined = [
        FeatureView(
            name=f"v{view}",
            entities=[applicant],
            ttl=TTL,
            source=FileSource(
                path=f"{folder}/v{view}.parquet",
                timestamp_field="event_timestamp",
                created_timestamp_column="created_timestamp",
            ),
            schema=[Field(name=f"{letter}{view}", dtype=kinds.get(letter, Float64)) for letter in LETTERS],
        )
        for view in range(views)
    ]
    store.apply([applicant, *defined])
    features = [f"v{view}:{letter}{view}" for view in range(views) for letter in LETTERS]
    return lambda: store.get_historical_features(frame, features, filter_by_created_timestamp=True).to_arrow()


def raw_sql(folder, frame, views):
    """Return what one would write by hand: running maximum, one row an instant, ASOF JOIN, TTL."""
    chosen = ["frame.*"]
    joins = []
    for view in range(views):
        fresh = f"frame.event_timestamp - v{view}.event_timestamp <= interval {TTL.days} day"
        chosen += [f"case when {fresh} then {letter}{view} end as {letter}{view}" for letter in LETTERS]
        joins.append(f"""asof left join (
            select * from (
                select *, greatest(event_timestamp, created_timestamp) as known,
                    max(event_timestamp) over (partition by applicant_id order by
                        greatest(event_timestamp, created_timestamp), event_timestamp, created_timestamp
                        rows unbounded preceding) as newest
                from '{folder}/v{view}.parquet'
            )
            where event_timestamp = newest
            qualify row_number() over (
                partition by applicant_id, known order by event_timestamp desc, created_timestamp desc) = 1
        ) v{view} on frame.applicant_id = v{view}.applicant_id and frame.event_timestamp >= v{view}.known""")
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.register("frame", frame)
    query = f"select {', '.join(chosen)} from frame {' '.join(joins)} order by loan_id"
    return lambda: connection.sql(query).to_arrow_table()


def main() -> None:
    """Parse the command line; a contender's process prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entity-rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--history", type=int, nargs="+", default=[24, 60])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--views", type=int, default=VIEWS, help=argparse.SUPPRESS)
    parser.add_argument("--memory", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(contend(options.contender, options.folder, options.views, options.memory)), flush=True)
        os._exit(0)  # the end of a process with gigabytes is no part of this
    run(tuple(options.entity_rows), tuple(options.history), tuple(options.only))


if __name__ == "__main__":
    main()
