"""`candor batch` as a whole: start, join, decisions with reasons, log, file.

``python -m tests.benchmarks batch``
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.demo_home import a_demo_home, candor

APPLICANTS = 6000
TERMS = np.array([6, 12, 24, 36])


def run(rows: int = 100_000) -> list[dict[str, Any]]:
    """Return decisions a second of the command, from its start to its end, and without starting Python."""
    random = np.random.default_rng(0)
    names = np.array([f"APP_{number:06}" for number in range(1, APPLICANTS + 1)])
    table = pa.table(
        {
            "applicant_id": names[random.integers(0, APPLICANTS, rows)],
            "purchase_amount": random.integers(30_000, 500_000, rows) / 100,
            "term_months": TERMS[random.integers(0, len(TERMS), rows)],
        }
    )
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        source, target = Path(folder) / "in.parquet", Path(folder) / "out.parquet"
        pq.write_table(table, source)
        with a_demo_home(Path(folder) / "home", APPLICANTS) as (environment, _):
            begun = time.perf_counter()
            said = json.loads(candor(environment, "batch", "--input", str(source), "--output", str(target), "--json"))
            seconds = time.perf_counter() - begun
        decided = pq.read_metadata(target).num_rows
        assert decided == said["decided"] == rows
    return [
        {"name": "candor batch, whole command", "rows": rows, "seconds": seconds, "decisions/s": rows / seconds},
        {"name": "once it has begun", "rows": rows, "seconds": said["seconds"], "decisions/s": rows / said["seconds"]},
    ]
