"""Write the raw event files of a simulated lender."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.home import Home
from feature_repo.portfolios.simulated.config import SimulationConfig
from feature_repo.portfolios.simulated.events import Events, month_starts, write_events
from feature_repo.portfolios.simulated.lending import draw_loans, draw_payments
from feature_repo.portfolios.simulated.population import draw_population
from feature_repo.portfolios.simulated.reports import (
    account_reports,
    bureau_reports,
    delinquencies,
    profile_statements,
)
from feature_repo.portfolios.swap import replacing

SEXES = np.array(["female", "male", "other"])


def simulate(home: Home, config: SimulationConfig) -> Path:
    """Simulate a lender and write its events to the home's raw folder.

    The true probability of default of each loan in the observed months goes to ``truth/loans.parquet``
    (`loan_id`, `true_pd`), outside all that feature code can read.

    Returns
    -------
    Path
        Folder of the raw files, which the SQL of the simulated portfolio maps.
    """
    # A stream of its own for each kind of event: a change to one leaves the others as they were.
    seeds = np.random.SeedSequence(config.seed).spawn(8)
    streams = [np.random.default_rng(seed) for seed in seeds]
    people = draw_population(config, streams[0])
    loans, truth = draw_loans(people, config, streams[1])
    ids = {
        "applicant": _identifiers("APP_{:06d}", people.size),
        "loan": _identifiers("LOAN_{:07d}", len(loans["loan"])),
    }
    applicants: Events = {
        "applicant": np.arange(people.size),
        "born": people.born,
        "sex": SEXES[streams[2].choice(3, people.size, p=[0.495, 0.495, 0.01])],
        "guest": streams[2].random(people.size) < config.guest_share,
    }
    files: dict[str, Events] = {
        "applicants": applicants,
        "loans": loans,
        "payments": draw_payments(people, loans, truth, config, streams[3]),
        "profile_statements": profile_statements(people, config, streams[4]),
        "delinquencies": delinquencies(people, config, streams[5]),
        "bureau_reports": bureau_reports(people, config, streams[6]),
        "account_reports": account_reports(people, config, streams[7]),
    }
    target = home.raw / "simulated"
    with replacing(target) as folder:
        for name, events in files.items():
            write_events(folder / f"{name}.parquet", events, ids)
    observed = loans["decided_at"] >= month_starts(people.months)[people.first]
    with replacing(home.truth) as folder:
        table = {"loan_id": ids["loan"][observed], "true_pd": truth["true_pd"][observed]}
        pq.write_table(pa.table(table), folder / "loans.parquet")
    return target


def _identifiers(pattern: str, count: int) -> NDArray[np.str_]:
    return np.array([pattern.format(number) for number in range(1, count + 1)])
