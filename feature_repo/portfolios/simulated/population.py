"""The people: who they are, and how their latent risk moves from month to month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

import numpy as np
from numpy.typing import NDArray

from feature_repo.portfolios.simulated.config import SimulationConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Times = NDArray[np.datetime64]

PERSISTENCE = 0.95  # of the moving part of the risk, from one month to the next
MOVING_SD = 0.6
DAY = np.timedelta64(86_400, "s")


@dataclass(frozen=True)
class Population:
    """People and their latent state; n people, T months (history included).

    Parameters
    ----------
    months : array of datetime64[M], shape (T,)
        The simulated months.
    first : int
        Index of the first month in which features are observed.
    age : array, shape (n,)
        Years at the end of the simulation.
    born : array of datetime64[D], shape (n,)
    income : array, shape (n,)
        Gross, currency per year.
    risk : array, shape (n, T)
        Latent risk: a standing part with unit variance, mildly lower for older people, and a slow AR(1) part.
        All else, default included, depends on it; default depends on age and sex in no other way.
    """

    months: Times
    first: int
    age: Floats
    born: Times
    income: Floats
    risk: Floats

    @property
    def size(self) -> int:
        """Number of people, n."""
        return len(self.age)


def as_time(config: SimulationConfig) -> np.datetime64:
    """Return the end of the simulation in UTC as datetime64[s]."""
    return np.datetime64(config.as_of.astimezone(UTC).replace(tzinfo=None), "s")


def sigmoid(values: Floats) -> Floats:
    """Return the logistic function, elementwise."""
    return 1 / (1 + np.exp(-values))


def draw_population(config: SimulationConfig, rng: np.random.Generator) -> Population:
    """Draw the people and the path of their risk."""
    n = config.applicants
    end = as_time(config)
    total = config.history_months + config.months
    months = end.astype("M8[M]") - total + np.arange(total)
    # One in 300 is a minor who opened an account: the policy has to see them, no loan is made to them.
    age = np.where(rng.random(n) < 1 / 300, rng.uniform(16, 17.5, n), 18.5 + 62 * rng.beta(1.6, 2.6, n))
    maturity = (age - 42) / 14
    standing = rng.normal(0, 0.98, n) - 0.2 * maturity
    moving = np.empty((n, total))
    moving[:, 0] = rng.normal(0, MOVING_SD, n)
    for month in range(1, total):
        shock = rng.normal(0, MOVING_SD * np.sqrt(1 - PERSISTENCE**2), n)
        moving[:, month] = PERSISTENCE * moving[:, month - 1] + shock
    # Income rises to the middle of working life, and risk goes with a lower one.
    log_income = np.log(34_000) + 0.12 * maturity - 0.12 * maturity**2 - 0.25 * standing + rng.normal(0, 0.42, n)
    return Population(
        months=months,
        first=config.history_months,
        age=age,
        born=end.astype("M8[D]") - np.round(age * 365.25).astype("m8[D]"),
        income=np.clip(np.exp(log_income), 6_000, 400_000),
        risk=standing[:, None] + moving,
    )
