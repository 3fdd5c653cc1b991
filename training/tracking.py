"""The only module that talks to MLflow: runs, registered versions and their aliases."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from alembic.util import CommandError

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own 7 take four minutes to find nobody there
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # of 120 s each a rollback would have to wait for three

import mlflow  # noqa: E402  the switches above are read on import
import mlflow.data  # noqa: E402
import mlflow.xgboost  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Run  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import infer_signature  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

if TYPE_CHECKING:
    import pandas as pd
    import xgboost

    from training.search import Trial

EXPERIMENT = "candor"
MODEL_NAME = "candor-pd"
CHAMPION, CHALLENGER, ARCHIVED = "champion", "challenger", "archived"
BUNDLE_ARTIFACT = "bundle"
REFERENCE_PROFILE = "reference_profile.bin"
_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"


class NotKept(UnavailableError):
    """MLflow answers, and does not have what was asked for: to ask again does not help."""


@dataclass(frozen=True)
class LoggedRun:
    """Where a training run was recorded.

    Parameters
    ----------
    run_id : str
        MLflow run.
    version : str
        Version of the registered model that has its bundle.
    """

    run_id: str
    version: str


class Tracking:
    """The MLflow store of one home.

    Parameters
    ----------
    home : Home
        Its MLflow URI is used; with the home's own SQLite store, artifacts go beside it.

    Raises
    ------
    UnavailableError
        From every method, if the store does not answer; `NotKept` if it has no such run or artifact.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        home.root.mkdir(parents=True, exist_ok=True)
        with self._errors():
            with _same_environment():  # MLflow would hand this home's URI to every other home of the process
                mlflow.set_tracking_uri(home.mlflow_uri)
                mlflow.set_registry_uri(home.mlflow_uri)
            self._client = MlflowClient(home.mlflow_uri, home.mlflow_uri)

    def check(self) -> None:
        """Return if the store answers, so that nobody computes for hours what cannot be recorded."""
        with self._errors():
            self._client.get_experiment_by_name(EXPERIMENT)

    def log_training(
        self,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        frame: pd.DataFrame,
        digest: str,
        booster: xgboost.Booster,
        sample: pd.DataFrame,
        artifacts: Path,
        bundle: Path,
        trials: Sequence[Trial] = (),
        standing: str = "",
    ) -> LoggedRun:
        """Record one training run and register its model.

        Parameters
        ----------
        frame : DataFrame
            The training frame; its schema and digest are recorded, not its rows.
        sample : DataFrame
            A few rows of the model matrix, for the signature; no row is kept.
        artifacts, bundle : Path
            Folders to keep with the run.
        trials : sequence of Trial
            What the search tried, each a run nested in this one.
        standing : str
            Version that has this very bundle and is in service: the run is tagged with it as ``nothing_new``, and no
            other version is registered.
        """
        with self._errors():
            with mlflow.start_run(experiment_id=self._experiment()) as run:
                for trial in trials:
                    with mlflow.start_run(
                        experiment_id=self._experiment(), run_name=f"trial-{trial.number}", nested=True
                    ):
                        mlflow.log_params(msgspec.to_builtins(trial.parameters))
                        mlflow.log_metrics({"held_out_loss": trial.loss, "rounds": trial.rounds})
                        mlflow.set_tags({"state": trial.state})
                mlflow.log_params(dict(params))
                mlflow.log_metrics(dict(metrics))
                mlflow.set_tags(dict(tags) | ({"nothing_new": standing} if standing else {}))
                data = mlflow.data.from_pandas(frame, name="training_frame", digest=digest.removeprefix("sha256:")[:36])
                mlflow.log_input(data, context="training")
                mlflow.log_artifacts(str(artifacts))
                mlflow.log_artifacts(str(bundle), BUNDLE_ARTIFACT)
                signature = infer_signature(sample, booster.inplace_predict(sample.to_numpy()))
                info = mlflow.xgboost.log_model(
                    booster,
                    name="model",
                    model_format="ubj",
                    signature=signature,
                    registered_model_name=None if standing else MODEL_NAME,
                    pip_requirements=["xgboost"],
                )
            return LoggedRun(run.info.run_id, standing or str(info.registered_model_version))

    def resolve(self, version: str | None) -> LoggedRun:
        """Return a registered version, the latest one if none is named.

        Raises
        ------
        InputError
            If there is no such version.
        """
        with self._errors():
            by_version = self._registered()
        if not by_version:
            raise UnavailableError("no model is registered: run `candor train` first")
        chosen = version or max(by_version, key=int)
        if chosen not in by_version:
            raise InputError(
                f"model version {chosen!r} is not registered (known: {', '.join(sorted(by_version, key=int))})"
            )
        return LoggedRun(by_version[chosen], chosen)

    def metrics(self, run_id: str) -> dict[str, float]:
        """Return the metrics of a run."""
        return dict(self._run(run_id).data.metrics)

    def download_bundle(self, run_id: str, folder: Path) -> Path:
        """Download the bundle of a run into `folder` and return its place; the caller verifies it."""
        folder.mkdir(parents=True, exist_ok=True)
        return self.download(run_id, BUNDLE_ARTIFACT, folder)

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Download one artifact of a run into `folder` and return its place."""
        self._run(run_id)
        with self._errors():
            try:
                return Path(self._client.download_artifacts(run_id, name, str(folder)))
            except MlflowException:  # which says of any fault that the artifact does not exist
                if any(item.path == name for item in self._client.list_artifacts(run_id)):
                    raise
        raise NotKept(self._said(f"run {run_id} has no {name}"))

    def params(self, run_id: str) -> dict[str, str]:
        """Return the parameters of a run."""
        return dict(self._run(run_id).data.params)

    def tags(self, run_id: str) -> dict[str, str]:
        """Return the tags of a run."""
        return dict(self._run(run_id).data.tags)

    def set_champion(self, version: str, *, archived: str = "") -> None:
        """Give a version the alias ``champion``, and the one before it ``archived``; the challenger loses its own.

        Parameters
        ----------
        archived : str
            Version that was champion; empty, or not known to this MLflow, leaves that alias alone.
        """
        with self._errors():
            if archived in self._registered():
                self._client.set_registered_model_alias(MODEL_NAME, ARCHIVED, archived)
            self._client.set_registered_model_alias(MODEL_NAME, CHAMPION, version)
        self.set_challenger(None)

    def set_challenger(self, version: str | None) -> None:
        """Give a version the alias ``challenger``, or take it away."""
        with self._errors():
            if version is not None:
                self._client.set_registered_model_alias(MODEL_NAME, CHALLENGER, version)
            elif CHALLENGER in self._client.get_registered_model(MODEL_NAME).aliases:
                self._client.delete_registered_model_alias(MODEL_NAME, CHALLENGER)

    def tag_version(self, version: str, tags: Mapping[str, str]) -> None:
        """Write tags to a registered version; of one name, the last stays."""
        with self._errors():
            for name, value in tags.items():
                self._client.set_model_version_tag(MODEL_NAME, version, name, value)

    def _registered(self) -> dict[str, str]:
        found = self._client.search_model_versions(f"name = '{MODEL_NAME}'")
        return {str(item.version): str(item.run_id) for item in found}

    def _run(self, run_id: str) -> Run:
        with self._errors():
            try:
                return self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != _NOT_THERE:
                    raise
        raise NotKept(self._said(f"there is no run {run_id}"))

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        own = None if self._home.mlflow_override else self._home.mlflow_artifacts.as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=own))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, SQLAlchemyError, CommandError, OSError) as error:
            cause = getattr(error, "orig", None) or error  # of what the database's driver says, without the statement
            first = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            if "Max retries exceeded" in first:
                first = "it does not answer"
            raise UnavailableError(self._said(first)) from None

    def _said(self, what: str) -> str:
        return _without_password(f"MLflow at {self._home.mlflow_uri}: {what}")


@contextmanager
def _same_environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//***@", text)
