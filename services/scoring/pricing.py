"""A fixed-rate instalment loan, exact to the cent.

Money is in whole cents; rates are decimal fractions of decimal text, so that 8.99 % is 8.99 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

from feature_repo.errors import InputError

_CONTEXT = Context(prec=40, rounding=ROUND_HALF_UP)


@dataclass(frozen=True)
class Loan:
    """Terms of a loan with equal monthly payments, the last of which takes the difference.

    Parameters
    ----------
    principal, payment, last_payment : int
        Cents.
    apr : float
        Annual percentage rate, in percent; there are no fees.
    """

    principal: int
    term_months: int
    apr: float
    payment: int
    last_payment: int

    @property
    def total_of_payments(self) -> int:
        """All payments, in cents."""
        return self.payment * (self.term_months - 1) + self.last_payment

    @property
    def finance_charge(self) -> int:
        """What the credit costs, in cents."""
        return self.total_of_payments - self.principal


def price(principal: int, term_months: int, apr: float) -> Loan:
    """Return the terms of a loan: P r / (1 - (1 + r)^-n) a month, r being a twelfth of the rate.

    Interest of each month is rounded half up to the cent, and so is the payment.

    Parameters
    ----------
    principal : int
        Cents, positive.
    term_months : int
        Number of payments, at least 1.
    apr : float
        Annual rate in percent, at least 0.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    InputError
        If the principal is too small to be paid back in that many payments of whole cents.

    Examples
    --------
    >>> loan = price(350_000, 12, 8.99)
    >>> loan.payment, loan.last_payment, loan.finance_charge, loan.total_of_payments
    (30606, 30610, 17276, 367276)
    """
    if principal < 1 or term_months < 1 or apr < 0:
        raise ValueError(f"no loan of {principal} cents over {term_months} months at {apr} %")
    rate = _CONTEXT.divide(Decimal(str(apr)), Decimal(1200))
    if rate:
        discount = _CONTEXT.power(1 + rate, -term_months)
        payment = _cents(_CONTEXT.divide(principal * rate, 1 - discount))
    else:
        payment = _cents(Decimal(principal) / term_months)
    balance = principal
    for _ in range(term_months - 1):
        balance += _cents(balance * rate) - payment
    last_payment = balance + _cents(balance * rate)
    if payment < 1 or last_payment < 1:
        raise InputError(f"{principal / 100:.2f} is too little to be paid back in {term_months} payments")
    return Loan(principal, term_months, apr, payment, last_payment)


def to_cents(amount: float) -> int:
    """Return an amount of money in cents, rounded half up on its shortest decimal text.

    Examples
    --------
    >>> to_cents(3500.0), to_cents(1.005)
    (350000, 101)
    """
    return _cents(Decimal(repr(amount)) * 100)


def _cents(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_UP))
