"""The promotion gate: what a candidate must show before it may decide about people."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from feature_repo.errors import GateError, InputError
from feature_repo.home import Home, write_atomically
from training.bundle import Bundle, Challenger, Champion, install, load_bundle, read_champion, write_champion
from training.tracking import REFERENCE_PROFILE, LoggedRun, Tracking


class PromotionGate(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that a candidate's out-of-time metrics must not cross.

    Parameters
    ----------
    min_oot_auc : float
        Below it the model hardly ranks at all.
    max_oot_ece : float
        Above it the PD, and so the price, is wrong on average by more than this.
    """

    min_oot_auc: float = 0.60
    max_oot_ece: float = 0.10

    def check(self, metrics: dict[str, float]) -> list[str]:
        """Return why a candidate is refused; an empty list means that it may go on.

        Examples
        --------
        >>> PromotionGate().check({"oot_auc": 0.55, "oot_ece": 0.02})
        ['oot_auc 0.550 is below 0.6']
        """
        refusals: list[str] = []
        for metric in ("oot_auc", "oot_ece"):
            if metric not in metrics:
                refusals.append(f"{metric} was not recorded")
        if metrics.get("oot_auc", 1.0) < self.min_oot_auc:
            refusals.append(f"oot_auc {metrics['oot_auc']:.3f} is below {self.min_oot_auc}")
        if metrics.get("oot_ece", 0.0) > self.max_oot_ece:
            refusals.append(f"oot_ece {metrics['oot_ece']:.3f} is above {self.max_oot_ece}")
        return refusals


def promote(home: Home, version: str | None, gate: PromotionGate | None = None) -> tuple[LoggedRun, Bundle]:
    """Put a registered version in service if it passes the gate.

    The order leaves nothing half-done: the bundle is verified and installed first, then the alias
    moves, then monitoring's reference and at last the service follow.

    Parameters
    ----------
    home : Home
    version : str or None
        Registered version; None takes the latest.
    gate : PromotionGate or None
        Lines to hold; None takes the defaults.

    Raises
    ------
    GateError
        If the candidate crosses a line; the champion stays.
    """
    tracking = Tracking(home)
    run = tracking.resolve(version)
    _require(tracking, run, gate, "promoted")
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        place = install(home, tracking.download_bundle(run.run_id, Path(folder)))
        reference = tracking.download(run.run_id, REFERENCE_PROFILE, Path(folder)).read_bytes()
    bundle = load_bundle(place)
    tracking.set_champion(run.version)
    write_atomically(home.profiles / "training.bin", reference)
    write_champion(home, Champion(bundle=bundle.digest, version=run.version, run_id=run.run_id))
    return run, bundle


def challenge(
    home: Home, version: str, *, share: float, experiment: str = "", gate: PromotionGate | None = None
) -> tuple[Champion, Bundle]:
    """Let a registered version challenge the champion.

    Parameters
    ----------
    share : float
        Share of applicants that it decides on, 0..1; with 0 it only looks on.
    experiment : str
        Name of the challenge; empty for ``<version>-against-<champion's version>``.
    gate : PromotionGate or None
        Lines that it must hold if it is to decide on anybody; None takes the defaults.

    Raises
    ------
    InputError
        If there is no such version, or it is the champion itself.
    GateError
        If it is to decide and crosses a line.
    UnavailableError
        If there is no champion, or a bundle is damaged.
    """
    champion = read_champion(home)
    tracking = Tracking(home)
    run = tracking.resolve(version)
    if share > 0:
        _require(tracking, run, gate, "let decide")
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        bundle = load_bundle(install(home, tracking.download_bundle(run.run_id, Path(folder))))
    if bundle.digest == champion.bundle:
        raise InputError(f"version {run.version} has the champion's own bundle: there is nothing to compare")
    challenger = Challenger(
        bundle=bundle.digest,
        version=run.version,
        run_id=run.run_id,
        experiment=experiment or f"{run.version}-against-{champion.version}",
        share=share,
    )
    challenged = msgspec.structs.replace(champion, challenger=challenger)
    write_champion(home, challenged)
    return challenged, bundle


def stop_challenge(home: Home) -> Challenger | None:
    """End the challenge, if there is one, and return who challenged."""
    champion = read_champion(home)
    if champion.challenger is not None:
        write_champion(home, msgspec.structs.replace(champion, challenger=None))
    return champion.challenger


def _require(tracking: Tracking, run: LoggedRun, gate: PromotionGate | None, done: str) -> None:
    refusals = (gate or PromotionGate()).check(tracking.metrics(run.run_id))
    if refusals:
        raise GateError(f"version {run.version} is not {done}: {'; '.join(refusals)}")
