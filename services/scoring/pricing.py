"""A fixed-rate instalment loan, exact to the cent.

Money is in whole cents, and a rate is the ratio of whole numbers that its decimal text says, so
that 8.99 % is 8.99 %: every figure below is rounded once, half up, from an exact ratio.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache

import msgspec

from feature_repo.errors import InputError
from services.scoring.apr import annual_percentage_rate

_CLEAR, _EXACT = 0.49, 1e12  # so far from a half, and so small, no error of a float reaches the half
MONTH = 30  # days; 12 CFR 1026, Appendix J (b)(5)(iv): a fraction of a month is its days over 30


class Loan(msgspec.Struct, frozen=True):
    """Terms of a loan with equal monthly payments, the last of which takes the difference.

    Parameters
    ----------
    principal, payment, last_payment : int
        Cents.
    rate : float
        Note rate, percent a year.
    fee : int
        Charge paid at consummation, cents.
    apr : float
        Annual percentage rate, percent, unrounded, from the payments in whole cents; infinite if the fee eats up the
        loan.
    balance_months : int
        Sum over the months of the balance owed in each, cents x months.
    """

    principal: int
    term_months: int
    rate: float
    payment: int
    last_payment: int
    fee: int
    apr: float
    balance_months: int

    @property
    def total_of_payments(self) -> int:
        """All payments, in cents."""
        return self.payment * (self.term_months - 1) + self.last_payment

    @property
    def amount_financed(self) -> int:
        """The principal less the fee, in cents."""
        return self.principal - self.fee

    @property
    def finance_charge(self) -> int:
        """What the credit costs, interest and fee, in cents."""
        return self.total_of_payments - self.amount_financed


def price(principal: int, term_months: int, rate: float, *, fee: int = 0, odd_days: int = 0) -> Loan:
    """Return the terms of a loan: P r / (1 - (1 + r)^-n) a month, r being a twelfth of the rate.

    Interest of each month is rounded half up to the cent, and so is the payment. Odd days bear
    simple interest before the first month, as in Appendix J.

    Parameters
    ----------
    principal : int
        Cents, positive.
    term_months : int
        Number of payments, at least 1.
    rate : float
        Note rate in percent a year, at least 0.
    fee : int
        Charge paid at consummation, cents.
    odd_days : int
        Days from consummation to a month before the first payment, 0..29.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    InputError
        If the principal is too small to be paid back in that many payments of whole cents.

    Examples
    --------
    >>> loan = price(350_000, 12, 8.99)
    >>> loan.payment, loan.last_payment, loan.finance_charge, loan.total_of_payments, round(loan.apr, 2)
    (30606, 30610, 17276, 367276, 8.99)
    >>> loan = price(350_000, 12, 8.99, fee=5_000)
    >>> loan.payment, loan.amount_financed, loan.finance_charge, round(loan.apr, 2)
    (30606, 345000, 22276, 11.71)
    """
    if principal < 1 or term_months < 1 or rate < 0 or fee < 0 or not 0 <= odd_days < MONTH:
        raise ValueError(f"no loan of {principal} cents over {term_months} months at {rate} %")
    over, under, first_over, first_under = _schedule(rate, term_months, odd_days)
    payment = (2 * principal * over + under) // (2 * under)
    interest_over, interest_under = _monthly(rate)
    double, half = 2 * interest_over, interest_under
    whole = 2 * interest_under
    balance = principal
    balance_months = 0
    interest = (2 * principal * first_over + first_under) // (2 * first_under)
    for _ in range(term_months - 1):
        balance_months += balance
        balance += interest - payment
        interest = (balance * double + half) // whole
    balance_months += balance
    last_payment = balance + interest
    if payment < 1 or last_payment < 1:
        raise InputError(f"{principal / 100:.2f} is too little to be paid back in {term_months} payments")
    apr = math.inf
    if fee < principal:
        apr = annual_percentage_rate(
            principal - fee, payment, last_payment, term_months, fraction=odd_days / MONTH, near=rate
        )
    return Loan(principal, term_months, rate, payment, last_payment, fee, apr, balance_months)


def share_of(cents: int, percent: float) -> int:
    """Return a percentage of an amount, in cents, rounded half up.

    Examples
    --------
    >>> share_of(350_000, 1.5)
    5250
    """
    over, under = _ratio(percent, 100)
    return (2 * cents * over + under) // (2 * under)


def to_cents(amount: float) -> int:
    """Return an amount of money in cents, rounded half up on its shortest decimal text.

    Examples
    --------
    >>> to_cents(3500.0), to_cents(1.005)
    (350000, 101)
    """
    scaled = amount * 100
    cents = round(scaled)
    if abs(scaled - cents) < _CLEAR and abs(scaled) < _EXACT:
        return cents
    return int((Decimal(repr(amount)) * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))


@lru_cache(maxsize=1024)
def _ratio(number: float, divisor: int) -> tuple[int, int]:
    return (Fraction(str(number)) / divisor).as_integer_ratio()


def _monthly(rate: float) -> tuple[int, int]:
    return _ratio(rate, 1200)


@lru_cache(maxsize=4096)
def _schedule(rate: float, term_months: int, odd_days: int) -> tuple[int, int, int, int]:
    """Return payment over principal and first month's interest over principal, as exact ratios."""
    monthly = Fraction(*_monthly(rate))
    waited = 1 + monthly * Fraction(odd_days, MONTH)
    growth = (1 + monthly) ** term_months
    annuity = monthly * growth / (growth - 1) if monthly else Fraction(1, term_months)
    return *(waited * annuity).as_integer_ratio(), *(waited * (1 + monthly) - 1).as_integer_ratio()
