"""The cutoff that earns most, put into the copy of the policy that goes into a bundle."""

from __future__ import annotations

import re

from feature_repo.errors import InputError
from services.scoring.policy import load_policy

_DIGITS = 4  # of a PD; finer than any portfolio tells


def with_cutoff(policy: bytes, cutoff: float) -> bytes:
    """Return the text of a policy with another cutoff and the review band as wide as before.

    The version says so, since another cutoff is another policy.

    Parameters
    ----------
    policy : bytes
        TOML.
    cutoff : float
        Highest PD to be approved, 0..1.

    Raises
    ------
    InputError
        If the text does not name the two limits once each, or is no policy with the new ones.
    """
    before = load_policy(policy)
    approve = rounded(cutoff)
    decline = round(min(approve + before.cutoff.decline_above_pd - before.cutoff.approve_max_pd, 1.0), _DIGITS)
    text = policy.decode()
    for name, value in (
        ("approve_max_pd", repr(approve)),
        ("decline_above_pd", repr(decline)),
        ("version", f'"{before.version}+cutoff-{approve}"'),
    ):
        text, count = re.subn(rf"(?m)^{name} *=.*$", f"{name} = {value}", text)
        if count != 1:
            raise InputError(f"the policy names {name} {count} times at the start of a line: it should be once")
    changed = text.encode()
    load_policy(changed)
    return changed


def rounded(cutoff: float) -> float:
    """Return a PD as a policy states it."""
    return round(cutoff, _DIGITS)
