"""The join of 1M entity rows to a source of 50M rows under a memory limit of 4 GiB: cold, warm and without an index."""

from typing import Any

from tests.benchmarks import bench_join


def run() -> list[dict[str, Any]]:
    """Return ``name``, ``seconds`` and ``peak MB`` above the bare process."""
    return bench_join.run_large()
