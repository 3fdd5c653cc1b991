"""How numbers are written, alike in the page and in the card."""

from __future__ import annotations

import re

from training.uncertainty import Interval

NONE = "–"
DIRECTIONS = {
    "raises": "raise the PD",
    "lowers": "lower the PD",
    "mixed": "mixed",
    "by category": "by category",
    "none": NONE,
}


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed decimals, a dash for None.

    Examples
    --------
    >>> number(0.12345), number(-0.0001, 2), number(None)
    ('0.123', '0.00', '–')
    """
    return NONE if value is None else _minus(f"{value:z.{digits}f}")


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage, a dash for None."""
    return NONE if value is None else _minus(f"{100 * value:z.{digits}f} %")


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart.

    Examples
    --------
    >>> count(1234567), count(-1234.4)
    ('1,234,567', '−1,234')
    """
    return NONE if value is None else _minus(f"{value:z,.0f}")


def span(interval: Interval | None, digits: int = 3) -> str:
    """Return the two ends of an interval.

    Examples
    --------
    >>> span(Interval(0.75, 0.7, 0.8), 2)
    '0.70 to 0.80'
    """
    return NONE if interval is None else f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def percent_span(interval: Interval | None, digits: int = 1) -> str:
    """Return the two ends of an interval of shares."""
    return (
        NONE if interval is None else _minus(f"{100 * interval.low:z.{digits}f} to {100 * interval.high:z.{digits}f} %")
    )


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign.

    Examples
    --------
    >>> signed(0.0121), signed(-0.00001), signed(1234.5, 0)
    ('+0.012', '+0.000', '+1,234')
    """
    return NONE if value is None else _minus(f"{value:+z,.{digits}f}")


def signed_span(interval: Interval | None, digits: int = 3) -> str:
    """Return the two ends of the interval of a difference."""
    return NONE if interval is None else f"{signed(interval.low, digits)} to {signed(interval.high, digits)}"


def stability(psi: float) -> str:
    """Return what Siddiqi, "Credit Risk Scorecards", 2006, says of a population stability index."""
    return "no shift" if psi < 0.10 else "some shift" if psi < 0.25 else "a marked shift"


def around(interval: Interval | None, digits: int = 2) -> str:
    """Return an estimate and, in brackets, the two ends of its interval.

    Examples
    --------
    >>> around(Interval(0.9, 0.8, 1.01))
    '0.90 (0.80 to 1.01)'
    """
    return NONE if interval is None else f"{number(interval.estimate, digits)} ({span(interval, digits)})"


def percent_around(interval: Interval | None, digits: int = 1) -> str:
    """Return a share and, in brackets, the two ends of its interval."""
    return NONE if interval is None else f"{percent(interval.estimate, digits)} ({percent_span(interval, digits)})"


def signed_around(interval: Interval | None, digits: int = 3) -> str:
    """Return a difference and, in brackets, the two ends of its interval."""
    return NONE if interval is None else f"{signed(interval.estimate, digits)} ({signed_span(interval, digits)})"


def cell(text: str) -> str:
    r"""Return text as Markdown that shows it as it is, in one line of one cell.

    Examples
    --------
    >>> print(cell("a|b <i>*c*"))
    a\|b \<i\>\*c\*
    """
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(text.split()))


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


FILTERS = {
    "around": around,
    "percent_around": percent_around,
    "signed_around": signed_around,
    "cell": cell,
    "number": number,
    "percent": percent,
    "count": count,
    "span": span,
    "percent_span": percent_span,
    "signed": signed,
    "signed_span": signed_span,
    "stability": stability,
}
