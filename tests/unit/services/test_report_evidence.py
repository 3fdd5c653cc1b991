from types import SimpleNamespace

import numpy as np

from services.report_evidence import stable_up_to
from tests.unit.training.evidence_factory import evidence
from training.evaluate import population_stability
from training.reporting.contents import contents

CUTOFF = 0.2


def test_that_nobody_was_approved_beyond_the_cutoff_is_no_shift():
    random = np.random.default_rng(0)
    pd = 1 / (1 + np.exp(2 - 1.2 * random.normal(size=12_000)))
    oot = np.arange(len(pd)) >= 6000
    applied = SimpleNamespace(is_oot=oot, decided_here=np.zeros(len(pd), bool))
    assert stable_up_to(applied, pd, ~oot, CUTOFF) == 1
    assert population_stability(pd[~oot], pd[oot]) < 0.01

    champions = pd * np.exp(0.2 * random.normal(size=len(pd)))
    approved = ~oot | (champions <= CUTOFF)
    booked = SimpleNamespace(is_oot=oot[approved], decided_here=oot[approved])
    pd, fitted = pd[approved], ~oot[approved]
    assert population_stability(pd[fitted], pd[~fitted]) > 0.25, "as if those who apply had changed"
    up_to = stable_up_to(booked, pd, fitted, CUTOFF)
    assert up_to == CUTOFF
    loans, least = evidence(), 0.9 * pd[~fitted].max()
    assert stable_up_to(booked, pd, fitted, 1.0) > least, "the cutoff was another one when they were approved"

    def psi(pd):
        return population_stability(*(pd[rows & (pd <= up_to)] for rows in (fitted, ~fitted)))

    assert psi(pd) < 0.05
    assert psi(np.where(fitted, pd, 3 * pd)) > 0.25, "riskier loans are still seen"
    assert stable_up_to(booked, np.where(fitted, 0.9, pd), fitted, CUTOFF) == 1, "nobody to compare with"
    assert loans.stable_up_to == 1


def test_the_report_compares_the_same_loans_as_the_gate():
    every, approved = contents(evidence()), contents(evidence(stable_up_to=CUTOFF))
    assert (every.stable_up_to, approved.stable_up_to) == (1, CUTOFF)
    assert sum(approved.compared) < sum(every.compared)
    assert approved.psi != every.psi
    assert approved.psi_by_chance > every.psi_by_chance
    assert all(row.up_to <= CUTOFF for row in approved.stability[:-1])
