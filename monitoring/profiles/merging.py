"""Profiles out of profiles: merged, with columns renamed, or side by side."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from whylogs.core import ColumnProfileView, DatasetProfileView
from whylogs.core.metrics.metric_components import (
    FractionalComponent,
    FrequentStringsComponent,
    HllComponent,
    KllComponent,
    ds,
)

from monitoring.profiles.mended import Profile


def merge(views: Sequence[Profile]) -> Profile:
    """Merge profiles, for example of successive days, into one of all their rows; they stay as they are.

    All at once, for whylogs' own merge of two copies what was merged before, sketches included.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not views:
        raise ValueError("no profiles to merge")
    if len(views) == 1:
        return views[0]
    columns: dict[str, dict[str, list[Any]]] = {}
    for view in views:
        for name, column in view.get_columns().items():
            metrics = columns.setdefault(name, {})
            for metric in column.get_metrics():
                metrics.setdefault(metric.namespace, []).append(metric)
    return DatasetProfileView(
        columns={
            name: ColumnProfileView({kind: _merged(kind, many) for kind, many in metrics.items()})
            for name, metrics in columns.items()
        },
        dataset_timestamp=min(view.dataset_timestamp for view in views),
        creation_timestamp=min(view.creation_timestamp for view in views),
    )


def renamed(view: Profile, names: Mapping[str, str]) -> Profile:
    """Return some columns of a profile under other names, given by their names in it."""
    found = view.get_columns()
    return DatasetProfileView(
        columns={new: found[old] for old, new in names.items() if old in found},
        dataset_timestamp=view.dataset_timestamp,
        creation_timestamp=view.creation_timestamp,
    )


def beside(views: Iterable[Profile]) -> Profile:
    """Return one profile with the columns of several, none of whose names is in two of them."""
    many = list(views)
    return DatasetProfileView(
        columns={name: column for view in many for name, column in view.get_columns().items()},
        dataset_timestamp=min(view.dataset_timestamp for view in many),
        creation_timestamp=min(view.creation_timestamp for view in many),
    )


def _merged(kind: str, metrics: list[Any]) -> Any:
    if len(metrics) == 1:
        return metrics[0]
    type_ = type(metrics[0])
    if kind in ("counts", "types"):
        names = metrics[0].get_component_paths()
        sums = {name: sum(getattr(metric, name).value for metric in metrics) for name in names}
        return type_(**{name: type(getattr(metrics[0], name))(total) for name, total in sums.items()})
    if kind == "cardinality":
        sketches = [metric.hll.value for metric in metrics]
        union = ds.hll_union(max(sketch.lg_config_k for sketch in sketches))
        for sketch in sketches:
            union.update(sketch)
        return type_(HllComponent(union.get_result(max((s.tgt_type for s in sketches), key=lambda t: t.value))))
    if kind == "frequent_items":
        first, *others = [metric.frequent_strings.value for metric in metrics]
        items = ds.frequent_strings_sketch.deserialize(first.serialize())
        for other in others:
            items.merge(other)
        return type_(FrequentStringsComponent(items))
    if kind == "distribution":
        first, *others = [metric.kll.value for metric in metrics]
        quantiles = ds.kll_doubles_sketch(first)
        for other in others:
            quantiles.merge(other)
        return type_(KllComponent(quantiles), *map(FractionalComponent, _moments(metrics)))
    return functools.reduce(operator.add, metrics)


def _moments(metrics: list[Any]) -> tuple[float, float]:
    """Return mean and sum of squared deviations from it of values in several parts."""
    rows = np.array([metric.kll.value.get_n() for metric in metrics], float)
    means = np.array([metric.mean.value for metric in metrics], float)
    total = rows.sum()
    mean = float(rows @ means / total) if total else 0.0
    return mean, float(sum(metric.m2.value for metric in metrics) + rows @ (means - mean) ** 2)
