import math
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from feature_repo.errors import InputError
from services.scoring.pricing import price, share_of, to_cents

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


@given(st.integers(100_000, 10**10), st.integers(1, 120), st.integers(1, 3_600).map(lambda n: n / 100))
def test_every_figure_is_rounded_half_up_from_its_exact_ratio(principal, term, apr):
    rate = Fraction(Decimal(str(apr))) / 1200

    def cents(value):
        return math.floor(value + Fraction(1, 2))

    payment = cents(principal * rate / (1 - (1 + rate) ** -term))
    balance, balances = principal, 0
    for _ in range(term - 1):
        balances += balance
        balance += cents(balance * rate) - payment
    loan = price(principal, term, apr)
    assert (loan.payment, loan.last_payment) == (payment, balance + cents(balance * rate))
    assert loan.balance_months == balances + balance


@given(st.integers(100_000, 10**10), st.integers(1, 120), st.integers(1, 3_600).map(lambda n: n / 100))
def test_the_payment_is_that_of_forty_decimal_digits_but_where_these_miss_half_a_cent(principal, term, apr):
    context = Context(prec=40)
    rate = context.divide(Decimal(str(apr)), Decimal(1200))
    exact = context.divide(principal * rate, 1 - context.power(1 + rate, -term))
    assume(abs(exact % 1 - Decimal("0.5")) > Decimal("1e-20"))
    assert price(principal, term, apr).payment == int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))


@given(AMOUNTS, TERMS, RATES, st.integers(0, 29))
def test_odd_days_bear_simple_interest_before_the_first_month(principal, term, apr, days):
    loan = price(principal, term, apr, odd_days=days)
    rate = Fraction(Decimal(str(apr))) / 1200
    waited = principal * (1 + rate * days / 30)
    exact = waited * (rate / (1 - (1 + rate) ** -term) if rate else Fraction(1, term))
    assert abs(loan.payment - exact) <= Fraction(1, 2)
    balance = principal + int(waited * (1 + rate) - principal + Fraction(1, 2)) - loan.payment
    for _ in range(term - 1):
        balance += int(balance * rate + Fraction(1, 2)) - loan.payment
    assert balance + loan.payment - loan.last_payment == 0


def test_a_fee_is_part_of_what_the_credit_costs():
    plain, charged = price(350_000, 12, 8.99), price(350_000, 12, 8.99, fee=5_000)
    assert charged.payment == plain.payment
    assert charged.amount_financed == 345_000
    assert charged.finance_charge == plain.finance_charge + 5_000
    assert charged.amount_financed + charged.finance_charge == charged.total_of_payments
    assert (plain.rate, charged.rate, round(plain.apr, 2)) == (8.99, 8.99, 8.99)
    assert charged.apr > 11


def test_a_fee_that_eats_up_the_loan_costs_without_end():
    assert price(5_000, 12, 8.99, fee=5_000).apr == float("inf")


@pytest.mark.parametrize(
    ("cents", "percent", "share"), [(350_000, 1.5, 5250), (50, 1.0, 1), (49, 1.0, 0), (99, 0.0, 0)]
)
def test_a_share_is_rounded_half_up(cents, percent, share):
    assert share_of(cents, percent) == share


@pytest.mark.parametrize(("principal", "term", "apr"), [(0, 12, 8.99), (100, 0, 8.99), (100, 12, -1.0)])
def test_no_loan_is_no_loan(principal, term, apr):
    with pytest.raises(ValueError, match="no loan"):
        price(principal, term, apr)


@pytest.mark.parametrize("more", [{"fee": -1}, {"odd_days": 30}, {"odd_days": -1}])
def test_no_fee_is_given_and_no_month_is_odd(more):
    with pytest.raises(ValueError, match="no loan"):
        price(350_000, 12, 8.99, **more)


def test_a_few_cents_are_not_paid_back_in_many_payments():
    with pytest.raises(InputError, match=r"0\.05 is too little"):
        price(5, 12, 35.99)


@pytest.mark.parametrize(("amount", "cents"), [(3500.0, 350_000), (0.01, 1), (1.005, 101), (35.1, 3510), (1e7, 10**9)])
def test_amounts_become_cents(amount, cents):
    assert to_cents(amount) == cents


@given(
    st.integers(0, 10**9).map(lambda n: n / 1000)
    | st.integers(0, 10**9).map(lambda n: (2 * n + 1) / 200)
    | st.floats(0, 1e14, allow_nan=False)
)
def test_every_amount_is_rounded_as_its_shortest_text_is(amount):
    assert to_cents(amount) == int((Decimal(repr(amount)) * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))
