"""Loans, their true probability of default, and how each instalment was paid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_repo.portfolios.simulated.config import SimulationConfig
from feature_repo.portfolios.simulated.events import Events, days, deliver, month_starts, whole_day
from feature_repo.portfolios.simulated.population import DAY, Floats, Ints, Population, Times, as_time, sigmoid

TERMS = np.array([3, 6, 9, 12, 18, 24, 36])
# Purpose, how often, and its effect on the log-odds of default.
PURPOSES = (
    ("electronics", 0.26, 0.10),
    ("furniture", 0.20, 0.0),
    ("appliances", 0.14, -0.10),
    ("home_improvement", 0.10, -0.15),
    ("travel", 0.09, 0.20),
    ("medical", 0.07, 0.05),
    ("education", 0.05, 0.0),
    ("wedding", 0.03, 0.0),
    ("other", 0.04, 0.10),
    ("", 0.02, 0.0),  # not asked
)
DEFAULT_DAYS = 90


def draw_loans(people: Population, config: SimulationConfig, rng: np.random.Generator) -> tuple[Events, Events]:
    """Draw every loan with its truth; nobody who defaulted or is a minor is lent to again.

    Returns
    -------
    loans : dict of str to array, shape (m,)
        ``loan``, ``applicant``, ``decided_at``, ``purchase_amount``, ``term_months``,
        ``instalment`` and ``loan_purpose``, in order of decision.
    truth : dict of str to array, shape (m,)
        ``true_pd`` in (0, 1) and ``first_missed``: the number of the first instalment that is
        never paid, 1 to 3, or 0 for a good loan. The third and its 90 days fall within the six months in
        which a default counts.
    """
    need = rng.gamma(4, config.loans_per_applicant / config.months / 4, people.size)
    count = rng.poisson(need[:, None] * np.exp(0.1 * people.risk))
    who, month = (np.repeat(index, count.ravel()) for index in np.divmod(np.arange(count.size), count.shape[1]))
    size = len(who)
    length = (month_starts(people.months + 1) - month_starts(people.months))[month]
    opening = whole_day(month_starts(people.months)[month] + (length * rng.random(size)).astype("m8[s]"))
    decided = opening + days(rng.uniform(8 / 24, 22 / 24, size))

    monthly_income = people.income[who] / 12
    amount = np.exp(rng.normal(np.log(900), 0.85, size)) * (monthly_income / 2_800) ** 0.4
    amount = np.round(np.clip(amount, 100, 8_000), 2)
    size_class = 6 * np.log(amount / 100) / np.log(80) + rng.normal(-0.3, 1, size)
    term = TERMS[np.clip(np.round(size_class), 0, 6).astype(np.int64)]
    purpose = rng.choice(len(PURPOSES), size, p=[share for _, share, _ in PURPOSES])
    burden = np.log(amount / term / monthly_income)
    effect = np.array([effect for *_, effect in PURPOSES])[purpose]
    odds = 1.5 * people.risk[who, month] + 0.45 * burden + 0.25 * np.log(term / 12) + effect
    true_pd = sigmoid(odds + _intercept(odds, config.default_rate))
    missed = np.where(rng.random(size) < true_pd, rng.integers(1, 4, size), 0)

    kept = _still_lent_to(people, who, decided, missed)
    kept = kept[np.lexsort((who[kept], decided[kept]))]
    names = np.array([name or None for name, *_ in PURPOSES], dtype=object)
    loans: Events = {
        "loan": np.arange(len(kept)),
        "applicant": who[kept],
        "decided_at": decided[kept],
        "purchase_amount": amount[kept],
        "term_months": term[kept],
        "instalment": np.round(amount / term, 2)[kept],
        "loan_purpose": names[purpose[kept]],
    }
    return loans, {"true_pd": true_pd[kept], "first_missed": missed[kept]}


def draw_payments(
    people: Population, loans: Events, truth: Events, config: SimulationConfig, rng: np.random.Generator
) -> Events:
    """Draw when each instalment was paid; those of a defaulted loan end with the first one missed."""
    term = loans["term_months"]
    loan = np.repeat(np.arange(len(term)), term)
    number = np.arange(len(loan)) - np.repeat(np.cumsum(term) - term, term) + 1
    due = add_months(loans["decided_at"][loan], number)
    owed = (due < as_time(config)) & ((truth["first_missed"][loan] == 0) | (number < truth["first_missed"][loan]))
    loan, number, due = loan[owed], number[owed], due[owed]
    who = loans["applicant"][loan]
    month = (due.astype("M8[M]") - people.months[0]).astype(np.int64)
    risk = people.risk[who, month]
    size = len(loan)
    late = rng.random(size) < sigmoid(-2.5 + 0.8 * risk)
    very_late = late & (rng.random(size) < 0.1)
    # A good loan never reaches 90 days, even if the payment is also reported late.
    overdue = np.where(very_late, 30 + rng.exponential(12, size), 1 + rng.exponential(6, size))
    delay = np.where(late, np.minimum(overdue, 75), -rng.uniform(0, 3, size))
    # A payment in the last hours of the due day is on time.
    payments: Events = {
        "payment_id": np.arange(1, size + 1),
        "loan": loan,
        "instalment_number": number,
        "paid_at": np.maximum(due + days(delay) + days(rng.uniform(0.3, 0.9, size)), loans["decided_at"][loan]),
    }
    return deliver(payments, "paid_at", config, rng, latest_days=10)


def add_months(times: Times, months: Ints) -> Times:
    """Return the same day of a later month, or its last day, at midnight UTC, as datetime64[s]."""
    start = times.astype("M8[M]")
    day = (times.astype("M8[D]") - start.astype("M8[D]")).astype(np.int64)
    target = start + months
    last = ((target + 1).astype("M8[D]") - target.astype("M8[D]")).astype(np.int64) - 1
    later: Times = (target.astype("M8[D]") + np.minimum(day, last).astype("m8[D]")).astype("M8[s]")
    return later


def _intercept(odds: Floats, default_rate: float) -> float:
    """Return what to add to the log-odds for a mean probability of `default_rate`, by bisection."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(odds + middle).mean() < default_rate else (low, middle)
    return low


def _still_lent_to(people: Population, who: Ints, decided: Times, missed: Ints) -> NDArray[np.int64]:
    """Return the loans decided before the applicant's first default showed, adults only."""
    shows = np.full(people.size, np.datetime64("9999-01-01", "s"))
    bad = np.flatnonzero(missed)
    np.minimum.at(shows, who[bad], add_months(decided[bad], missed[bad]) + DEFAULT_DAYS * DAY)
    adult = (decided - people.born[who].astype("M8[s]")) > days(np.array(18.1 * 365.25))
    return np.flatnonzero((decided < shows[who]) & adult)
