"""What a loan earns or costs at the policy's prices: what the profit curve of a model is drawn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import InputError
from services.scoring.policy import Policy
from services.scoring.pricing import to_cents
from training.evidence import Economics

_CENTS = 100


def economics_of(
    policy: Policy, amounts: NDArray[np.float64], terms: NDArray[np.float64], pd: NDArray[np.float64]
) -> Economics:
    """Return gain and loss of n loans, each at the price of its PD.

    A loan that is repaid earns its finance charge less the cost of funds; one that defaults costs the loss given
    default of the exposure at default (the expected-loss section of the policy). A loan without a price, because its
    amount is unknown or too small to be paid back in whole cents, earns and costs nothing.

    Parameters
    ----------
    amounts : ndarray of float64, shape (n,)
        Currency; NaN is unknown.
    terms : ndarray of float64, shape (n,)
        Months; NaN takes the policy's default.
    pd : ndarray of float64, shape (n,)
        Probability of default, 0..1.
    """
    rule = policy.expected_loss
    gains, losses = np.zeros(len(pd)), np.zeros(len(pd))
    default_term = policy.request.default_term_months
    for row, (amount, term, chance) in enumerate(zip(amounts.tolist(), terms.tolist(), pd.tolist(), strict=True)):
        try:
            loan = policy.price(to_cents(amount), default_term if term != term else int(term), chance)
        except (InputError, ValueError, ArithmeticError):
            continue
        gains[row] = (loan.finance_charge - loan.balance_months * rule.funding_rate / 1200) / _CENTS
        losses[row] = rule.loss_given_default * rule.exposure_at_default * loan.principal / _CENTS
    return Economics(gain_if_good=gains, loss_if_bad=losses)
