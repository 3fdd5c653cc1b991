"""The figures on ranking, calibration, time and money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from sklearn.metrics import roc_curve

from training.evaluate import ReliabilityBin
from training.reporting.contents import StabilityRow
from training.reporting.profit import ProfitCurve
from training.reporting.svg import ACCENT, BAD, GOOD, INK, LINE, MODEL, MUTED, RIVALS, Drawing
from training.scored import Bools, Floats, ScoredLoans
from training.uncertainty import Interval, share_interval

_POINTS = 300


def roc(defaulted: Bools, pds: Mapping[str, Floats]) -> Markup:
    """Draw the ROC curves of models by name, the first being the reported one."""
    with Drawing(4.6, 4.0) as drawing:
        axes = drawing.axes[0]
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        for (name, pd), colour in reversed(list(zip(pds.items(), _colours(len(pds)), strict=True))):
            lost, caught, _ = roc_curve(defaulted, pd)
            steps = np.linspace(0, 1, _POINTS)
            line = {"linewidth": 2.0} if colour == MODEL else {"linewidth": 1.2, "linestyle": "--"}
            axes.plot(steps, np.interp(steps, lost, caught), color=colour, label=name, **line)
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="share of goods above the cutoff", ylabel="share of bads above it")
        axes.set_aspect("equal")
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="lower right")
        return drawing.svg("ROC curves")


def score_distribution(loans: ScoredLoans, cutoff: float) -> Markup:
    """Draw the score densities of goods and bads, and where the cutoff falls."""
    with Drawing(4.6, 4.0) as drawing:
        axes = drawing.axes[0]
        low, high = int(loans.score.min()) // 10 * 10, int(loans.score.max()) // 10 * 10 + 10
        edges = np.linspace(low, high, min(40, (high - low) // 10) + 1)
        for rows, name, colour in ((~loans.defaulted, "good", GOOD), (loans.defaulted, "bad", BAD)):
            weights = np.full(int(rows.sum()), 1 / int(rows.sum()))
            axes.hist(loans.score[rows], edges, weights=weights, color=colour, alpha=0.55, label=name)
        approved, declined = loans.score[loans.pd <= cutoff], loans.score[loans.pd > cutoff]
        if len(approved) and len(declined):
            axes.axvline((approved.min() + declined.max()) / 2, color=INK, linewidth=1, linestyle=":", label="cutoff")
        axes.set(xlabel="credit score", ylabel="share of each outcome")
        axes.yaxis.set_major_formatter(_percent)
        axes.legend(loc="upper left")
        return drawing.svg("Score distribution of goods and bads")


def reliability(bins: Sequence[ReliabilityBin]) -> Markup:
    """Draw observed against predicted default rates, bad rates with 95 % intervals."""
    with Drawing(4.6, 4.0) as drawing:
        axes = drawing.axes[0]
        said = np.array([part.mean_pd for part in bins])
        seen = [share_interval(part.bads, part.loans) for part in bins]
        rates = np.array([one.estimate for one in seen])
        bars = np.array([[one.estimate - one.low for one in seen], [one.high - one.estimate for one in seen]])
        top = max(float(said.max()), max(one.high for one in seen)) * 1.05
        axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle=":", label="perfect")
        axes.errorbar(
            said, rates, yerr=np.maximum(bars, 0), fmt="o-", color=MODEL, ecolor=GOOD, markersize=4, linewidth=1.2,
            label="tenths of the loans",
        )  # fmt: skip
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="mean predicted PD", ylabel="observed default rate")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_percent)
        axes.legend(loc="upper left")
        return drawing.svg("Reliability: observed against predicted default rates")


def captured(defaulted: Bools, pds: Mapping[str, Floats]) -> Markup:
    """Draw the share of bads found in the worst-scored share of loans, for models by name."""
    with Drawing(4.6, 4.0) as drawing:
        axes = drawing.axes[0]
        shares = np.arange(len(defaulted) + 1) / len(defaulted)
        base = float(defaulted.mean())
        axes.plot([0, base, 1], [0, 1, 1], color=MUTED, linewidth=1, linestyle=":", label="perfect")
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        steps = np.linspace(0, 1, _POINTS)
        for (name, pd), colour in zip(pds.items(), _colours(len(pds)), strict=True):
            found = np.append(0, np.cumsum(defaulted[np.argsort(-pd, kind="stable")])) / defaulted.sum()
            line = {"linewidth": 2.0} if colour == MODEL else {"linewidth": 1.2, "linestyle": "--"}
            axes.plot(steps, np.interp(steps, shares, found), color=colour, label=name, **line)
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="share of loans, worst scores first", ylabel="share of bads found")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_percent)
        axes.legend(loc="lower right")
        return drawing.svg("Bads found by share of loans")


def over_time(windows: Mapping[str, ScoredLoans]) -> Markup:
    """Draw observed and predicted default rates by quarter of decision through all windows."""
    with Drawing(9.6, 3.2) as drawing:
        axes = drawing.axes[0]
        for (name, loans), colour in zip(windows.items(), (GOOD, ACCENT, MODEL), strict=True):
            quarters = loans.decided.astype("M8[M]").astype(np.int64) // 3
            found, codes, counts = np.unique(quarters, return_inverse=True, return_counts=True)
            where = 1970 + found / 4 + 1 / 8
            seen = [share_interval(int(bads), int(n)) for bads, n in
                    zip(np.bincount(codes, loans.defaulted), counts, strict=True)]  # fmt: skip
            rates = np.array([one.estimate for one in seen])
            bars = np.array([[one.estimate - one.low for one in seen], [one.high - one.estimate for one in seen]])
            axes.errorbar(where, rates, yerr=np.maximum(bars, 0), fmt="o", color=colour, markersize=4, linewidth=1,
                          label=f"observed, {name}")  # fmt: skip
            axes.plot(where, np.bincount(codes, loans.pd) / counts, "_-", color=INK, linewidth=1, markersize=9,
                      label="mean predicted PD" if name == list(windows)[-1] else None)  # fmt: skip
        axes.set(ylabel="default rate", xlabel="quarter of decision")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(_percent)
        axes.xaxis.set_major_formatter(_quarter)
        drawing.figure.legend(loc="outside upper right", ncols=4)
        return drawing.svg("Observed and predicted default rates by quarter")


def stability(rows: Sequence[StabilityRow]) -> Markup:
    """Draw the shares of both windows in the deciles of the PDs fitted on."""
    with Drawing(4.6, 3.2) as drawing:
        axes = drawing.axes[0]
        where = np.arange(len(rows))
        axes.bar(where - 0.2, [one.fitted for one in rows], 0.38, color=GOOD, label="fitted on")
        axes.bar(where + 0.2, [one.oot for one in rows], 0.38, color=ACCENT, label="out of time")
        labels = [f"≤ {100 * one.up_to:.1f} %" if np.isfinite(one.up_to) else "above" for one in rows]
        axes.set_xticks(where, labels, rotation=45, ha="right")
        axes.set(xlabel="PD", ylabel="share of loans")
        axes.yaxis.set_major_formatter(_percent)
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper right", ncols=2)
        axes.set_ylim(top=max(max(one.fitted, one.oot) for one in rows) * 1.2)
        return drawing.svg("PDs of the loans fitted on and out of time")


def profit(curves: Mapping[str, ProfitCurve], best: Interval, policy: float) -> Markup:
    """Draw profit per application against the cutoff, on the slice it was found on and out of time."""
    with Drawing(9.6, 3.4) as drawing:
        axes = drawing.axes[0]
        right = max(float(np.quantile(curve.cutoff, 0.995)) for curve in curves.values())
        right = min(1.0, 1.05 * max(right, policy, best.high))
        steps = np.linspace(0, right, 2 * _POINTS)
        for (name, curve), colour in zip(curves.items(), (ACCENT, MODEL), strict=True):
            reached = np.searchsorted(curve.cutoff, steps, side="right") - 1
            axes.plot(steps, curve.profit[reached] / curve.approved[-1], color=colour, linewidth=1.6, label=name)
        axes.axvspan(best.low, best.high, color=ACCENT, alpha=0.12, linewidth=0)
        axes.axvline(best.estimate, color=ACCENT, linewidth=1, linestyle="--", label="most profitable")
        axes.axvline(policy, color=INK, linewidth=1, linestyle=":", label="policy")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set(xlim=(0, right), xlabel="cutoff: highest PD approved", ylabel="profit per application")
        axes.xaxis.set_major_formatter(_percent)
        drawing.figure.legend(loc="outside upper right", ncols=4)
        return drawing.svg("Profit per application by cutoff")


def _colours(models: int) -> list[str]:
    return [MODEL, *(RIVALS[index % len(RIVALS)] for index in range(models - 1))]


def _percent(value: float, _: int | None = None) -> str:
    return f"{100 * value:g}".rstrip(".") + " %"


def _quarter(value: float, _: int | None = None) -> str:
    year = int(value)
    return f"{year}" if abs(value - year) < 0.01 else f"{year} Q{int((value - year) * 4) + 1}"
