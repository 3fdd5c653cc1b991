"""What a training run leaves for people: feature list, importance plot, waterfall."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from training.champion import Candidate
from training.dataset import Dataset

SAMPLE = 500


def write_report(folder: Path, dataset: Dataset, candidate: Candidate) -> None:
    """Write ``features.json``, ``waterfall.json`` and ``importance.png`` into a folder.

    Importance is the mean absolute impact in calibrated log-odds over a sample of loans decided
    before the out-of-time window, through the tables that the service uses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "waterfall.json").write_bytes(msgspec.json.format(msgspec.json.encode(dataset.waterfall)))
    (folder / "features.json").write_bytes(msgspec.json.format(msgspec.json.encode(dataset.specs)))
    before = np.flatnonzero(~dataset.is_oot)
    rows = np.zeros(len(dataset), dtype=bool)
    rows[before[:: max(1, len(before) // SAMPLE)]] = True
    values = dataset.values(rows)
    scored = [candidate.scorer.score(dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True)]
    importance = {
        feature: float(np.mean([abs(one.impacts[feature]) for one in scored])) for feature in candidate.scorer.features
    }
    _plot(folder / "importance.png", importance)


def _plot(path: Path, importance: dict[str, float]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ordered = sorted(importance.items(), key=lambda item: item[1])[-25:]
    figure = Figure(figsize=(8, 0.28 * len(ordered) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.barh([name for name, _ in ordered], [value for _, value in ordered], color="#2f6f8f")
    axes.set_xlabel("mean |impact|, calibrated log-odds of default")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
