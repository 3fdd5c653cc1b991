"""The model in service: loaded when it is promoted, exchanged while requests go on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from feature_repo.errors import CandorError, UnavailableError
from feature_repo.home import Home
from services.scoring.arms import Challenge
from services.scoring.model import ScoringModel, assemble
from services.scoring.schemas import ModelName
from training.bundle import bundle_path, load_bundle, read_champion

_LOOK_EVERY = 1.0
_NO_MODEL = "no model is in service: run `candor train`, then `candor promote`"
_logger = logging.getLogger(__name__)

Load = Callable[[Home], ScoringModel]
LoadChallenge = Callable[[Home], Challenge | None]


def load_champion(home: Home) -> ScoringModel:
    """Load the bundle that the home's champion.json names.

    Raises
    ------
    UnavailableError
        If there is none, or it is damaged.
    InputError
        If its policy is wrong.
    """
    champion = read_champion(home)
    return load_model(home, champion.bundle, champion.version)


def load_challenge(home: Home) -> Challenge | None:
    """Load the challenger that the home's champion.json names, None if it names none; errors as for `load_champion`."""
    named = read_champion(home).challenger
    if named is None:
        return None
    return Challenge(named.experiment, named.share, load_model(home, named.bundle, named.version))


def load_model(home: Home, digest: str, version: str) -> ScoringModel:
    """Load a bundle of the home, verified against its digest.

    Parameters
    ----------
    digest : str
        ``sha256:<hex>``.
    version : str
        Registered version that it answers with.

    Raises
    ------
    UnavailableError
        If it is gone or damaged.
    InputError
        If its policy is wrong.
    """
    bundle = load_bundle(bundle_path(home, digest))
    if bundle.digest != digest:
        raise UnavailableError(f"bundle {bundle.path} is not the {digest} in service; promote again")
    name = ModelName(bundle.manifest.name, version, bundle.manifest.feature_service, bundle.digest)
    return assemble(name, bundle.contract, bundle.plan, bundle.policy, bundle.scorer, bundle.guard)


class ChampionFollower:
    """Give the model in service, looking for a new one at most once a second.

    A new model is loaded beside the old one, which goes on deciding until the new one is ready, and
    for good if the new one is broken.

    Parameters
    ----------
    load : callable
        Loads the home's champion; it may block.
    challenge : callable
        Loads its challenger, if there is one; whatever goes wrong there, the champion goes into service.
    """

    def __init__(self, home: Home, load: Load = load_champion, challenge: LoadChallenge = load_challenge) -> None:
        self._home = home
        self._load = load
        self._load_challenge = challenge
        self.challenge: Challenge | None = None
        """The challenger in service, as of the last `current`."""
        self.refused_challenger = ""
        """Why the challenger that is named is not in service; empty if it is, or none is named."""
        self._model: ScoringModel | None = None
        self._fault = _NO_MODEL
        self._mark: tuple[int, int] | None = None
        self._looks_at = 0.0
        self._loading: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> ScoringModel | None:
        """The model in service, without looking for a new one."""
        return self._model

    @property
    def refused(self) -> str:
        """Why the promoted model is not in service while the one before it goes on; empty if it is."""
        return self._fault if self._model is not None and self._fault != _NO_MODEL else ""

    async def current(self) -> ScoringModel:
        """Return the model in service.

        Raises
        ------
        UnavailableError
            If there is none, with what to do about it.
        """
        if time.monotonic() >= self._looks_at and (self._loading is None or self._loading.done()):
            self._looks_at = time.monotonic() + _LOOK_EVERY
            mark = self._look()
            if mark != self._mark:
                self._loading = asyncio.create_task(self._exchange(mark))
        if self._model is None and self._loading is not None:
            await asyncio.shield(self._loading)
        if self._model is None:
            raise UnavailableError(self._fault)
        return self._model

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._home.champion_path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    async def _exchange(self, mark: tuple[int, int] | None) -> None:
        try:
            model = await asyncio.to_thread(self._load, self._home)
            challenge = await asyncio.to_thread(self._challenger)
        except Exception as error:  # whatever is wrong with it, the old model goes on
            fault = str(error) if isinstance(error, CandorError) else "the promoted bundle cannot be loaded"
            if fault != self._fault:
                _logger.error("champion not taken into service: %s", fault, exc_info=not isinstance(error, CandorError))
            self._fault = fault
        else:
            self._model, self.challenge = model, challenge
            self._mark, self._fault = mark, _NO_MODEL
            _logger.info("in service: %s version %s", self._model.name.name, self._model.name.version)

    def _challenger(self) -> Challenge | None:
        self.refused_challenger = ""
        try:
            return self._load_challenge(self._home)
        except Exception as error:
            self.refused_challenger = str(error) if isinstance(error, CandorError) else "it cannot be loaded"
            _logger.error("challenger not taken into service: %s", error, exc_info=not isinstance(error, CandorError))
            return None
