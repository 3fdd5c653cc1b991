from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from feature_repo.home import Home
from tests.unit.services import small_bundle
from tests.unit.services.harness import CONTRACT
from training.bundle import bundle_path, load_bundle
from training.columns import Column, encode
from training.dataset import Dataset
from training.promotion_checks import (
    Missing,
    both_would_approve,
    brier_difference,
    bundle_lines,
    champion_line,
    decode,
    difference_lines,
    fair_lines,
    guard_line,
    lost_features,
    missing_shares,
    scores,
    seconds_per_score,
)
from training.promotion_gate import DEFAULT_GATE, GateLine, read_gate
from training.uncertainty import auc_difference
from validation.guard import Guard

GATE, _ = read_gate(DEFAULT_GATE)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    home = Home(root=tmp_path_factory.mktemp("home"))
    return load_bundle(bundle_path(home, small_bundle.make(home)))


def drawn(n=4000, seed=1):
    """Outcomes, and the PD that they were drawn from."""
    random = np.random.default_rng(seed)
    pd = 1 / (1 + np.exp(2.5 - random.normal(size=n)))
    return random.random(n) < pd, pd


def test_the_difference_of_brier_scores_is_that_of_a_paired_mean():
    defaulted = np.array([True, False, False, True])
    found = brier_difference(defaulted, np.array([0.5, 0.1, 0.3, 0.8]), np.array([0.6, 0.2, 0.1, 0.8]), 0.95)
    # losses 0.25 - 0.16, 0.01 - 0.04, 0.09 - 0.01, 0.04 - 0.04: mean 0.035, deviations 0.055 -0.065 0.045 -0.035
    assert found.estimate == pytest.approx(0.035)
    reach = 1.959964 * (0.0105 / 3) ** 0.5 / 2
    assert (found.low, found.high) == (pytest.approx(0.035 - reach), pytest.approx(0.035 + reach))


def test_one_loan_says_nothing_about_a_difference():
    found = brier_difference(np.array([True]), np.array([0.1]), np.array([0.9]), 0.95)
    assert (found.low, found.high) == (-1.0, 1.0)


def test_a_shuffled_model_is_refused_for_ranking_and_for_its_brier_score():
    defaulted, pd = drawn()
    auc, _, brier = difference_lines(GATE, defaulted, np.random.default_rng(2).permutation(pd), pd, "version 1")
    assert (auc.passed, brier.passed) == (False, False)
    assert auc.value == auc_difference(defaulted, np.random.default_rng(2).permutation(pd), pd).estimate
    assert "below that of version 1" in auc.note
    assert "4,000 loans" in auc.note
    assert "above that of version 1" in brier.note


def test_one_that_ranks_alike_but_calls_everyone_safe_is_refused_for_its_brier_score_alone():
    defaulted, pd = drawn()
    auc, _, brier = difference_lines(GATE, defaulted, pd**3, pd, "version 1")
    assert (auc.passed, brier.passed) == (True, False)


def test_what_is_worse_only_within_noise_passes_and_so_does_what_is_better():
    defaulted, pd = drawn()
    noisy = 1 / (1 + np.exp(-(np.log(pd / (1 - pd)) + np.random.default_rng(3).normal(scale=0.05, size=len(pd)))))
    assert auc_difference(defaulted, noisy, pd).estimate < 0
    assert all(line.passed for line in difference_lines(GATE, defaulted, noisy, pd, "version 1"))
    assert all(line.passed for line in difference_lines(GATE, defaulted, pd, np.full(len(pd), 0.1), "version 1"))


def test_loans_too_few_to_tell_are_no_evidence_for_a_candidate():
    defaulted, pd = drawn(120)
    other = np.random.default_rng(5).permutation(pd)
    found = {line.name: line for line in difference_lines(GATE, defaulted, (pd + other) / 2, pd, "version 1")}
    assert found["auc_difference"].passed, "not shown to be worse"
    assert not found["auc_doubt"].passed
    assert "120 loans" in found["auc_doubt"].note
    assert "too few to tell" in found["auc_doubt"].note


def test_a_loss_may_be_allowed_by_the_gate():
    defaulted, pd = drawn()
    worse = np.random.default_rng(2).permutation(pd)
    lax = msgspec.structs.replace(GATE, max_auc_loss=1.0, max_auc_doubt=1.0, max_brier_rise=1.0)
    assert all(line.passed for line in difference_lines(lax, defaulted, worse, pd, "version 1"))


def test_of_a_hundred_equally_good_challengers_few_are_refused():
    """Two independent noises on the true PD: each line errs in 2.5 % of samples at most."""
    random = np.random.default_rng(4)
    refused = 0
    for seed in range(100):
        defaulted, pd = drawn(1000, seed)
        one, other = (pd * random.uniform(0.7, 1.3, len(pd)) for _ in range(2))
        refused += not all(line.passed for line in difference_lines(GATE, defaulted, one, other, "x"))
    assert refused <= 12  # 5 are expected if both lines erred independently; 12 come in 1 of 500 runs of them


def test_a_bundle_shows_size_time_and_guard(bundle):
    size, time, guard = bundle_lines(GATE, bundle)
    with np.load(bundle.path / "explainer.npz") as tables:
        assert size.value == sum(table.nbytes for table in tables.values()) / 1e6
    assert time.passed
    assert 0 < time.value < 1e5
    assert (guard.value, guard.passed, guard.note) == (0, True, "")


def test_a_feature_without_a_range_or_unknown_to_the_guard_is_refused(bundle):
    free = [
        msgspec.structs.replace(spec, low=None, high=None) if spec.name == "annual_income" else spec
        for spec in CONTRACT.features
        if spec.name != "home_ownership"
    ]
    line = guard_line(replace(bundle, guard=Guard(free)))
    assert (line.value, line.passed) == (2, False)
    assert "annual_income, home_ownership" in line.note


def test_one_bound_is_a_rule(bundle):
    specs = [msgspec.structs.replace(spec, high=None) for spec in CONTRACT.features]
    assert guard_line(replace(bundle, guard=Guard(specs))).passed


def test_kept_applicants_are_scored_as_when_they_were_kept(bundle):
    with np.load(bundle.path / "verified.npz") as stored:
        rows, margins = stored["rows"], stored["margin"]
    calibration = bundle.scorer.calibration
    for row, margin in zip(rows.tolist(), margins, strict=True):
        values = decode(bundle.scorer.columns, row)
        assert bundle.scorer.score(values).pd == pytest.approx(1 / (1 + np.exp(-calibration.log_odds(margin))))
    assert seconds_per_score(bundle) > 0


def test_decoding_undoes_encoding():
    columns = (Column("a", "a"), Column("h=X", "h", "X"), Column("h=Y", "h", "Y"), Column("b", "b"))
    values = {"a": [1.5, None, 0.0, -2.0], "h": ["Y", "other", None, "X"], "b": [None, 1.0, 0.0, None]}
    matrix = encode(columns, values)
    again = [decode(columns, row) for row in matrix.tolist()]
    assert again[0] == {"a": 1.5, "h": "Y"}
    assert again[1] == {"h": "", "b": 1.0}  # a category that has no column
    assert again[2] == {"a": 0.0, "b": 0.0}
    back = encode(columns, {name: [row.get(name) for row in again] for name in values})
    assert np.array_equal(back, matrix, equal_nan=True)


def test_loans_are_scored_one_by_one_as_in_service(bundle):
    features = bundle.scorer.features
    values = {name: np.array([None, 0.2, 0.9], dtype=object) for name in features}
    values["home_ownership"] = np.array(["OWN", None, "RENT"], dtype=object)
    found = scores(bundle.scorer, values)
    assert found.tolist() == [
        bundle.scorer.score({name: column[row] for name, column in values.items()}).pd for row in range(3)
    ]


def test_a_feature_is_lost_that_is_not_there_or_for_most_loans_not_any_more():
    names = ["whole", "rare", "ended", "gone", "first"]
    before, oot = 10, 10
    there = {"whole": (10, 10), "rare": (2, 1), "ended": (9, 4), "gone": (9, 0), "first": (0, 6)}
    table = pa.table(
        {
            "event_timestamp": pa.array(
                [datetime(2025, 1, 1)] * before + [datetime(2025, 2, 1)] * oot, pa.timestamp("us")
            )
        }
        | {name: [1.0] * n + [None] * (before - n) + [1.0] * m + [None] * (oot - m) for name, (n, m) in there.items()}
    )
    start = datetime(2025, 2, 1, tzinfo=UTC)
    dataset = Dataset(table, (), start, start, {}, "", "", np.zeros(len(table), bool))
    scorer = SimpleNamespace(features=(*names, "unheard_of"))
    shares = missing_shares(dataset, scorer)
    assert lost_features(shares) == ("ended", "gone", "unheard_of")
    line = champion_line(shares, "version 1", uncompared=False)
    assert (line.value, line.passed) == (3, False)
    assert "ended (missing for 60.0% of loans, 10.0% before), gone (missing for 100.0% of loans, 10.0%" in line.note


def test_a_feature_that_goes_missing_and_is_not_yet_lost_is_told_with_its_share():
    shares = {"scarce": Missing(0.4, 0.45), "going": Missing(0.02, 0.49)}
    line = champion_line(shares, "version 1", uncompared=False)
    told = "of what version 1 reads, going has gone missing most: missing for 49.0% of loans, 2.0% before"
    assert line == GateLine("champion_features", 0, 0, True, told)
    whole = champion_line({"scarce": Missing(0.4, 0.4)}, "version 1", uncompared=False)
    assert whole == GateLine("champion_features", 0, 0, True)


def test_loans_that_a_champion_approved_speak_no_more_for_the_candidate_than_for_it():
    rng = np.random.default_rng(3)
    n = 60_000
    risk = rng.normal(-2.2, 1.2, n)
    defaulted = rng.random(n) < expit(risk)
    champion, candidate = (expit(risk + rng.normal(0, 0.9, n)) for _ in range(2))
    assert both_would_approve(candidate, champion, np.zeros(n, bool), 0.0).all()
    assert abs(auc_difference(defaulted, candidate, champion).estimate) < 0.01
    approved = champion <= np.quantile(champion, 0.7)
    biased = auc_difference(defaulted[approved], candidate[approved], champion[approved])
    assert biased.low > 0.01, "as good as the champion, and looks better"
    rows = np.flatnonzero(approved)[
        both_would_approve(candidate[approved], champion[approved], approved[approved], 1.0)
    ]
    fair = auc_difference(defaulted[rows], candidate[rows], champion[rows])
    assert fair.low < 0 < fair.high
    assert candidate[rows].max() <= champion[approved].max()


def approvals(n=20_000):
    """Outcomes of loans that a champion approved, the PD by it and by a candidate that is as good."""
    rng = np.random.default_rng(3)
    risk = rng.normal(-2.2, 1.2, n)
    defaulted = rng.random(n) < expit(risk)
    champion, candidate = (expit(risk + rng.normal(0, 0.5, n)) for _ in range(2))
    approved = champion <= 0.2
    return defaulted[approved], champion[approved], candidate[approved]


def test_a_candidate_that_would_decline_good_loans_does_not_pass_because_they_are_left_out():
    defaulted, champion, candidate = approvals()
    decided_here = np.ones(len(defaulted), bool)
    fair = both_would_approve(candidate, champion, decided_here, 0.2)
    assert all(line.passed for line in fair_lines(GATE, defaulted, candidate, champion, fair, "version 1"))

    afraid = np.where(np.random.default_rng(4).random(len(candidate)) < 0.2, 0.5, candidate)
    fair = both_would_approve(afraid, champion, decided_here, 0.2)
    left = difference_lines(GATE, defaulted[fair], afraid[fair], champion[fair], "version 1")
    assert all(line.passed for line in left), "which says nothing of whom it would decline"
    auc, *_ = fair_lines(GATE, defaulted, afraid, champion, fair, "version 1")
    assert not auc.passed
    assert f"with {int((~fair).sum()):,} loans decided here that one of both would not approve" in auc.note


def test_where_both_would_approve_loans_of_one_outcome_only_they_are_too_few_to_tell():
    defaulted, champion, candidate = approvals(2000)
    for fair in (~defaulted, np.zeros(len(defaulted), bool)):
        found = {line.name: line for line in fair_lines(GATE, defaulted, candidate, champion, fair, "version 1")}
        assert set(found) == {"auc_difference", "auc_doubt"}
        assert not found["auc_doubt"].passed
        assert f"{int(fair.sum()):,} loans with 0 defaults are too few to tell" in found["auc_doubt"].note
    lax = msgspec.structs.replace(GATE, max_auc_doubt=1.0)
    assert all(line.passed for line in fair_lines(lax, defaulted, candidate, champion, ~defaulted, "version 1"))


def test_a_few_loans_that_somebody_else_approved_do_not_undo_it():
    found, flattered = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        risk = rng.normal(-2.2, 1.2, 8000)
        defaulted = rng.random(len(risk)) < expit(risk)
        champion, candidate, challenger = (expit(risk + rng.normal(0, 0.9, len(risk))) for _ in range(3))
        approved = np.where(rng.random(len(risk)) < 0.1, challenger, champion) <= 0.2
        own, others = candidate[approved], champion[approved]
        fair = both_would_approve(own, others, np.ones(len(own), bool), 0.2)
        found.append(auc_difference(defaulted[approved][fair], own[fair], others[fair]).estimate)
        flattered.append(auc_difference(defaulted[approved], own, others).estimate)
    assert np.mean(flattered) > 0.015
    assert abs(np.mean(found)) < 2 * np.std(found) / len(found) ** 0.5
