"""The figure on fairness: each group's adverse impact ratio beside the four-fifths line."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from training.fairness import FOUR_FIFTHS, FairnessReport
from training.reporting.svg import BAD, INK, MODEL, MUTED, Drawing


def adverse_impact(fairness: FairnessReport) -> Markup | None:
    """Draw every ratio that was measured with its interval; None if there is none."""
    told = [(group, group.adverse_impact_ratio) for group in fairness.groups if group.adverse_impact_ratio]
    if not told:
        return None
    with Drawing(9.6, 0.3 * len(told) + 1.1) as drawing:
        axes = drawing.axes[0]
        where = np.arange(len(told))[::-1]
        for at, (group, ratio) in zip(where, told, strict=True):
            colour = BAD if group.below_four_fifths else MODEL
            axes.plot([ratio.low, ratio.high], [at, at], color=colour, linewidth=1.6)
            axes.plot([ratio.estimate], [at], "o", color=colour, markersize=5)
        axes.axvline(1, color=MUTED, linewidth=0.8)
        axes.axvline(FOUR_FIFTHS, color=INK, linewidth=1, linestyle=":", label="four fifths")
        axes.set_yticks(where, [f"{group.attribute}: {group.group}" for group, _ in told])
        axes.set(xlabel="approval rate over the reference group's", ylim=(-0.7, len(told) - 0.3))
        axes.grid(visible=False, axis="y")
        drawing.figure.legend(loc="outside upper right")
        return drawing.svg("Adverse impact ratio of each group")
