"""Features that somebody vouches for though the leakage check accuses them: who, why, and of what they are accused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from training.leak import Leak

_SHOWN = 8  # characters of a run's ID


class Vouch(msgspec.Struct, frozen=True):
    """One person's word for one feature.

    Parameters
    ----------
    reason : str
    by : str
        Who says so; empty in records from before it was kept.
    run_id : str
        Run for which it was first said, where a retraining has it from the champion; empty in that run itself.
    accused : str
        What the check found in this run; empty where it found nothing, and in records from before it was kept.
    """

    reason: str
    by: str = ""
    run_id: str = ""
    accused: str = ""

    def told(self) -> str:
        """Return who vouches, why, since when and against what."""
        since = f", for run {self.run_id[:_SHOWN]} first" if self.run_id else ""
        against = f"accused: {self.accused}" if self.accused else "not accused this time"
        return f"{self.reason} (by {self.by or 'somebody unrecorded'}{since}{f'; {against}' if self.by else ''})"


def to_record(leaks: Sequence[Leak], given: Mapping[str, Vouch]) -> dict[str, Vouch]:
    """Return the words that count for a run, each with what it stands against.

    One given for a feature that is not accused does not count: nobody can vouch beforehand for what nobody has seen.
    One that the champion has was needed once, and stays though the check, which draws loans, finds nothing this time.
    """
    accused: dict[str, str] = {}
    for leak in leaks:
        accused.setdefault(leak.feature, leak.why)
    return {
        feature: msgspec.structs.replace(vouch, accused=accused.get(feature, ""))
        for feature, vouch in given.items()
        if feature in accused or vouch.run_id
    }
