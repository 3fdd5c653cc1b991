from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError
from services.scoring.pricing import price, to_cents

AMOUNTS = st.integers(5_000, 10**9)
TERMS = st.integers(1, 60)
RATES = st.sampled_from([0.0, 0.01, 8.99, 15.99, 35.99])


def test_the_example_is_exact_to_the_cent():
    loan = price(350_000, 12, 8.99)
    assert (loan.payment, loan.last_payment, loan.finance_charge, loan.total_of_payments) == (
        30_606,
        30_610,
        17_276,
        367_276,
    )


def test_one_payment_brings_one_month_of_interest():
    loan = price(350_000, 1, 8.99)
    assert loan.payment == loan.last_payment == loan.total_of_payments == 352_622


def test_without_interest_the_last_payment_takes_the_rounding():
    loan = price(10_000, 3, 0.0)
    assert (loan.payment, loan.last_payment, loan.finance_charge) == (3_333, 3_334, 0)


@given(AMOUNTS, TERMS, RATES)
def test_the_payments_pay_the_loan_off_exactly(principal, term, apr):
    loan = price(principal, term, apr)
    rate = Fraction(Decimal(str(apr))) / 1200
    balance = principal
    for month in range(1, term + 1):
        interest = int(balance * rate + Fraction(1, 2))
        balance += interest - (loan.last_payment if month == term else loan.payment)
    assert balance == 0
    assert loan.finance_charge >= 0
    if rate:
        exact = principal * rate / (1 - (1 + rate) ** -term)
        assert abs(loan.payment - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(("principal", "term", "apr"), [(0, 12, 8.99), (100, 0, 8.99), (100, 12, -1.0)])
def test_no_loan_is_no_loan(principal, term, apr):
    with pytest.raises(ValueError, match="no loan"):
        price(principal, term, apr)


def test_a_few_cents_are_not_paid_back_in_many_payments():
    with pytest.raises(InputError, match=r"0\.05 is too little"):
        price(5, 12, 35.99)


@pytest.mark.parametrize(("amount", "cents"), [(3500.0, 350_000), (0.01, 1), (1.005, 101), (35.1, 3510), (1e7, 10**9)])
def test_amounts_become_cents(amount, cents):
    assert to_cents(amount) == cents
