"""Loans whose true PD is known, and evidence on an imagined model of them."""

import numpy as np

from training.evidence import Economics, Evidence, Impacts
from training.scored import ScoredLoans


def scored(pd, defaulted, decided=None):
    """Loans with the scores of their PDs, decided one a day unless told."""
    pd = np.asarray(pd, dtype=np.float64)
    if decided is None:
        decided = np.datetime64("2025-01-01") + np.arange(len(pd))
    points = 720 + 40 * (np.log2((1 - pd) / pd) - np.log2(30))
    return ScoredLoans(
        decided=np.asarray(decided).astype("M8[us]"),
        pd=pd,
        score=np.clip(np.rint(points), 300, 850).astype(np.int64),
        defaulted=np.asarray(defaulted, dtype=bool),
    )


def evidence(seed=0, fitted=3000, last=800, oot=1500, base=-2.3, **changes):
    """Evidence on a model that sees two of three drivers of default, a little noisily.

    Decisions run from 2023 to the middle of 2026, the out-of-time window from 2026 on.
    """
    random = np.random.default_rng(seed)
    n = fitted + last + oot
    utilisation, income, hidden = random.beta(2, 3, n), random.lognormal(10.8, 0.5, n), random.normal(size=n)
    purpose = random.choice(np.array(["furniture", "electronics", "dental"], dtype=object), n, p=[0.6, 0.35, 0.05])
    effects = {
        "credit_utilization": 4 * (utilisation - 0.4),
        "annual_income": -0.9 * (np.log(income) - 10.8),
        "loan_purpose": np.select([purpose == "furniture", purpose == "dental"], [-0.1, 0.4], 0.1),
        "recent_inquiries": np.zeros(n),
    }
    seen = base + sum(effects.values())
    true_pd = 1 / (1 + np.exp(-seen - 0.6 * hidden))
    pd = 1 / (1 + np.exp(-seen))
    defaulted = random.random(n) < true_pd
    days = np.sort(random.integers(0, 1096, fitted + last)), 1096 + np.sort(random.integers(0, 181, oot))
    decided = np.datetime64("2023-01-01") + np.concatenate(days)
    amounts = random.lognormal(7.8, 0.6, n)
    rate = np.interp(pd, [0, 0.4], [0.07, 0.30])

    def loans(rows):
        return scored(pd[rows], defaulted[rows], decided[rows])

    def economics(rows):
        return Economics(gain_if_good=(amounts * (0.55 * rate - 0.02))[rows], loss_if_bad=(0.65 * amounts)[rows])

    before, border = slice(fitted, fitted + last), slice(fitted + last, n)
    sample = slice(fitted + last, fitted + last + min(oot, 500))
    missing = random.random(n) < 0.05
    values = {
        "credit_utilization": np.where(missing, None, utilisation.astype(object)),
        "annual_income": income.astype(object),
        "loan_purpose": purpose,
        "recent_inquiries": np.full(n, None, dtype=object),
    }
    given = {
        "facts": {
            "model": "candor-pd",
            "feature service": "credit_decision_v1",
            "out of time from": "2026-01-01",
            "dataset": "sha256:0123456789abcdef",
            "seed": "7",
        },
        "parameters": {"max_depth": "4", "learning_rate": "0.05"},
        "waterfall": {
            "loans": n + 450,
            "known by as_of": n + 400,
            "one of each": n + 390,
            "outcome matured": n,
            "train": fitted + last,
            "out of time": oot,
        },
        "cutoff": 0.2,
        "fitted": loans(slice(0, fitted)),
        "last": loans(before),
        "oot": loans(border),
        "impacts": Impacts(
            values={name: found[sample] for name, found in values.items()},
            impacts={name: found[sample] for name, found in effects.items()},
        ),
        "last_economics": economics(before),
        "oot_economics": economics(border),
        "rivals": {
            "scorecard": (1 / (1 + np.exp(-seen - random.normal(0, 0.4, n))))[border],
            "logistic regression": (1 / (1 + np.exp(-seen - random.normal(0, 0.1, n))))[border],
        },
        "segments": {"loan purpose": purpose[border]},
        "true_pd": true_pd[border],
    }
    return Evidence(**(given | changes))
