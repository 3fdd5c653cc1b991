"""A registered version before the gate: fetched and verified, measured, and compared with the champion."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import GateError, InputError, UnavailableError
from feature_repo.home import Home
from training.bundle import Bundle, Champion, bundle_path, load_bundle
from training.promotion_checks import bundle_lines, comparison_lines
from training.promotion_gate import GateLine, PromotionGate, fairness_lost_line, metric_lines, vouched_line
from training.recipe import Recipe, read_recipe
from training.tracking import REFERENCE_PROFILE, LoggedRun, NotKept, Tracking

if TYPE_CHECKING:  # it imports Feast, which is needed only where there is a champion to compare with
    from training.dataset import Dataset

DatasetOf = Callable[[str], "Dataset"]


@dataclass(frozen=True)
class Judged:
    """A registered version that may come into service.

    Parameters
    ----------
    bundle : Bundle
        Verified, in a folder that goes away.
    reference : bytes
        Profile of the loans that it was trained on.
    recipe : Recipe
        Of its run.
    """

    tracking: Tracking
    run: LoggedRun
    bundle: Bundle
    reference: bytes
    recipe: Recipe

    @property
    def whom(self) -> Champion:
        """What `champion.json` would say of it."""
        return Champion(bundle=self.bundle.digest, version=self.run.version, run_id=self.run.run_id)

    def lines(
        self,
        home: Home,
        champion: Champion | None,
        gate: PromotionGate,
        dataset_of: DatasetOf | None,
        *,
        uncompared: bool = False,
    ) -> tuple[GateLine, ...]:
        """Return what the gate says of it, alone and against the champion; see `comparison_lines` for `uncompared`."""
        alone = metric_lines(gate, self.tracking.metrics(self.run.run_id)) + bundle_lines(gate, self.bundle)
        alone.append(vouched_line(self.recipe.vouched))
        if champion is not None and dataset_of is not None:
            alone.append(self._fairness_lost(champion, gate))
        return tuple(alone + self._against(home, champion, gate, dataset_of, uncompared))

    def _against(
        self,
        home: Home,
        champion: Champion | None,
        gate: PromotionGate,
        dataset_of: DatasetOf | None,
        uncompared: bool,
    ) -> list[GateLine]:
        """Compare with the champion, where there is one that can still score: a damaged one must be replaceable."""
        if champion is None:
            if home.champion_path.exists() and dataset_of is not None:
                damaged = f"{home.champion_path} is damaged, and the record knows of no champion: restore either"
                return _champion_line(_vouchable(damaged, uncompared), passed=uncompared)
            return _champion_line("there is no champion to compare with")
        name = f"version {champion.version}"
        if champion.bundle == self.bundle.digest:
            return _champion_line(f"the same bundle as that of {name}, the champion")
        if dataset_of is None:
            return _champion_line(f"not compared with {name}, which is of the portfolio before")
        aside = ""
        try:
            standing = load_bundle(bundle_path(home, champion.bundle))
        except UnavailableError as error:
            kept = self._of_mlflow(champion)
            if kept is None:
                damaged = f"not compared with {name}, which is damaged here and not whole in MLflow: {error}"
                return _champion_line(_vouchable(damaged, uncompared), passed=uncompared)
            standing, aside = kept, f"; {name} is damaged here, so MLflow's was compared with: {error}"
        try:
            dataset = dataset_of(self.run.run_id)
        except (GateError, InputError) as error:
            return _champion_line(f"cannot be compared with {name}: {error}", passed=False)
        if dataset.digest != self.bundle.manifest.dataset_digest:
            changed = "the loans are not those that it was trained on: train again"
            return _champion_line(f"cannot be compared with {name}: {changed}", passed=False)
        aside += self._head_start(champion, dataset)
        models, cutoff = (self.bundle.scorer, standing.scorer), self.recipe.cutoff
        return comparison_lines(gate, dataset, *models, name, aside, cutoff=cutoff, uncompared=uncompared)

    def _fairness_lost(self, champion: Champion, gate: PromotionGate) -> GateLine:
        name = f"version {champion.version}"
        try:
            champions = self.tracking.metrics(champion.run_id)
        except NotKept:  # it was trained with another MLflow
            return GateLine("fairness_lost", None, gate.max_attributes_lost, True, f"MLflow has no run of {name}")
        return fairness_lost_line(gate, self.tracking.metrics(self.run.run_id), champions, name)

    def _of_mlflow(self, champion: Champion) -> Bundle | None:
        """Return the champion's bundle as MLflow keeps it; None if it does not, or keeps another.

        Raises
        ------
        UnavailableError
            If MLflow may keep it and does not give it: the next attempt may compare.
        """
        with tempfile.TemporaryDirectory(prefix="candor-") as folder:
            try:
                place = self.tracking.download_bundle(champion.run_id, Path(folder))
            except NotKept:
                return None
            except UnavailableError as error:
                damaged = f"version {champion.version} is damaged here and cannot be had from MLflow to compare with"
                raise UnavailableError(f"{damaged}: {error}: try again") from None
            try:
                found = load_bundle(place)
            except UnavailableError:
                return None
        return found if found.digest == champion.bundle else None

    def _head_start(self, champion: Champion, dataset: Dataset) -> str:
        """Tell if the champion was fitted on some of the loans that it is compared on, which speaks for it."""
        try:
            start = self.tracking.params(champion.run_id).get("oot_start", "")
        except NotKept:  # another MLflow than when it was trained
            return ""
        if start and datetime.fromisoformat(start) > dataset.oot_start:
            return f"; version {champion.version} was fitted on those before {start[:10]}"
        return ""


@contextmanager
def judged(home: Home, version: str | None) -> Iterator[Judged]:
    """Fetch a registered version from MLflow and verify its bundle.

    Parameters
    ----------
    version : str or None
        None takes the latest.

    Raises
    ------
    InputError
        If there is no such version.
    UnavailableError
        If MLflow does not answer, or holds a damaged bundle.
    """
    tracking = Tracking(home)
    run = tracking.resolve(version)
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        bundle = load_bundle(tracking.download_bundle(run.run_id, Path(folder)))
        if tracking.tags(run.run_id).get("bundle_digest", bundle.digest) != bundle.digest:
            raise UnavailableError(
                f"MLflow holds another bundle for version {run.version} than the one that its run made: train again"
            )
        reference = tracking.download(run.run_id, REFERENCE_PROFILE, Path(folder)).read_bytes()
        yield Judged(tracking, run, bundle, reference, read_recipe(tracking, run.run_id))


def _vouchable(note: str, uncompared: bool) -> str:
    return note + ("; vouched for" if uncompared else ", or vouch by --uncompared and say --why")


def _champion_line(note: str, *, passed: bool = True) -> list[GateLine]:
    return [GateLine("champion", None, None, passed, note)]
