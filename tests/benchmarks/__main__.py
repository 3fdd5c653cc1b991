"""Run every benchmark, or those named: ``python -m tests.benchmarks [join materialize read scoring]``."""

import importlib
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parents[1] / ".bench"


def main(names: list[str]) -> None:
    """Run, print a table for each benchmark, and write ``.bench/<time>.json``."""
    known = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    unknown = set(names) - set(known)
    if unknown:
        raise SystemExit(f"unknown benchmark {', '.join(sorted(unknown))} (known: {', '.join(known)})")
    results = {}
    for name in names or known:
        print(f"\n{name}", flush=True)
        results[name] = importlib.import_module(f"tests.benchmarks.bench_{name}").run()
        print(table(results[name]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    path.write_text(json.dumps({"machine": machine, "results": results}, indent=1))
    print(f"\n{path}")


def table(rows: list[dict]) -> str:
    """Return rows of equal keys as aligned text."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    cells = [names, *([cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells)


def cell(value: object) -> str:
    """Return one value, floats with four figures."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(sys.argv[1:])
