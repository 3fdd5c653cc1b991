"""Who decides about people: promotion through the gate, and challenges of the champion.

The service follows ``champion.json``, which names champion and challenger. It is replaced once the bundle is in its
place; MLflow and monitoring follow, so that neither ever names a champion that is not in service. See
`training.switch` for what becomes of a command that is killed between.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from feature_repo.errors import GateError, InputError, UnavailableError
from feature_repo.home import Home
from training.bundle import Challenger, Champion, install, read_champion, write_champion
from training.judgement import DatasetOf, judged
from training.promotion_gate import DEFAULT_GATE, read_gate, refusals
from training.promotion_record import (
    CHANGES,
    Entry,
    about,
    append,
    begin,
    end,
    last_champion,
    now,
    read_record,
    same,
    signed,
)
from training.switch import follow, keep_reference, switching


class Refused(GateError):
    """A version crossed a line of the gate; the record holds the entry."""

    def __init__(self, message: str, entry: Entry) -> None:
        super().__init__(message)
        self.entry = entry


def promote(
    home: Home,
    version: str | None,
    *,
    dataset_of: DatasetOf | None,
    by: str = "",
    why: str = "",
    gate: Path = DEFAULT_GATE,
    uncompared: bool = False,
) -> Entry:
    """Put a registered version in service if it passes the gate, which ends a challenge.

    Parameters
    ----------
    home : Home
    version : str or None
        Registered version; None takes the latest.
    dataset_of : callable or None
        Gives the dataset of a run by its ID, where candidate and champion are compared. None where the home was filled
        anew, so that a champion is another portfolio's: it is not compared with, and the record says so.
    by, why : str
        Who approves it and why, for the record; `by` is the user of the operating system if nobody is named.
    gate : Path
        File of the lines to hold.
    uncompared : bool
        Whether the candidate is vouched for where the champion lost features that it reads, or is damaged past being
        compared with; needs `why`.

    Returns
    -------
    Entry
        With the outcome ``standing`` if it was champion already: bundle, aliases and monitoring are mended where
        need be, and nothing is recorded.

    Raises
    ------
    Refused
        If the candidate crosses a line; the champion stays.
    GateError
        If there is another champion than the one that the candidate was compared with.
    InputError
        If there is no such version, or the gate's file is wrong.
    UnavailableError
        If MLflow does not answer, or holds a damaged bundle.
    """
    began = now()
    signature = _vouched(signed(by, why), uncompared)
    lines, digest = read_gate(gate)
    champion = standing(home)
    with judged(home, version) as candidate:
        found = candidate.lines(home, champion, lines, dataset_of, uncompared=uncompared)
        entry = about(candidate.whom, "promote", champion, signature, at=began, gate=digest, lines=found)
        _require(home, entry, "promoted")
        with switching(home):
            _require_champion(home, champion, entry.version)
            install(home, candidate.bundle.path)
            keep_reference(home, entry.bundle, candidate.reference)
            if champion == candidate.whom and not _in_trouble(home):
                _mend(home, champion)
                return follow(home, msgspec.structs.replace(entry, outcome="standing"))
            begin(home, entry)
            write_champion(home, candidate.whom)
            entry = follow(home, entry)
            end(home, entry)
    return entry


def challenge(
    home: Home,
    version: str,
    *,
    share: float,
    dataset_of: DatasetOf,
    experiment: str = "",
    by: str = "",
    why: str = "",
    gate: Path = DEFAULT_GATE,
    uncompared: bool = False,
) -> Entry:
    """Let a registered version challenge the champion; other parameters as for `promote`.

    Parameters
    ----------
    share : float
        Share of applicants that it decides on, 0..1; with 0 it only looks on, and no gate is asked.
    experiment : str
        Name of the challenge; empty for ``<version>-against-<champion's version>``.

    Raises
    ------
    InputError
        If there is no such version, or it has the champion's own bundle.
    Refused
        If it is to decide and crosses a line.
    UnavailableError
        If there is no champion, MLflow does not answer, or a bundle is damaged.
    """
    began = now()
    signature = _vouched(signed(by, why), uncompared)
    lines, digest = read_gate(gate)
    champion = read_champion(home)
    with judged(home, version) as candidate:
        if candidate.bundle.digest == champion.bundle:
            raise InputError(
                f"version {candidate.run.version} has the champion's own bundle: there is nothing to compare"
            )
        entry = about(
            candidate.whom,
            "challenge",
            champion,
            signature,
            at=began,
            gate=digest if share else "",
            lines=candidate.lines(home, champion, lines, dataset_of, uncompared=uncompared) if share else (),
            experiment=experiment or f"{candidate.run.version}-against-{champion.version}",
            share=share,
        )
        _require(home, entry, "let decide")
        challenger = Challenger(
            bundle=entry.bundle,
            version=entry.version,
            run_id=entry.run_id,
            experiment=entry.experiment,
            share=share,
        )
        with switching(home):
            _require_champion(home, champion, entry.version)
            install(home, candidate.bundle.path)
            begin(home, entry)
            write_champion(home, msgspec.structs.replace(champion, challenger=challenger))
            entry = follow(home, entry)
            end(home, entry)
    return entry


def stop_challenge(home: Home, *, by: str = "", why: str = "") -> Entry | None:
    """End the challenge, whether or not MLflow answers, and return its entry; None if there was none."""
    signature = signed(by, why)
    with switching(home) as finished:
        champion = read_champion(home)
        ended = champion.challenger
        if ended is None:
            return finished if finished is not None and finished.action == "stop" else None
        entry = about(ended, "stop", champion, signature, experiment=ended.experiment, share=ended.share)
        begin(home, entry)
        write_champion(home, msgspec.structs.replace(champion, challenger=None))
        entry = follow(home, entry)
        end(home, entry)
    return entry


def _vouched(signature: tuple[str, str], uncompared: bool) -> tuple[str, str]:
    if uncompared and not signature[1]:
        raise InputError("--uncompared vouches for a version: say --why")
    return signature


def _mend(home: Home, champion: Champion) -> None:
    """Write champion.json again if it is damaged or gone, and the champion known from the record only."""
    try:
        read_champion(home)
    except UnavailableError:
        write_champion(home, champion)


def _in_trouble(home: Home) -> bool:
    """Return whether MLflow or monitoring has not followed the last change of the champion."""
    changes = [entry for entry in read_record(home) if entry.outcome == "done" and entry.action in CHANGES]
    return bool(changes and changes[-1].trouble)


def _require(home: Home, entry: Entry, done: str) -> None:
    reasons = refusals(entry.lines)
    if reasons:
        refused = msgspec.structs.replace(entry, outcome="refused")
        with switching(home):
            append(home, refused)
        raise Refused(f"version {entry.version} is not {done}: {'; '.join(reasons)}", refused)


def standing(home: Home) -> Champion | None:
    """Return the champion, by the record where champion.json is damaged or gone; None if none is known of."""
    try:
        return read_champion(home)
    except UnavailableError:
        return last_champion(home)


def _require_champion(home: Home, compared: Champion | None, version: str) -> None:
    found = standing(home)
    if (found is None) != (compared is None) or (found and compared and not same(found, compared)):
        raise GateError(f"the champion has changed while version {version} was compared with it: try again")
