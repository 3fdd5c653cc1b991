import numpy as np
import pytest

from feature_repo.errors import InputError
from services.cutoff import with_cutoff
from services.economics import economics_of
from services.scoring.policy import DEFAULT_POLICY, load_policy

TEXT = DEFAULT_POLICY.read_bytes()


def test_another_cutoff_keeps_the_review_bands_width_and_says_so_in_the_version():
    before, after = load_policy(TEXT), load_policy(with_cutoff(TEXT, 0.123456))
    assert after.cutoff.approve_max_pd == 0.1235
    width = before.cutoff.decline_above_pd - before.cutoff.approve_max_pd
    assert after.cutoff.decline_above_pd == pytest.approx(0.1235 + width)
    assert after.version == f"{before.version}+cutoff-0.1235"


def test_nothing_else_of_the_policy_changes():
    lines = zip(TEXT.decode().splitlines(), with_cutoff(TEXT, 0.1).decode().splitlines(), strict=True)
    changed = [old.split("=")[0].strip() for old, new in lines if old != new]
    assert changed == ["version", "approve_max_pd", "decline_above_pd"]


def test_a_policy_whose_limit_is_not_found_is_refused():
    indented = TEXT.replace(b"\napprove_max_pd", b"\n  approve_max_pd")
    assert load_policy(indented) == load_policy(TEXT)
    with pytest.raises(InputError, match="approve_max_pd 0 times"):
        with_cutoff(indented, 0.1)


def test_gain_and_loss_of_a_loan_by_hand():
    policy = load_policy(TEXT)
    found = economics_of(policy, np.array([3500.0, np.nan, 0.01]), np.array([12.0, 12.0, 60.0]), np.array([0.03] * 3))
    # 8.99 % over 12 months: finance charge 172.76, less 4 % a year on the balance owed each month
    assert found.gain_if_good[0] == pytest.approx(95.89, abs=0.005)
    assert found.loss_if_bad[0] == pytest.approx(3500 * 0.65 * 0.60)
    assert found.gain_if_good[1:].tolist() == found.loss_if_bad[1:].tolist() == [0.0, 0.0]


def test_an_unknown_term_is_the_policys_default():
    policy = load_policy(TEXT)
    unknown, stated = (economics_of(policy, np.array([900.0]), np.array([t]), np.array([0.1])) for t in (np.nan, 12.0))
    assert unknown.gain_if_good == stated.gain_if_good
