import sqlite3

import msgspec
import numpy as np
import pytest
from optuna.distributions import IntDistribution

from feature_repo.errors import InputError, UnavailableError
from tests.unit.training.conftest import sample
from training.folds import expanding_folds
from training.model import Parameters
from training.search import choose

FEW = Parameters(max_rounds=40)


def when(n):
    return np.arange(n).astype("M8[h]")


def searched(columns, tmp_path, **more):
    x, y = sample(1000, 1)
    options = {"parameters": FEW, "seed": 7, "trials": 9, "storage": tmp_path / "search.db", "study": "one"} | more
    return choose(columns, x, y, when(1000), **options)


def outcome(chosen):
    return [(trial.state, trial.loss, trial.rounds, trial.parameters) for trial in chosen.trials]


def test_folds_expand_and_never_learn_from_what_comes_later():
    decided = when(1000) + np.random.default_rng(0).integers(0, 5, 1000)
    folds = expanding_folds(decided, np.arange(1000) % 7 == 0, 4)
    assert [len(fold.later) for fold in folds] == pytest.approx([200] * 4, abs=8)
    for before, fold in zip((None, *folds), folds, strict=False):
        assert decided[fold.earlier].max() < decided[fold.later].min()
        if before is not None:
            assert set(before.earlier) | set(before.later) == set(fold.earlier)


def test_loans_of_one_instant_are_never_parted():
    decided = np.repeat(when(12), 100)
    for fold in expanding_folds(decided, np.arange(1200) % 7 == 0, 4):
        assert not set(decided[fold.earlier]) & set(decided[fold.later])


def test_folds_without_both_outcomes_are_left_out_and_none_at_all_is_refused():
    late = np.arange(1000) >= 500
    late[::2] = False
    assert len(expanding_folds(when(1000), late, 4)) == 2
    with pytest.raises(InputError, match="move --oot-start"):
        expanding_folds(when(1000), np.zeros(1000, bool), 4)


def test_the_same_seed_searches_alike_and_another_otherwise(columns, tmp_path):
    first, second = searched(columns, tmp_path), searched(columns, tmp_path, storage=None)
    assert outcome(first) == outcome(second)
    assert outcome(first) != outcome(searched(columns, tmp_path, seed=8, study="other"))


def test_the_given_parameters_are_tried_first_and_the_best_is_chosen(columns, tmp_path):
    chosen = searched(columns, tmp_path)
    assert chosen.trials[0].parameters == FEW
    complete = [trial for trial in chosen.trials if trial.state == "complete"]
    assert chosen.loss == min(trial.loss for trial in complete) <= chosen.trials[0].loss
    assert {trial.state for trial in chosen.trials} == {"complete", "pruned"}


def test_an_interrupted_search_goes_on_and_ends_as_if_it_had_not_been(columns, tmp_path, monkeypatch):
    whole = searched(columns, tmp_path, study="whole")
    import training.search as search

    real, calls = search.held_out_loss, []

    def dies_in_the_fourth(*words):
        calls.append(words)
        for number, held in enumerate(real(*words)):
            if len(calls) == 4 and number == 1:
                raise KeyboardInterrupt
            yield held

    with monkeypatch.context() as patched:
        patched.setattr(search, "held_out_loss", dies_in_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            searched(columns, tmp_path)
    assert outcome(searched(columns, tmp_path)) == outcome(whole)


def test_a_longer_search_of_before_does_not_change_a_shorter_one(columns, tmp_path):
    short = searched(columns, tmp_path, trials=3)
    searched(columns, tmp_path, trials=9)
    assert outcome(searched(columns, tmp_path, trials=3)) == outcome(short)


def test_any_seed_is_one_and_no_time_is_enough_for_the_first(columns, tmp_path):
    chosen = searched(columns, tmp_path, seed=20_261_124, trials=2, timeout=0.0)
    assert [trial.parameters for trial in chosen.trials] == [FEW]


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + bytes(84)], ids=["text", "head"])
def test_a_damaged_study_is_one_line_that_names_its_file(columns, tmp_path, content):
    (tmp_path / "search.db").write_bytes(content * 50)
    with pytest.raises(UnavailableError, match=r"search\.db .*move the file aside") as told:
        searched(columns, tmp_path, trials=1)
    assert "\n" not in str(told.value)
    (tmp_path / "search.db").unlink()
    assert len(searched(columns, tmp_path, trials=1).trials) == 1


def test_a_study_that_cannot_be_written_is_one_line_too(columns, tmp_path):
    with pytest.raises(UnavailableError, match=r"none.search\.db "):
        searched(columns, tmp_path, storage=tmp_path / "none" / "search.db")


def test_a_trial_that_lost_its_record_is_tried_again(columns, tmp_path):
    first = searched(columns, tmp_path, trials=1)
    with sqlite3.connect(tmp_path / "search.db") as study:
        study.execute("delete from trial_intermediate_values")
    assert outcome(searched(columns, tmp_path, trials=1)) == outcome(first)


def test_another_space_is_another_search(columns, tmp_path, monkeypatch):
    import training.search as search

    before = searched(columns, tmp_path, trials=2)
    monkeypatch.setitem(search._SPACE, "max_depth", IntDistribution(5, 6))
    after = searched(columns, tmp_path, trials=2, parameters=msgspec.structs.replace(FEW, max_depth=5))
    assert [trial.parameters.max_depth >= 5 for trial in before.trials + after.trials] == [False] * 2 + [True] * 2


def test_without_trials_only_the_rounds_are_chosen(columns):
    x, y = sample(1000, 1)
    chosen = choose(columns, x, y, when(1000), parameters=FEW, seed=7)
    assert (chosen.parameters, chosen.trials) == (FEW, ())
    assert 1 <= chosen.rounds <= 40
