"""Training on 5M loans of 30 features: folds, fit, calibration, tables and metrics within 12 GiB.

``python -m tests.benchmarks.bench_training_scale --rows 5000000 --threads 1``

The loans are simulated by DuckDB as Parquet, so that memory is not this process's, and read as Arrow with their keys,
as the point-in-time join gives them. The demo's fixed parameters stop late on them, so that the folds go through nearly
all of 600 rounds. *around* is what a training run does beside: a pandas frame for the gate
and for MLflow's record, the gate, the reference profile; in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from feature_repo.contract import FeatureSpec
from feature_repo.home import Home
from tests.benchmarks.bench_join import peak
from training import champion
from training.dataset import Dataset, digest_of_table
from training.model import Parameters

ROWS, SEED, CUTOFF = 5_000_000, 7, 0.1
PARTS = ("train", "around")
SIGNS = ("increases", "decreases", "either")
CATEGORIES = ("OWN", "MORTGAGE", "RENT", "OTHER")
OOT_START = datetime(2023, 3, 1, tzinfo=UTC)  # the last fifth of four years
SPECS = (
    *(
        FeatureSpec(name=f"f{index}", view="a", kind="number", description="", unit="", risk=SIGNS[index % 3])
        for index in range(24)
    ),
    *(FeatureSpec(name=f"c{index}", view="a", kind="count", description="", unit="") for index in range(4)),
    FeatureSpec(name="flag", view="a", kind="flag", description="", unit=""),
    FeatureSpec(name="home", view="a", kind="category", description="", unit="", categories=CATEGORIES),
)
STAGES = ("encode_table", "choose", "fit", "margins", "calibrate", "compile_tables", "check_tables", "metrics")


def run(rows: int = ROWS, threads: int = 1, parts: tuple[str, ...] = PARTS) -> list[dict[str, Any]]:
    """Return for each stage its minutes, and the peak GiB of its process by its end."""
    found = []
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        _in_process("loans", Path(folder), rows, threads)
        for part in parts:
            found += _in_process(part, Path(folder), rows, threads)
            print(json.dumps(found[-1]), flush=True)
    return found


def _in_process(part: str, folder: Path, rows: int, threads: int) -> list[dict[str, Any]]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.bench_training_scale", "--part", part]
    command += ["--folder", str(folder), "--rows", str(rows), "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


class Stages:
    """Minutes of each stage, and the peak by its end."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.minutes: dict[str, float] = {}
        self.peaks: dict[str, float] = {}

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return the work with its time taken; that of more calls is added up."""

        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                self.minutes[name] = self.minutes.get(name, 0.0) + (time.perf_counter() - start) / 60
                self.peaks[name] = peak() / 1024

        return call

    def rows(self) -> list[dict[str, Any]]:
        """Return what was measured, the whole last."""
        self.minutes["all"], self.peaks["all"] = sum(self.minutes.values()), peak() / 1024
        return [
            {"name": f"{self.part}: {name}", "minutes": minutes, "peak GiB": self.peaks[name]}
            for name, minutes in self.minutes.items()
        ]


def make_loans(folder: Path, rows: int) -> None:
    """Write loans of four years in order of loan_id, one default in ten, a twelfth of the numbers missing."""
    normal = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
    numbers = ", ".join(f"{normal} as f{index}" for index in range(24))
    holes = ", ".join(f"case when random() < 0.92 then f{index} end as f{index}" for index in range(24))
    counts = ", ".join(f"(random() * random() * 12)::bigint as c{index}" for index in range(4))
    risk = " + ".join(f"{weight} * f{index}" for index, weight in enumerate((0.4, -0.6, 0.3, 0.5, -0.3, -0.2)))
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; set threads = 1; select setseed(0.5)")
        connection.execute(f"""copy (
            select 'LOAN_' || lpad(i::varchar, 8, '0') as loan_id, 'APP_' || lpad(i::varchar, 8, '0') as applicant_id,
                timestamptz '2020-01-01' + to_microseconds((random() * 1461 * 86400e6)::bigint) as event_timestamp,
                random() < 1 / (1 + exp(2.9 - ({risk}) - 0.1 * c0)) as defaulted,
                {holes}, c0, c1, c2, c3, random() < 0.5 as flag, {list(CATEGORIES)}[1 + (random() * 3)::int] as home
            from (select i, {numbers}, {counts} from range({rows}) t(i))
        ) to '{folder}/loans.parquet' (format parquet)""")


def read(folder: Path) -> Dataset:
    """Return the loans as a dataset, its digest taken."""
    table = pq.read_table(folder / "loans.parquet").combine_chunks()
    return Dataset(
        table,
        SPECS,
        datetime(2026, 1, 1, tzinfo=UTC),
        OOT_START,
        {},
        digest_of_table(table),
        "",
        np.zeros(len(table), bool),
    )


def train(folder: Path, threads: int) -> list[dict[str, Any]]:
    """Fit, calibrate, explain and measure; return the stages."""
    stages = Stages("train")
    for name in STAGES:
        setattr(champion, name, stages.timed(name, getattr(champion, name)))
    dataset = stages.timed("read and digest", read)(folder)
    model = champion.fit_calibrated(dataset, Parameters(threads=threads), seed=SEED)
    candidate = champion.explain_and_measure(dataset, model, CUTOFF)
    found = stages.rows()
    found[-1] |= {"rounds": candidate.chosen.rounds, "oot AUC": candidate.metrics["oot_auc"]}
    return found


def around(folder: Path) -> list[dict[str, Any]]:
    """Make the pandas frame, and do with it what a training run does; return the stages."""
    import mlflow.data

    from monitoring.profiles import profile_frame
    from validation.gates import check_frame, require_passed

    stages = Stages("around")
    dataset = stages.timed("read and digest", read)(folder)
    frame = stages.timed("pandas frame", lambda: dataset.frame)()
    gate = stages.timed("gate", check_frame)(Home(root=folder / "home"), frame, SPECS)
    require_passed([gate])
    stages.timed("MLflow's input", mlflow.data.from_pandas)(frame, name="training_frame", digest=dataset.digest[7:43])
    reference = frame.loc[dataset.is_oot, [spec.name for spec in dataset.specs]]
    stages.timed("reference profile", profile_frame)(reference)
    return stages.rows()


def main() -> None:
    """Parse the command line; the process of a part prints one line of JSON."""
    from tests.benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=("loans", *PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "loans":
        make_loans(options.folder, options.rows)
        print("[]")
    elif options.part == "train":
        print(json.dumps(train(options.folder, options.threads)))
    elif options.part == "around":
        print(json.dumps(around(options.folder)))
    else:
        print(table(run(options.rows, options.threads, tuple(options.only))))


if __name__ == "__main__":
    main()
