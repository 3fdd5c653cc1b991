"""Figures as SVG inside a page: the same bytes for the same data, and no address of anything outside."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, LINE = "#1c2430", "#657184", "#dfe4eb"
MODEL, GOOD, BAD, ACCENT = "#2f6f8f", "#8fa3bd", "#b3261e", "#d9822b"
RIVALS = ("#d9822b", "#6b5b95", "#1d7f4f", "#9a6700", "#a64b7a")
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "candor",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "text.parse_math": False,  # names may hold dollar signs
    "legend.frameon": False,
    "legend.fontsize": 8,
}
# Without them matplotlib writes the time, its own address and that of a vocabulary.
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


class Drawing:
    """A figure under construction; a context in which the report's style is in force.

    Parameters
    ----------
    width, height : float
        Inches.
    rows, columns : int
        Of axes.
    widths : sequence of float or None
        Relative widths of the columns.
    share_y : bool
        Whether axes of a row have one vertical scale.
    """

    def __init__(
        self, width: float, height: float, *, rows: int = 1, columns: int = 1, widths: Any = None, share_y: bool = False
    ) -> None:
        self._context = matplotlib.rc_context(_STYLE)
        self._size, self._shape = (width, height), (rows, columns)
        self._widths, self._share_y = widths, share_y

    def __enter__(self) -> Drawing:
        self._context.__enter__()
        self.figure = Figure(figsize=self._size, layout="constrained")
        FigureCanvasSVG(self.figure)
        self.axes: list[Any] = list(
            self.figure.subplots(*self._shape, squeeze=False, sharey=self._share_y, width_ratios=self._widths).ravel()
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def svg(self, label: str) -> Markup:
        """Return the figure as an ``svg`` element, told to those who cannot see it by its label."""
        written = io.StringIO()
        self.figure.savefig(written, format="svg", metadata=_NO_METADATA, dpi=144, transparent=True)
        text = written.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text, count=2).replace("xlink:href", "href")
        text = re.sub(r'<g id="[a-zA-Z0-9_.]+"', "<g", text)
        text = re.sub(r'(width|height)="[\d.]+pt" ', "", text, count=2)
        return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))
