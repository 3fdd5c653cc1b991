import msgspec
import pytest

from feature_repo.errors import GateError
from training.leak import Leak
from training.leakage import require_no_leak
from training.promotion_gate import vouched_line
from training.recipe import Recipe
from training.vouching import Vouch, to_record

LEAK = Leak("fees", "alone", 0.97, 0.96, 0.85, "its AUC alone is 0.97")
ANA = Vouch("charged at the application", "Ana")


def test_a_word_counts_only_for_what_is_accused():
    given = {"fees": ANA, "age": Vouch("just in case", "Bo")}
    require_no_leak([LEAK], given)
    assert to_record([LEAK], given) == {"fees": Vouch("charged at the application", "Ana", "", "its AUC alone is 0.97")}
    assert to_record([], given) == {}
    with pytest.raises(GateError, match="fees: its AUC alone"):
        require_no_leak([LEAK], {"age": ANA})


def test_a_word_that_the_champion_has_stays_and_says_that_nothing_was_found_this_time():
    (word,) = to_record([], {"fees": msgspec.structs.replace(ANA, run_id="0123456789ab", accused="before")}).values()
    assert word.told() == "charged at the application (by Ana, for run 01234567 first; not accused this time)"


def test_a_record_of_reasons_only_is_still_read():
    recipe = msgspec.json.decode(OLD, type=Recipe)
    assert recipe.vouched == {"fees": Vouch("it is known before")}
    assert recipe.vouched["fees"].told() == "it is known before (by somebody unrecorded)"
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe


def test_whoever_approves_sees_who_vouches_for_what():
    line = vouched_line(to_record([LEAK], {"fees": ANA}))
    assert (line.name, line.value, line.passed) == ("vouched_features", 1, True)
    told = "charged at the application (by Ana; accused: its AUC alone is 0.97)"
    assert line.note == f"fees is vouched for: {told}"
    assert (vouched_line({}).value, vouched_line({}).note) == (0, "")


OLD = b"""{"feature_service": "s", "as_of": "2025-01-01T00:00:00Z", "oot_start": "2024-01-01T00:00:00Z",
"performance_months": 6, "seed": 7, "trials": 0, "parameters": {}, "rounds": 10, "cutoff_rule": "policy", "cutoff": 0.2,
"dataset_digest": "sha256:0", "model_digest": "sha256:1", "query": "", "packages": {},
"sound": {"fees": "it is known before"}}"""
