"""Profiles as bytes and files in whylogs' own format, and the summaries that are read from them.

whylogs' writer copies every message three times and goes by a temporary file; the one here makes the same but once.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from whylogs.core import DatasetProfileView
from whylogs.core.metrics.metric_components import MetricComponent
from whylogs.core.proto import (
    ChunkHeader,
    ChunkMessage,
    ChunkOffsets,
    DatasetProfileHeader,
    DatasetProperties,
    DatasetSegmentHeader,
)
from whylogs.core.utils import write_delimited_protobuf
from whylogs.core.utils.timestamp_calculations import to_utc_milliseconds
from whylogs.core.view.dataset_profile_view import WHYLOGS_MAGIC_HEADER_BYTES

from feature_repo.errors import InputError
from feature_repo.home import write_atomically
from monitoring.profiles.mended import Profile
from monitoring.summaries import ColumnSummary, Distribution

_GRID = np.linspace(0.0, 1.0, 4001).tolist()


def to_bytes(view: Profile) -> bytes:
    """Return a profile in whylogs' own format."""
    names: dict[str, int] = {}
    places: dict[str, ChunkOffsets] = {}
    body = io.BytesIO()
    for name, column in sorted(view.get_columns().items()):
        places[name] = ChunkOffsets(offsets=[body.tell()])
        components = {
            names.setdefault(f"{metric.namespace}/{part}", len(names)): component.to_protobuf()
            for metric in column.get_metrics()
            for part, component in vars(metric).items()
            if isinstance(component, MetricComponent)
        }
        chunk = ChunkMessage(metric_components=components).SerializeToString()
        write_delimited_protobuf(body, ChunkHeader(type=ChunkHeader.ChunkType.COLUMN, length=len(chunk)))
        body.write(chunk)
    head = io.BytesIO()
    head.write(WHYLOGS_MAGIC_HEADER_BYTES)
    write_delimited_protobuf(head, DatasetSegmentHeader(has_segments=False))
    header = DatasetProfileHeader(
        column_offsets=places,
        properties=DatasetProperties(
            dataset_timestamp=to_utc_milliseconds(view.dataset_timestamp),
            creation_timestamp=to_utc_milliseconds(view.creation_timestamp),
        ),
        length=body.tell(),
        indexed_metric_paths={number: name for name, number in names.items()},
    )
    write_delimited_protobuf(head, header)
    return head.getvalue() + body.getvalue()


def from_bytes(data: bytes, name: str) -> Profile:
    """Return the profile that was written by `to_bytes` or by whylogs itself.

    Parameters
    ----------
    name : str
        What to call it in an error.

    Raises
    ------
    InputError
        If it is not a profile.
    """
    try:
        return DatasetProfileView.deserialize(data)
    except Exception:  # whylogs raises its own, protobuf's, OSError or ValueError, by where the damage is
        raise InputError(f"{name} is not a whylogs profile") from None


def write_profile(view: Profile, path: Path) -> None:
    """Write a profile in whylogs' own format, in one step."""
    write_atomically(path, to_bytes(view))


def read_profile(path: Path) -> Profile:
    """Read a profile written by `write_profile` or by whylogs itself.

    Raises
    ------
    InputError
        If the file is missing or not a profile.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"no profile at {path}: {error.strerror}") from None
    return from_bytes(data, str(path))


def summaries(view: Profile) -> dict[str, ColumnSummary]:
    """Return what drift is computed from: distributions, category counts and nulls by column, sorted by name."""
    return {name: _summary(column) for name, column in sorted(view.get_columns().items())}


def _summary(column: Any) -> ColumnSummary:
    counts = column.get_metric("counts")
    n, null = int(counts.n.value), int(counts.null.value)
    sketch = column.get_metric("distribution")
    if sketch is not None and sketch.n > 0:
        points = np.unique(sketch.kll.value.get_quantiles(_GRID, inclusive=True))
        shares = sketch.kll.value.get_cdf(points.tolist(), inclusive=True)[:-1]
        distribution = Distribution(tuple(points.tolist()), tuple(shares))
        return ColumnSummary(n=n, null=n - int(sketch.n), distribution=distribution)
    items = column.get_metric("frequent_items")
    found = {item.value: int(item.est) for item in items.strings} if items is not None and n > null else {}
    return ColumnSummary(n=n, null=null, counts=found)
