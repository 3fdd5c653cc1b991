"""The steps by which a champion is changed, each of which may be the last that a killed command did.

What is to be done is noted first and recorded last. In between ``champion.json`` is replaced, which is what the running
service follows: whether it names what was noted tells if a command that was killed took effect.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from feature_repo.errors import CandorError, UnavailableError
from feature_repo.home import Home, write_atomically
from feature_repo.portfolios.swap import undisturbed
from training.bundle import read_champion
from training.promotion_record import CHANGES, Entry, end, under_way
from training.tracking import REFERENCE_PROFILE, Tracking


@contextmanager
def switching(home: Home) -> Iterator[Entry | None]:
    """Have the champion to oneself, and yield what a command that was killed had left to be finished.

    Raises
    ------
    UnavailableError
        If the home cannot be written.
    """
    try:
        with undisturbed(home.champion_path):
            yield _finish(home)
    except shutil.Error as error:  # of each file of a folder: source, target and why
        raise UnavailableError(f"{home.root} cannot be written: {error.args[0][0][-1]}") from None
    except OSError as error:
        raise UnavailableError(f"{home.root} cannot be written: {error.strerror or error}") from None


def follow(home: Home, entry: Entry) -> Entry:
    """Let monitoring and MLflow follow the service, as far as they can, and return the entry with what could not."""
    trouble = []
    for step in (use_reference, tell_mlflow):
        try:
            step(home, entry)
        except CandorError as error:
            trouble.append(str(error))
        except OSError as error:
            trouble.append(f"{home.profiles} cannot be written: {error.strerror or error}")
    if not trouble:
        return entry
    again = f"; `candor rollback --to {entry.version}` tries again" if entry.action in CHANGES else ""
    return msgspec.structs.replace(entry, trouble="; ".join(trouble) + again)


def tell_mlflow(home: Home, entry: Entry) -> None:
    """Move the aliases of the registered model as an entry says, and sign the version that it promotes.

    Raises
    ------
    UnavailableError
        If MLflow does not answer.
    """
    tracking = Tracking(home)
    if entry.action == "challenge":
        tracking.set_challenger(entry.version)
    elif entry.action == "stop":
        tracking.set_challenger(None)
    else:
        if entry.action == "promote" and entry.outcome == "done":
            approved = {"by": entry.by, "why": entry.why, "at": entry.at.isoformat()}
            tags = {f"approved_{name}": text for name, text in approved.items()}
            tracking.tag_version(entry.version, tags | {"gate_digest": entry.gate, "bundle": entry.bundle})
        previous = entry.previous.version if entry.previous else ""
        tracking.set_champion(entry.version, archived=previous if previous != entry.version else "")


def keep_reference(home: Home, bundle: str, profile: bytes) -> None:
    """Keep the profile of what a bundle was trained on, so that a rollback finds it without MLflow."""
    write_atomically(_reference(home, bundle), profile)


def use_reference(home: Home, entry: Entry) -> None:
    """Let drift be measured from what the champion was trained on; a challenge changes nothing there.

    Raises
    ------
    UnavailableError
        If its profile is neither kept here nor to be had from MLflow.
    """
    if entry.action not in CHANGES:
        return
    kept = _reference(home, entry.bundle)
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="candor-") as folder:
            found = Tracking(home).download(entry.run_id, REFERENCE_PROFILE, Path(folder))
            keep_reference(home, entry.bundle, found.read_bytes())
    write_atomically(home.profiles / "training.bin", kept.read_bytes())


def _finish(home: Home) -> Entry | None:
    begun = under_way(home)
    if begun is None:
        return None
    if not _took_effect(home, begun):
        end(home, msgspec.structs.replace(begun, outcome="cut off"))  # and nothing else had been done
        return None
    done = follow(home, begun)
    end(home, done)
    return done


def _took_effect(home: Home, begun: Entry) -> bool:
    try:
        champion = read_champion(home)
    except UnavailableError:
        return False
    if begun.action == "stop":
        return champion.challenger is None
    if begun.action == "challenge":
        found = champion.challenger
        return found is not None and (found.version, found.experiment) == (begun.version, begun.experiment)
    return (champion.version, champion.bundle) == (begun.version, begun.bundle)


def _reference(home: Home, bundle: str) -> Path:
    return home.profiles / "references" / f"{bundle.removeprefix('sha256:')}.bin"
