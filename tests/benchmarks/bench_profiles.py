"""Profiles of logged decisions: how fast, in how much memory, beside a service under load; and false alarms of drift.

- decisions of 25 columns from a log to profiles by hour and day, 100,000 and 1,000,000 at 20,800 an hour, and 100,000
  at 5,000 a day, of which each hour is ten small profiles; of days long ago only the days are kept;
- `candor profile` and `candor performance` of a whole log;
- whylogs alone on frames of the same columns that are in memory already;
- decisions per second with a profiling run going on beside, over those without (needs ``wrk``);
- 200 days of 5,000 decisions of a simulated lender without a shift, and days on which three features have moved by a
  standard deviation.

python -m tests.benchmarks profiles
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitoring.decision_log import DecisionLog
from tests.benchmarks import many_decisions
from tests.benchmarks.demo_home import CANDOR, PROJECT, a_demo_home

DAY = timedelta(days=1)
LATELY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 21 * DAY
LONG_AGO = LATELY - 200 * DAY
FEW, MANY = 100_000, 1_000_000
QUIET_DAYS, LOUD_DAYS, A_DAY = 200, 10, 5_000
APPLICANTS, TRAINED, SHIFT = 30_000, datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
A_YEAR = 365 * DAY
ROUNDS, SECONDS = 5, 5
UPDATE = """
import json, resource, sys, time
from feature_repo.home import Home
from monitoring import profile_store
from services.observe import give_way
give_way()
begun, busy = time.perf_counter(), time.process_time()
done = profile_store.update(Home.resolve())
seconds = time.perf_counter() - begun
print(json.dumps({"rows": done.decisions, "rows/s": done.decisions / seconds,
                  "rows/s of processor": done.decisions / (time.process_time() - busy),
                  "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
AGAIN_AND_AGAIN = """
import shutil
from feature_repo.home import Home
from monitoring import profile_store
from services.observe import give_way
give_way()
home = Home.resolve()
while True:
    shutil.rmtree(profile_store.folder(home), ignore_errors=True)
    profile_store.update(home)
"""
PERFORMANCE = """
import json, resource, time
from feature_repo.home import Home
from monitoring.monitor_settings import load_settings
from services import monitor, monitor_steps
from services.observe import give_way
give_way()
home = Home.resolve()
settings = load_settings(home)
begun, busy = time.perf_counter(), time.process_time()
report = monitor_steps.measured(home, settings, monitor.first_period(settings))
rows = sum(month.decisions for month in report.months)
print(json.dumps({"rows": rows, "rows/s": rows / (time.perf_counter() - begun),
                  "rows/s of processor": rows / (time.process_time() - busy),
                  "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
IMPORTS = """
import json, resource
import monitoring.profiles
print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def run() -> list[dict[str, Any]]:
    """Return ``name``, ``rows``, ``rows/s`` on the clock and of processor time, and ``peak_mib``.

    A profiling run is the nicest of processes: on a machine that does other things its clock says little.
    """
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        return [
            {"name": "whylogs alone, frames of 10,000"} | _whylogs_alone(),
            {"name": "nothing but the imports"} | _child(IMPORTS, Path(folder)),
            *_from_a_log(Path(folder)),
            *_beside_a_service(Path(folder)),
            *_drift_over_days(Path(folder)),
        ]


def _from_a_log(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, count, start, over in (
        ("by hour and day, 20,800 an hour", FEW, LATELY, DAY / 5),
        ("by hour and day, 20,800 an hour", MANY, LATELY, 2 * DAY),
        ("by hour and day, 5,000 a day", FEW, LATELY, 20 * DAY),
        ("days long ago, 5,000 a day", FEW, LONG_AGO, 20 * DAY),
    ):
        home = folder / f"home-{len(rows)}"
        _fill(home, count, start, over)
        rows.append({"name": name} | _child(UPDATE, home))
        if count == MANY:
            begun = time.perf_counter()
            command = [*CANDOR, "profile", "--source", "decisions", "--out", str(folder / "all.bin")]
            subprocess.run(command, env=_environment(home), cwd=PROJECT, check=True, capture_output=True)
            seconds = time.perf_counter() - begun
            rows.append({"name": "candor profile, to its end", "rows": MANY, "rows/s": MANY / seconds})
            rows.append({"name": "candor performance"} | _child(PERFORMANCE, home))
        shutil.rmtree(home)
    return rows


def _fill(home: Path, count: int, start: datetime, over: timedelta) -> None:
    log = DecisionLog(f"sqlite:///{home / 'decisions.db'}")
    many_decisions.fill(log, count, start, over)
    log.close()


def _whylogs_alone() -> dict[str, Any]:
    from whylogs.core import DatasetProfile

    frame = pd.DataFrame(many_decisions.inputs(np.random.default_rng(1), 10_000))
    frame = frame.assign(credit_score=frame["default_probability"], recommendation=frame["home_ownership"])
    texts = frame.select_dtypes(exclude="number").columns
    frame[texts] = frame[texts].astype(str).astype(object)
    profile = DatasetProfile()
    profile.track(pandas=frame)
    begun, busy = time.perf_counter(), time.process_time()
    for _ in range(10):
        profile.track(pandas=frame)
    seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    return {"rows": 100_000, "rows/s": 100_000 / seconds, "rows/s of processor": 100_000 / busy}


def _beside_a_service(folder: Path) -> list[dict[str, Any]]:
    from tests.benchmarks.bench_http import _free_port, _load, _script, _server

    if not shutil.which("wrk"):
        return [{"name": "not measured: wrk is not installed (apt-get install wrk)"}]
    with a_demo_home(folder / "demo", 2000) as (environment, _):
        _fill(folder / "demo", 3 * FEW, LATELY, 2 * DAY)
        script, port = folder / "decision.lua", _free_port()
        script.write_text(_script(b'{"applicant_id": "%s", "purchase_amount": 3500, "term_months": 12}'))
        url = f"http://127.0.0.1:{port}/predict"
        rates: dict[bool, list[float]] = {False: [], True: []}
        with _server([*CANDOR, "serve", "--port", str(port)], environment, port, "/health/ready", PROJECT):
            _load(url, script, 2)
            for watched in (False, True) * ROUNDS:
                beside = [sys.executable, "-c", AGAIN_AND_AGAIN] if watched else ["sleep", "infinity"]
                with subprocess.Popen(beside, env=environment, cwd=PROJECT) as process:
                    time.sleep(3)
                    rates[watched].append(_load(url, script, SECONDS)["requests/s"])
                    assert process.poll() is None
                    process.kill()
    # The best of each, since whatever else the machine does can only take away.
    without, with_ = (max(rates[watched]) for watched in (False, True))
    return [{"name": "decisions/s, a profiling run beside", "rows/s": with_, "of those without": with_ / without}]


def _drift_over_days(folder: Path) -> list[dict[str, Any]]:
    """Compare days of a simulated lender's decisions, of each loan one at its own instant.

    Without a shift, days are drawn from one half-year, and the reference from loans of the same time that no day has:
    what alerts is chance. Then a macro shift moves three features by a standard deviation; it is wholly there two
    months after it began, when each applicant has been reported on. Against the model's own reference the portfolio has
    grown older by then, since nobody joins it: what alerts there before the shift is told by name.
    """
    from monitoring.drift import compare

    rng = np.random.default_rng(2)
    decided, training = _decided(folder / "simulated")
    calm = decided[decided.index < SHIFT]
    shuffled = rng.permutation(len(calm))
    reference, rest = _profiled(calm.iloc[shuffled[::2]]), calm.iloc[shuffled[1::2]]
    yesterday, alerts = _day(rest, rng), 0
    for _ in range(QUIET_DAYS):
        today = _day(rest, rng)
        alerts += compare(reference, today, previous=yesterday).alert
        yesterday = today
    aged = {one.feature for one in compare(training, yesterday).features if one.status == "alert"}
    shifted = decided[decided.index >= SHIFT + 62 * DAY]
    reports = [compare(reference, _day(shifted, rng), previous=yesterday) for _ in range(LOUD_DAYS)]
    named = set.intersection(*({one.feature for one in report.features if one.status == "alert"} for report in reports))
    return [
        {"name": "days without a shift", "rows": QUIET_DAYS, "alerts": alerts},
        {"name": "days with the macro shift wholly there", "rows": LOUD_DAYS, "alerts": sum(r.alert for r in reports)}
        | {"features": ", ".join(sorted(named))},
        {"name": "against loans of a year before: grown older", "features": ", ".join(sorted(aged))},
    ]


def _decided(home_folder: Path) -> tuple[pd.DataFrame, Any]:
    """Return decisions on a simulated lender's loans, features and PD by their instants, and the model's reference."""
    import duckdb
    import pyarrow.parquet as pq

    from feature_repo.home import Home
    from feature_repo.portfolios.ingest import ingest
    from feature_repo.portfolios.simulated.config import SimulationConfig
    from monitoring.logged_inputs import LoggedInputs
    from monitoring.profiles import read_profile, summaries
    from services import batch, intake, pipeline
    from training.promotion import promote

    home = Home(root=home_folder)
    config = SimulationConfig(applicants=APPLICANTS, months=36, loans_per_applicant=3.0, shift_from=SHIFT)
    ingest(home, "simulated", simulation=config)
    store = intake.materialize(home)
    outcome = pipeline.train(home, as_of=TRAINED, oot_start=TRAINED - A_YEAR, seed=7, store=store)
    promote(home, outcome.run.version, dataset_of=None, why="benchmark")
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        loans = connection.execute(
            """select applicant_id, purchase_amount, term_months, loan_purpose, event_timestamp
               from read_parquet($loans) where event_timestamp >= $start order by event_timestamp, loan_id""",
            {"loans": home.source_glob("loans"), "start": TRAINED},
        ).to_arrow_table()
    pq.write_table(loans, home_folder / "requests.parquet")
    batch.run(home, home_folder / "requests.parquet", home_folder / "decisions.parquet", workers=1)
    log = LoggedInputs(home.decision_log_url)
    pages = [pd.DataFrame(page.columns) for page in log.pages(datetime(2000, 1, 1, tzinfo=UTC), LATELY + 100 * DAY)]
    log.close()
    found = pd.concat(pages, ignore_index=True)
    found.index = pd.DatetimeIndex(loans["event_timestamp"].to_pandas(), tz="UTC")
    return found, summaries(read_profile(home.profiles / "training.bin"))


def _day(decided: pd.DataFrame, rng: np.random.Generator) -> Any:
    return _profiled(decided.iloc[rng.permutation(len(decided))[:A_DAY]])


def _profiled(decided: pd.DataFrame) -> Any:
    from monitoring.banding import profile_scored
    from monitoring.profiles import summaries

    return summaries(profile_scored(decided.reset_index(drop=True)))


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "CANDOR_HOME": str(home), "CANDOR_DECISION_LOG": ""}


def _child(code: str, home: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", code], env=_environment(home), cwd=PROJECT, check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
