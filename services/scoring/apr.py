"""The annual percentage rate of a loan by the actuarial method of Regulation Z.

References
----------
12 CFR 1026, Appendix J: general equation (b)(8), fractional unit-periods (b)(5), and its
examples (c)(1) and (c)(2), which are the shapes solved here: one advance, payments that are
regular but for an odd first period and an odd last payment.
"""

from __future__ import annotations

import math

_STEPS = 100
_SETTLED = 1e-9  # what is left after such a step is of the order of its square


def annual_percentage_rate(
    amount_financed: float,
    payment: float,
    last_payment: float,
    payments: int,
    *,
    unit_periods: int = 1,
    fraction: float = 0.0,
    per_year: float = 12,
    near: float = 0.0,
) -> float:
    """Return the annual percentage rate, in percent: the unit-period rate times unit-periods in a year.

    Solves ``amount_financed = sum of payment_k / ((1 + f i) (1 + i)^(t + k))``, k from 0: whole
    unit-periods compound, the fraction before them bears simple interest.

    Parameters
    ----------
    amount_financed : float
        What the borrower has the use of; charges paid at or before consummation are taken off. Positive, in
        the same unit of money as the payments.
    payment, last_payment : float
        Every payment but the last, and the last.
    payments : int
        Number of payments, at least 1.
    unit_periods : int
        Whole unit-periods t from the advance to the first payment.
    fraction : float
        Fraction f of a unit-period before them, 0..1; for months, days over 30.
    per_year : float
        Unit-periods in a year.
    near : float
        Percent; where to begin to look, which changes how long that takes.

    Raises
    ------
    ValueError
        If the payments do not pay back the amount financed.

    Examples
    --------
    The long first period of Appendix J, (c)(1)(ii): 6,000 on 10 February, 36 payments of 200 from 1 April.

    >>> round(annual_percentage_rate(6000, 200, 200, 36, fraction=19 / 30), 2)
    11.82
    """
    others = payments - 1
    if amount_financed <= 0 or payment * others + last_payment < amount_financed:
        raise ValueError(f"{payments} payments do not pay back {amount_financed}")
    rate = near / (per_year * 100)
    for _ in range(_STEPS):
        value, slope = _present_value(rate, payment, last_payment, others, unit_periods, fraction)
        # The present value falls with the rate and is convex: Newton's steps rise to the root from below it, where
        # the first step leads from above.
        step = (amount_financed - value) / slope
        rate += step
        if abs(step) <= _SETTLED * (1 + rate):
            break
    return max(rate, 0.0) * per_year * 100


def _present_value(
    rate: float, payment: float, last_payment: float, others: int, unit_periods: int, fraction: float
) -> tuple[float, float]:
    """Return the present value of all payments at a unit-period rate, and its derivative."""
    growth = math.log1p(rate)
    regular = -math.expm1(-others * growth) / rate if rate else float(others)
    if rate > 1e-5:
        regular_slope = (others * math.exp(-(others + 1) * growth) - regular) / rate
    else:  # the quotient above would lose all digits
        regular_slope = -others * (others + 1) / 2
    last = last_payment * math.exp(-(others + 1) * growth)
    inner = payment * regular + last
    inner_slope = payment * regular_slope - (others + 1) * last / (1 + rate)
    waited = (1 + rate) ** (1 - unit_periods) / (1 + fraction * rate)
    waited_slope = waited * ((1 - unit_periods) / (1 + rate) - fraction / (1 + fraction * rate))
    return inner * waited, inner_slope * waited + inner * waited_slope
