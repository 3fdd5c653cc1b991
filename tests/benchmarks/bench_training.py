"""The fit beside bare XGBoost: one matrix of 1M loans and 30 features, the same options and rounds.

``python -m tests.benchmarks.bench_training --rows 1000000 --rounds 100 --threads 1``; the promise is at most 1.3
times the time of ``xgboost.train`` on the same matrix. A tenth of the cells is missing, a third of the columns must
not lower the risk and a third must not raise it. What is timed begins with the matrix in memory, so that quantising
counts. Each contender runs in a process of its own, in turns, and reports the peak memory above the matrix.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from tests.benchmarks.bench_join import peak
from training.columns import Column
from training.model import Parameters, fit

ROWS, COLUMNS, ROUNDS, SEED, REPEATS = 1_000_000, 30, 100, 7, 3
SIGNS = tuple((0, 1, -1)[index % 3] for index in range(COLUMNS))
NAMES = [f"f{index}" for index in range(COLUMNS)]
CONTENDERS = ("training.model.fit", "xgboost, DMatrix", "xgboost, QuantileDMatrix")


def run(rows: int = ROWS, rounds: int = ROUNDS, threads: int = 1, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Return best seconds, what they are to the best of bare ``DMatrix``, MB above the matrix and the log loss."""
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        make_matrix(Path(folder), rows)
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(repeats):
            for name, found in measured.items():
                found.append(measure(name, Path(folder), rounds, threads))
    seconds = {name: min(one["seconds"] for one in found) for name, found in measured.items()}
    return [
        {
            "name": name,
            "rows": rows,
            "columns": COLUMNS,
            "rounds": rounds,
            "threads": threads,
            "seconds": seconds[name],
            "to DMatrix": seconds[name] / seconds[CONTENDERS[1]],
            "to QuantileDMatrix": seconds[name] / seconds[CONTENDERS[2]],
            "peak MB": min(one["peak"] for one in found),
            "log loss": f"{found[0]['loss']:.6f}",
        }
        for name, found in measured.items()
    ]


def make_matrix(folder: Path, rows: int) -> None:
    """Write features and outcomes, about one default in eight."""
    random = np.random.default_rng(SEED)
    matrix = random.normal(size=(rows, COLUMNS)).astype(np.float32)
    log_odds = matrix[:, :9] @ np.array([0.2, 0.5, -0.5, -0.3, 0.4, -0.4, 0.1, 0.3, -0.3]) - 2.3
    np.save(folder / "defaulted.npy", random.random(rows) < 1 / (1 + np.exp(-log_odds)))
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    np.save(folder / "matrix.npy", matrix)


def measure(name: str, folder: Path, rounds: int, threads: int) -> dict[str, float]:
    """Fit once in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_training", "--contender", name, "--folder", str(folder)]
    command += ["--rounds", str(rounds), "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def contend(name: str, folder: Path, rounds: int, threads: int) -> dict[str, float]:
    """Fit one contender, and return seconds, MB above the matrix and the log loss on what it was fitted on."""
    matrix, defaulted = np.load(folder / "matrix.npy"), np.load(folder / "defaulted.npy")
    parameters = Parameters(threads=threads)
    before, start = peak(), time.perf_counter()
    if name == CONTENDERS[0]:
        columns = [Column(name, name, monotone=sign) for name, sign in zip(NAMES, SIGNS, strict=True)]
        booster = fit(parameters, columns, matrix, defaulted, rounds=rounds, seed=SEED)
    else:
        kind = xgboost.DMatrix if name == CONTENDERS[1] else xgboost.QuantileDMatrix
        data = kind(matrix, label=defaulted, feature_names=NAMES, nthread=threads)
        booster = xgboost.train(bare_options(parameters), data, num_boost_round=rounds)
    seconds, used = time.perf_counter() - start, peak() - before
    z = booster.inplace_predict(matrix, predict_type="margin", validate_features=False).astype(np.float64)
    return {"seconds": seconds, "peak": used, "loss": float(np.mean(np.logaddexp(0, z) - defaulted * z))}


def bare_options(parameters: Parameters) -> dict[str, Any]:
    """Return what one would write by hand for the demo's stated parameters."""
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "max_depth": parameters.max_depth,
        "eta": parameters.eta,
        "min_child_weight": parameters.min_child_weight,
        "subsample": parameters.subsample,
        "colsample_bytree": parameters.colsample_bytree,
        "reg_lambda": parameters.reg_lambda,
        "monotone_constraints": SIGNS,
        "nthread": parameters.threads,
        "seed": SEED,
    }


def main() -> None:
    """Parse the command line; a contender's process prints one line of JSON."""
    from tests.benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(contend(options.contender, options.folder, options.rounds, options.threads)))
    else:
        print(table(run(options.rows, options.rounds, options.threads, options.repeats)))


if __name__ == "__main__":
    main()
