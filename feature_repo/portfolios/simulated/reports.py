"""What others report each month: statements by the applicant, credit bureau reports, bank accounts.

Each number is the latent risk seen through noise; its scale is set so that no single one tells much.
"""

from __future__ import annotations

from datetime import UTC

import numpy as np
from numpy.typing import NDArray

from feature_repo.portfolios.simulated.config import SimulationConfig
from feature_repo.portfolios.simulated.events import Events, blank, days, deliver, month_starts
from feature_repo.portfolios.simulated.population import Floats, Population, sigmoid

HOMES = np.array(["OWN", "MORTGAGE", "RENT", "OTHER"])


def profile_statements(people: Population, config: SimulationConfig, rng: np.random.Generator) -> Events:
    """Return what people state of themselves: once before features begin, then each year."""
    n = people.size
    start = month_starts(people.months)[people.first]
    years = config.months // 12 + 1
    stated = (start - days(rng.uniform(1, 364, n)))[:, None] + days(np.arange(years, dtype=np.float64) * 365)
    risk = people.risk[:, people.first]
    working = np.clip(people.age - 18, 0.1, 47)
    tenure = np.minimum(rng.exponential(6 * np.exp(-0.35 * risk)), working)
    employed_since = stated[:, 0] - days(tenure * 365.25)
    changed = (rng.random((n, years)) < 0.06 * np.exp(0.4 * risk)[:, None]) & (np.arange(years) > 0)
    new_job = np.where(changed, stated - days(rng.uniform(5, 360, (n, years))), employed_since[:, None])
    employed = np.maximum.accumulate(new_job, axis=1)
    raises = people.income[:, None] * 1.03 ** np.arange(years) * np.exp(rng.normal(0, 0.03, (n, years)))
    settled = sigmoid(0.09 * (people.age - 38) - 0.7 * risk + rng.normal(0, 1, n))
    draw = rng.random(n)
    home = np.select([draw < 0.35 * settled, draw < settled, draw < settled + 0.92 * (1 - settled)], [0, 1, 2], 3)
    verified = rng.random((n, years)) < sigmoid(0.8 - 0.4 * risk)[:, None]
    employed = np.where(rng.random((n, years)) < 0.03, np.datetime64("NaT", "s"), employed)
    events: Events = {
        "applicant": np.repeat(np.arange(n), years),
        "stated_at": stated.ravel(),
        "annual_income": np.round(blank(raises, 0.02, rng), 2).ravel(),
        "employed_since": employed.astype("M8[D]").ravel(),
        "home_ownership": np.repeat(HOMES[home], years),
        "income_verified": verified.ravel(),
    }
    return deliver(events, "stated_at", config, rng, corrected=("annual_income",))


def delinquencies(people: Population, config: SimulationConfig, rng: np.random.Generator) -> Events:
    """Return payments that became 30 days late at any lender, in five years before and during the simulation."""
    before = 60
    risk = np.hstack([np.repeat(people.risk[:, :1], before, axis=1), people.risk])
    who, month = np.nonzero(rng.random(risk.shape) < sigmoid(-5.8 + 1.0 * risk))
    start = month_starts(people.months[0] - before + month)
    return {"applicant": who, "late_on": (start + days(rng.uniform(0, 27.9, len(who)))).astype("M8[D]")}


def bureau_reports(people: Population, config: SimulationConfig, rng: np.random.Generator) -> Events:
    """Return a report a month for everyone who has a bureau file."""
    n, filed = people.size, rng.random(people.size) >= config.no_bureau_share
    risk = people.risk[:, people.first - 1 :]
    months = people.months[people.first - 1 :]
    shape = risk.shape
    reported = month_starts(months) + days(rng.uniform(0, 27.9, n))[:, None]
    shifted = _shifted(reported, config)

    has_card = rng.random(n) >= 0.06
    limit = np.round(people.income * np.exp(rng.normal(-1.6, 0.5, n)), -2)
    usage = -0.9 + 0.75 * risk + rng.normal(0, 0.7, n)[:, None] + rng.normal(0, 0.3, shape)
    used = 1.1 * sigmoid(usage)
    used = np.clip(used + shifted * used.std(), 0, 1.5)
    balance = np.round(limit[:, None] * used, 2)

    rate = np.exp(-2.0 + 0.42 * risk + rng.normal(0, 0.4, n)[:, None])
    earlier = rng.poisson(np.repeat(rate[:, :1], 5, axis=1))
    asked = np.cumsum(np.hstack([np.zeros((n, 1), np.int64), earlier, rng.poisson(rate)]), axis=1)
    inquiries = asked[:, 6:] - asked[:, :-6]
    inquiries = np.minimum(inquiries + rng.poisson(shifted * inquiries.std(), shape), 60)

    debt = 0.03 + 0.75 * sigmoid(-1.5 + 0.45 * risk + rng.normal(0, 0.7, n)[:, None] + rng.normal(0, 0.15, shape))
    stated_income = people.income * np.exp(rng.normal(0, 0.08, n)) / 12
    known_years = np.clip((people.age - 18) * rng.beta(2.5, 1.8, n) * np.exp(-0.15 * risk[:, 0]), 0.2, 60)
    oldest = month_starts(months)[0] - days(known_years * 365.25)
    lines = 1 + rng.poisson(np.minimum(1 + known_years * 0.35, 12))
    opened = np.cumsum(rng.random(shape) < 0.03, axis=1)
    records = rng.poisson(np.exp(-3.4 + 0.8 * risk[:, 0]))
    events: Events = {
        "applicant": np.repeat(np.arange(n), shape[1]),
        "reported_at": reported.ravel(),
        "revolving_balance": np.where(has_card[:, None], balance, 0.0).ravel(),
        "revolving_limit": np.repeat(np.where(has_card, limit, 0.0), shape[1]),
        "monthly_debt_payment": np.round(debt * stated_income[:, None], 2).ravel(),
        "monthly_income": np.round(blank(np.repeat(stated_income, shape[1]), 0.01, rng), 2),
        "open_lines": (lines[:, None] + opened).ravel(),
        "total_lines": (lines[:, None] + opened + rng.poisson(known_years * 0.4)[:, None]).ravel(),
        "inquiries_6m": inquiries.ravel(),
        "public_records": np.repeat(records, shape[1]),
        "oldest_line_opened": np.repeat(oldest.astype("M8[D]"), shape[1]),
    }
    return deliver(_only(events, filed), "reported_at", config, rng, corrected=("revolving_balance",))


def account_reports(people: Population, config: SimulationConfig, rng: np.random.Generator) -> Events:
    """Return, for everyone who linked a bank account, its figures over 90 days at each month end."""
    n, linked = people.size, rng.random(people.size) >= config.no_bank_share
    risk = people.risk[:, people.first - 1 :]
    months = people.months[people.first - 1 :]
    shape = risk.shape
    closed = np.broadcast_to(month_starts(months + 1) - np.timedelta64(1, "s"), shape)
    monthly = people.income[:, None] / 12

    strain = 0.75 * risk + rng.normal(0, 0.7, n)[:, None] + rng.normal(0, 0.4, shape)
    received = np.log(3 * 0.78 * monthly) + rng.normal(0, 0.25, n)[:, None] + rng.normal(0, 0.12, shape) - 0.05 * risk
    inflow = np.exp(received - _shifted(closed, config) * received.std())
    outflow = inflow * np.exp(0.02 * strain + rng.normal(0, 0.06, shape))
    mean = monthly * (1.6 * np.exp(-0.75 * strain) - 0.25)
    low = mean - monthly * rng.uniform(0.2, 0.9, shape)
    # The 90 days before these are those reported three months ago.
    before = np.hstack([low[:, :1].repeat(3, axis=1), low])[:, : shape[1]]
    wages = np.clip(0.8 - 0.04 * strain + rng.normal(0, 0.1, n)[:, None], 0.1, 1)
    bills = np.clip(0.45 + rng.normal(0, 0.12, n)[:, None] + rng.normal(0, 0.03, shape), 0.05, 0.9)
    below = np.where(low < 0, np.clip(rng.poisson(12 * np.clip(-low / monthly, 0, 5)), 1, 90), 0)
    penalty = np.where(below > 2, -low * below * 0.18 / 365, 0.0)
    opened = closed[:, 0] - days(np.clip(rng.gamma(2, 1_300, n), 30, (people.age - 15) * 365))
    events: Events = {
        "applicant": np.repeat(np.arange(n), shape[1]),
        "closed_at": closed.ravel(),
        "balance_mean": np.round(mean, 2).ravel(),
        "balance_min": np.round(low, 2).ravel(),
        "balance_min_180d": np.round(np.minimum(low, before), 2).ravel(),
        "inflow": np.round(inflow, 2).ravel(),
        "outflow": np.round(outflow, 2).ravel(),
        "transfers_in": np.round(inflow * wages, 2).ravel(),
        "bills": np.round(outflow * bills, 2).ravel(),
        "bookings": rng.poisson(np.repeat(rng.gamma(4, 22, n) + 8, shape[1])),
        "days_below_zero": below.ravel(),
        "penalty_interest": np.round(penalty, 2).ravel(),
        "opened_on": np.repeat(opened.astype("M8[D]"), shape[1]),
    }
    return deliver(_only(events, linked), "closed_at", config, rng, corrected=("inflow", "outflow"))


def _shifted(times: NDArray[np.datetime64], config: SimulationConfig) -> Floats:
    """Return the strength of the macro shift at each time, 0 before it."""
    if config.shift_from is None:
        return np.zeros(times.shape)
    begins = np.datetime64(config.shift_from.astimezone(UTC).replace(tzinfo=None), "s")
    return np.where(times >= begins, config.shift_strength, 0.0)


def _only(events: Events, people: NDArray[np.bool_]) -> Events:
    """Return the events of the chosen people."""
    chosen = people[events["applicant"]]
    return {name: values[chosen] for name, values in events.items()}
