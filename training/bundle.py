"""The bundle: all that a decision needs, as plain files with checksums. No pickle.

A bundle is a folder named by the SHA-256 of its manifest, which lists the SHA-256 of every file:

- ``model.ubj``: the native booster, for anyone who wants to reload it in XGBoost;
- ``explainer.npz``: tables that score and explain in one pass;
- ``contract.json``, ``plan.json``: features with their meaning, and where Redis keeps them;
- ``calibration.json``, ``columns.json``: raw log-odds to PD, features to model columns;
- ``guard.json``: the Great Expectations suite that each request's values are held against;
- ``policy.toml``: knock-outs, limits, prices;
- ``reference.npz``: the reference population that the reasons compare with;
- ``verified.npz``: applicants with the score and impacts that they must get again, or the bundle is not loaded.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from feature_repo.contract import Contract
from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home, write_atomically
from feature_repo.stores.plan import OnlinePlan
from training.columns import Column
from training.probability import Calibration
from training.reference_shap import ShapTables
from training.scorer import Scorer
from validation.guard import Guard
from validation.rules import request_suite

MANIFEST = "manifest.json"
FORMAT = 3
_WITHOUT_SUITE = 2  # bundles of this format are cited by records: their guard is what the contract says
_TOLERANCE = 1e-9  # log-odds; another processor may add in another order


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is made of.

    Parameters
    ----------
    name : str
        Registered model name.
    feature_service : str
        FeatureService whose contract the bundle holds.
    dataset_digest : str
        Digest of the frame that the model was trained on.
    files : dict of str to str
        File name to SHA-256 in hex.
    """

    format: int
    name: str
    feature_service: str
    dataset_digest: str
    files: dict[str, str]


class Challenger(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle challenges the champion.

    Parameters
    ----------
    experiment : str
        Name of the challenge.
    share : float
        Share of applicants that it decides on, 0..1; with 0 it only looks on.
    """

    bundle: str
    version: str
    run_id: str
    experiment: str
    share: Annotated[float, msgspec.Meta(ge=0, le=1)]


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle is in service, kept in ``champion.json``.

    Parameters
    ----------
    bundle : str
        Digest, ``sha256:<hex>``.
    version, run_id : str
        Registered model version and the MLflow run that made it.
    challenger : Challenger or None
        Who challenges it; a promotion ends the challenge.
    """

    bundle: str
    version: str
    run_id: str
    challenger: Challenger | None = None


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory."""

    digest: str
    path: Path
    manifest: Manifest
    contract: Contract
    plan: OnlinePlan
    policy: bytes
    guard: Guard
    scorer: Scorer


def write_bundle(
    folder: Path,
    *,
    name: str,
    dataset_digest: str,
    booster: bytes,
    contract: Contract,
    plan: OnlinePlan,
    policy: bytes,
    scorer: Scorer,
    reference: NDArray[np.float32],
    verified: NDArray[np.float32],
    guard: bytes | None = None,
) -> str:
    """Write a bundle into a new folder and return its digest.

    Parameters
    ----------
    folder : Path
        Folder to create; what was there is replaced.
    booster : bytes
        The booster as UBJSON.
    reference : ndarray of float32, shape (m, k)
        Reference population in model columns.
    verified : ndarray of float32, shape (v, k)
        Applicants in model columns whose score and impacts are stored to be compared at each loading.
    guard : bytes or None
        Suite of a request in Great Expectations' JSON; None is what the contract says, no more.

    Raises
    ------
    InputError
        If an expectation of the suite cannot be asked of one request. Nothing is written then.
    """
    guard = guard or msgspec.json.encode(request_suite(contract.features))
    Guard.of_json(guard)
    margin, impact = scorer.tables.explain(verified)
    files: dict[str, bytes] = {
        "model.ubj": booster,
        "explainer.npz": _npz(scorer.tables.arrays()),
        "reference.npz": _npz({"rows": reference}),
        "verified.npz": _npz({"rows": verified, "margin": margin, "impact": impact}),
        "contract.json": msgspec.json.encode(contract),
        "plan.json": msgspec.json.encode(plan),
        "columns.json": msgspec.json.encode(scorer.columns),
        "calibration.json": msgspec.json.encode(scorer.calibration),
        "guard.json": guard,
        "policy.toml": policy,
    }
    manifest = msgspec.json.encode(
        Manifest(
            format=FORMAT,
            name=name,
            feature_service=contract.service,
            dataset_digest=dataset_digest,
            files={file: hashlib.sha256(data).hexdigest() for file, data in sorted(files.items())},
        )
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    (folder / MANIFEST).write_bytes(manifest)
    return digest_of(manifest)


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle, every file checked against its checksum.

    Raises
    ------
    UnavailableError
        If a file is missing, damaged or of another format, or the stored applicants are scored otherwise
        than when the bundle was made.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
        manifest = msgspec.json.decode(raw, type=Manifest)
        if manifest.format not in (_WITHOUT_SUITE, FORMAT):
            raise UnavailableError(
                f"bundle {folder} has format {manifest.format}, this program reads {_WITHOUT_SUITE} and {FORMAT}"
            )
        data = {file: (folder / file).read_bytes() for file in manifest.files}
        for file, content in data.items():
            if hashlib.sha256(content).hexdigest() != manifest.files[file]:
                raise UnavailableError(f"bundle {folder}: {file} does not match its checksum; promote again")
        scorer = Scorer(
            msgspec.json.decode(data["columns.json"], type=tuple[Column, ...]),
            ShapTables.from_arrays(_arrays(data["explainer.npz"])),
            msgspec.json.decode(data["calibration.json"], type=Calibration),
        )
        _verify(scorer, _arrays(data["verified.npz"]), folder)
        contract = msgspec.json.decode(data["contract.json"], type=Contract)
        has_suite = manifest.format != _WITHOUT_SUITE
        return Bundle(
            digest=digest_of(raw),
            path=folder,
            manifest=manifest,
            contract=contract,
            plan=msgspec.json.decode(data["plan.json"], type=OnlinePlan),
            policy=data["policy.toml"],
            guard=Guard.of_json(data["guard.json"]) if has_suite else Guard(contract.features),
            scorer=scorer,
        )
    except (OSError, KeyError, ValueError, msgspec.MsgspecError, InputError) as error:
        raise UnavailableError(f"bundle {folder} cannot be read ({error}); promote again") from None


def _verify(scorer: Scorer, stored: dict[str, NDArray[Any]], folder: Path) -> None:
    margin, impact = scorer.tables.explain(stored["rows"])
    worst = max(np.max(np.abs(margin - stored["margin"])), np.max(np.abs(impact - stored["impact"])))
    if not worst <= _TOLERANCE:
        raise UnavailableError(f"bundle {folder} scores otherwise than when it was made (by {worst:.2e} log-odds)")


def install(home: Home, folder: Path) -> Path:
    """Copy a verified bundle to its place in the home, in one step, and return that place."""
    digest = load_bundle(folder).digest
    place = bundle_path(home, digest)
    if not _is_sound(place):
        shutil.rmtree(place, ignore_errors=True)
        partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            shutil.copytree(folder, partial)
            partial.replace(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # half a bundle, where the disk is full
    return place


def _is_sound(place: Path) -> bool:
    try:
        load_bundle(place)
    except UnavailableError:
        return False
    return True


def bundle_path(home: Home, digest: str) -> Path:
    """Return the folder of the bundle with this digest."""
    return home.bundles / digest.removeprefix("sha256:")


def write_champion(home: Home, champion: Champion) -> None:
    """Point the home at a bundle, in one step; a running service follows."""
    write_atomically(home.champion_path, msgspec.json.format(msgspec.json.encode(champion)))


def read_champion(home: Home) -> Champion:
    """Read which bundle is in service.

    Raises
    ------
    UnavailableError
        If no model was promoted yet, or the file is damaged.
    """
    try:
        return msgspec.json.decode(home.champion_path.read_bytes(), type=Champion)
    except FileNotFoundError:
        raise UnavailableError("no model is in service: run `candor train`, then `candor promote`") from None
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"{home.champion_path} is damaged ({error}); promote again") from None


def digest_of(data: bytes) -> str:
    """Return ``sha256:<hex>`` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
