"""The figures on features: how far each moves the PD, and how with its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.evidence import Impacts
from training.reporting.drivers import Driver, numbers, present
from training.reporting.svg import ACCENT, BAD, GOOD, INK, MODEL, MUTED, Drawing
from training.scored import Floats

SHOWN = 20
DEPENDENCE = 6
FEWEST = 10
GROUPS = 12
_COLUMNS = 3
_LOW_TO_HIGH = LinearSegmentedColormap.from_list("low_to_high", [MODEL, "#d8d8e0", BAD])


def summary(found: Sequence[Driver], impacts: Impacts) -> Markup:
    """Draw mean absolute impacts as bars, and each loan's impact as a dot coloured by the feature's value.

    Dots are a picture, not numbers: nobody's values can be read off the page.
    """
    shown = list(found[:SHOWN])[::-1]
    with Drawing(9.6, 0.34 * len(shown) + 1.1, columns=2, widths=(1, 2), share_y=True) as drawing:
        bars, dots = drawing.axes
        where = np.arange(len(shown))
        bars.barh(where, [one.mean_impact for one in shown], 0.62, color=MODEL)
        bars.set_yticks(where, [one.feature for one in shown])
        bars.set(xlabel="mean |impact|, log-odds")
        bars.grid(visible=False, axis="y")
        for index, one in enumerate(shown):
            effect, shades = impacts.impacts[one.feature], _colours(impacts.values[one.feature])
            dots.scatter(effect, index + _spread(effect), s=3, c=shades, linewidths=0, rasterized=True)
        dots.axvline(0, color=MUTED, linewidth=0.8)
        dots.set(xlabel="impact on one loan, log-odds of default", ylim=(-0.7, len(shown) - 0.3))
        dots.tick_params(labelleft=False)
        for name, colour in (("low value", MODEL), ("high value", BAD), ("missing or category", GOOD)):
            dots.scatter([], [], s=14, c=colour, label=name)
        drawing.figure.legend(loc="outside upper right", ncols=3)
        return drawing.svg("Impact of each feature")


def dependence(found: Sequence[Driver], impacts: Impacts) -> Markup | None:
    """Draw impact against value for the strongest features; None if there is none to draw."""
    shown = [one.feature for one in found if one.direction != "none"][:DEPENDENCE]
    if not shown:
        return None
    rows = -(-len(shown) // _COLUMNS)
    with Drawing(9.6, 2.5 * rows, rows=rows, columns=_COLUMNS) as drawing:
        for axes, name in zip(drawing.axes, shown, strict=False):
            values, effect = impacts.values[name], impacts.impacts[name]
            found_numbers = numbers(values)
            if found_numbers is None or len(np.unique(found_numbers[present(values)])) <= 2:
                _by_category(axes, values, effect)
            else:
                _by_number(axes, found_numbers, effect)
            axes.axhline(0, color=MUTED, linewidth=0.8)
            axes.set_title(name, fontsize=9)
        for axes in drawing.axes[len(shown) :]:
            axes.set_axis_off()
        for axes in drawing.axes[::_COLUMNS]:
            axes.set_ylabel("impact, log-odds")
        return drawing.svg("Impact by value of the strongest features")


def _by_number(axes: Any, values: Floats, effect: Floats) -> None:
    """Draw dots and the median of equal-count bins, without the outer hundredths, in which single people stand out."""
    there = np.flatnonzero(~np.isnan(values))
    low, high = np.quantile(values[there], [0.01, 0.99])
    inner = there[(values[there] >= low) & (values[there] <= high)]
    axes.scatter(values[inner], effect[inner], s=4, c=GOOD, linewidths=0, rasterized=True)
    parts = _neighbours(values, inner)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    middle = [float(np.median(values[part])) for part in parts]
    axes.plot(
        middle, [float(np.median(effect[part])) for part in parts], "o-", color=MODEL, markersize=3, linewidth=1.4
    )
    if len(there) < len(values) and len(values) - len(there) >= FEWEST:
        missing = float(np.median(effect[np.isnan(values)]))
        axes.axhline(missing, color=ACCENT, linewidth=1.2, linestyle="--", label="missing")
        axes.legend(loc="best")


def _neighbours(values: Floats, rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Group loans of one value, if there are few values, or else of neighbouring ones; none smaller than ``FEWEST``."""
    order = rows[np.argsort(values[rows], kind="stable")]
    distinct, starts = np.unique(values[order], return_index=True)
    if len(distinct) <= GROUPS:
        parts = np.split(order, starts[1:])
    else:
        parts = np.array_split(order, min(GROUPS, max(1, len(order) // FEWEST)))
    return [part for part in parts if len(part) >= FEWEST]


def _by_category(axes: Any, values: NDArray[np.object_], effect: Floats) -> None:
    """Draw the median and the quartiles of each category, rare ones together."""
    names = np.array(
        ["missing" if not there else str(value) for value, there in zip(values, present(values), strict=True)]
    )
    kinds, counts = np.unique(names, return_counts=True)
    frequent = [str(kind) for kind in kinds[np.argsort(-counts, kind="stable")] if (names == kind).sum() >= FEWEST][:8]
    groups = {kind: effect[names == kind] for kind in frequent}
    rest = effect[~np.isin(names, frequent)]
    if len(rest):
        groups["others"] = rest
    where = np.arange(len(groups))
    quartiles = np.array([np.quantile(group, [0.25, 0.5, 0.75]) for group in groups.values()]).T
    axes.vlines(where, quartiles[0], quartiles[2], color=GOOD, linewidth=5)
    axes.plot(where, quartiles[1], "o", color=INK, markersize=4)
    axes.set_xticks(where, list(groups), rotation=30, ha="right", fontsize=7)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.grid(visible=False, axis="x")


def _spread(effect: Floats) -> Floats:
    """Return vertical offsets that pile dots of like impact up on both sides of a line."""
    if not len(effect) or np.ptp(effect) == 0:
        return np.linspace(-0.3, 0.3, len(effect))
    bins = ((effect - effect.min()) / np.ptp(effect) * 80).astype(np.int64)
    order = np.lexsort((np.arange(len(effect)), bins))
    counts = np.bincount(bins)
    place = np.empty(len(effect))
    place[order] = np.arange(len(effect)) - np.repeat(np.cumsum(counts) - counts, counts)
    side = np.where(place % 2 == 0, 1, -1) * np.ceil(place / 2)
    return np.asarray(side / max(1, counts.max()) * 0.8)


def _colours(values: NDArray[np.object_]) -> NDArray[np.object_] | str | list[Any]:
    found = numbers(values)
    if found is None or not present(values).any():
        return GOOD
    there = ~np.isnan(found)
    shades = np.full((len(found), 4), 0.0)
    shades[~there] = _rgba(GOOD)
    ranks = rankdata(found[there])
    shades[there] = _LOW_TO_HIGH((ranks - ranks.min()) / max(float(np.ptp(ranks)), 1.0))
    return list(shades)


def _rgba(colour: str) -> tuple[float, ...]:
    return (*(int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)), 1.0)
