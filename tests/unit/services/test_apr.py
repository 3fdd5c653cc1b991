"""Appendix J of Regulation Z: its own examples, another program, and its equation by hand."""

import math
import random

import pytest
import pyxirr

from services.scoring.apr import annual_percentage_rate
from services.scoring.pricing import price


@pytest.mark.parametrize(
    ("amount", "payment", "last", "payments", "period", "printed"),
    [
        # (c)(1): single advance, with or without an odd first period, and otherwise regular
        (5000, 230, 230, 24, {}, 9.69),
        (6000, 200, 200, 36, {"fraction": 19 / 30}, 11.82),
        (5000, 219.17, 219.17, 24, {"unit_periods": 0, "fraction": 6 / 15, "per_year": 24}, 10.34),
        (10000, 385, 385, 40, {"fraction": 39 / 90, "per_year": 4}, 8.97),
        (500, 17.6, 17.6, 30, {"unit_periods": 4, "fraction": 4 / 7, "per_year": 52}, 14.96),
        # (c)(2): with an odd final payment
        (5000, 230, 280, 24, {}, 10.50),
    ],
)
def test_the_examples_of_the_appendix(amount, payment, last, payments, period, printed):
    assert annual_percentage_rate(amount, payment, last, payments, **period) == pytest.approx(printed, abs=0.0051)


def test_ten_thousand_regular_loans_as_another_program_has_them():
    dice = random.Random(7)
    worst = 0.0
    for _ in range(10_000):
        principal, term = dice.randrange(5_000, 5_000_000), dice.randint(1, 84)
        fee = dice.choice((0, dice.randrange(principal // 10)))
        loan = price(principal, term, dice.randrange(3_600) / 100, fee=fee)
        found = annual_percentage_rate(loan.amount_financed, loan.payment, loan.last_payment, term)
        flows = [-loan.amount_financed, *[loan.payment] * (term - 1), loan.last_payment]
        if loan.finance_charge:  # without any, the other program's zero is no better than this one's
            worst = max(worst, abs(found - pyxirr.irr(flows, guess=found / 1200 + 1e-4) * 1200))
        else:
            assert found == 0
    assert worst < 1e-6


def test_the_apr_of_a_loan_solves_the_general_equation():
    loan = price(350_000, 12, 8.99, fee=5_000, odd_days=19)
    rate = loan.apr / 1200
    payments = [loan.payment] * 11 + [loan.last_payment]
    value = sum(paid / ((1 + rate * 19 / 30) * (1 + rate) ** month) for month, paid in enumerate(payments, start=1))
    assert value == pytest.approx(345_000, abs=1e-6)


@pytest.mark.parametrize("days", [0, 1, 15, 29])
def test_without_a_fee_the_apr_is_the_note_rate_but_for_whole_cents(days):
    loan = price(5_000_000, 36, 11.99, odd_days=days)
    solved = annual_percentage_rate(loan.principal, loan.payment, loan.last_payment, 36, fraction=days / 30)
    assert loan.apr == pytest.approx(11.99, abs=1e-4)
    assert loan.apr == pytest.approx(solved, abs=1e-9)


def test_whole_cents_weigh_on_a_small_loan():
    assert price(5_000, 3, 15.99).apr == pytest.approx(16.125, abs=1e-3)
    assert price(5_152, 6, 35.99).apr > 36


def test_one_payment_is_simple_interest():
    assert annual_percentage_rate(100, 101, 101, 1) == pytest.approx(12)
    assert annual_percentage_rate(100, 101, 101, 1, unit_periods=0, fraction=0.5) == pytest.approx(24)


def test_credit_that_costs_nothing_has_no_rate():
    assert annual_percentage_rate(1200, 100, 100, 12) == 0


def test_a_rate_beyond_all_measure_is_found_too():
    rate = annual_percentage_rate(1, 100, 100, 12) / 1200
    assert sum(100 / (1 + rate) ** month for month in range(1, 13)) == pytest.approx(1)


@pytest.mark.parametrize(("amount", "payment"), [(0, 100), (-1, 100), (1201, 100), (math.inf, 100)])
def test_what_is_not_paid_back_has_no_rate(amount, payment):
    with pytest.raises(ValueError, match="do not pay back"):
        annual_percentage_rate(amount, payment, payment, 12)
