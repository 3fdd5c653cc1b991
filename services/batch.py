"""`candor batch`: many decisions from a Parquet file, with features straight from the offline store."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore
from tqdm import tqdm

from feature_repo import registry
from feature_repo.errors import UnavailableError
from feature_repo.home import Home
from feature_repo.stores.stored_as_of import join_stored
from monitoring.decision_log import COLUMNS, DecisionLog, Entry
from services import batch_worker
from services.batch_input import INSTANT, applicant_ids, bodies_of, check_columns, instants_of, open_source, read_tables
from services.batch_worker import InService, Row
from training.bundle import read_champion

_JOINED = 50_000  # rows of one join, which reads the whole source
_DECIDED = 2_500  # rows of one process's turn, and of one transaction of the log
_ALONE = 5_000  # rows below which more processes take longer to start than to help
# Named as in the decision log, whose rows they come from.
_LOGGED = {
    "decision_id": pa.string(),
    "decided_at": INSTANT,
    "recommendation": pa.string(),
    "pd": pa.float64(),
    "score": pa.int32(),
    "model_version": pa.string(),
}
_ANSWER = pa.schema([*_LOGGED.items(), ("decision", pa.string()), ("problem", pa.string())])


@dataclass(frozen=True)
class BatchReport:
    """What a batch came to."""

    rows: int
    decided: int
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether there were rows, and not one decision."""
        return bool(self.rows) and not self.decided


def run(home: Home, source: Path, target: Path, workers: int | None = None) -> BatchReport:
    """Decide on every row of a Parquet file, log all decisions and write them beside the rows.

    Parameters
    ----------
    source : Path
        ``applicant_id``, ``purchase_amount``, and any other field of a request; null is not given. A
        column ``event_timestamp`` is the instant of each decision, UTC; without it, it is the home's clock.
    target : Path
        Written in one step at the end: the columns of `source`, the answer, and ``problem``, null where
        there is a decision.
    workers : int or None
        Processes that decide; None for one per core.

    Raises
    ------
    InputError
        If the file is not such a file, or a part of it cannot be read.
    UnavailableError
        If model, offline store or log is not there.

    Notes
    -----
    After any error `target` is as it was before, and what was decided until then is in the log.
    """
    begun = datetime.now(UTC)
    champion = read_champion(home)
    models = batch_worker.load_in_service(home, champion)
    file = open_source(source)
    check_columns(file, models.champion.requests.json_schema()["properties"], source)
    count = file.metadata.num_rows
    chosen = workers or os.cpu_count() or 1
    store = registry.open_store(home)
    log = DecisionLog(home.decision_log_url, is_busy=True)
    decided = 0
    try:
        log.ping()
        with (
            _writer(target, pa.schema([*file.schema_arrow, *_ANSWER])) as write,
            _decide(home, msgspec.json.encode(champion), models, chosen if count > _ALONE else 1) as decide,
            tqdm(total=count, unit=" rows", disable=not sys.stderr.isatty(), leave=False) as bar,
        ):
            for given, rows in decide(_parts(read_tables(file, source, _JOINED), store, models, home.now(), source)):
                _log(log, rows)
                write(given, rows)
                decided += sum(not row.problem for row in rows)
                bar.update(len(rows))
    finally:
        log.close()
    return BatchReport(count, decided, (datetime.now(UTC) - begun).total_seconds())


@dataclass(frozen=True)
class _Part:
    """Rows as given, joined with what was stored, as requests, and what is wrong with each one's instant, or ``""``."""

    given: Any
    joined: Any
    bodies: Sequence[bytes]
    problems: Sequence[str]


def _parts(
    tables: Iterator[Any], store: FeatureStore, models: InService, clock: datetime, path: Path
) -> Iterator[_Part]:
    plans = [models.champion.plan] + ([models.challenge.model.plan] if models.challenge else [])
    for given in tables:
        instants, problems = instants_of(given, clock)
        bodies = bodies_of(given, models.champion.contract, path)
        joined = join_stored(store, plans, applicant_ids(given, path), instants)
        for start in range(0, len(given), _DECIDED):
            rows = slice(start, start + _DECIDED)
            yield _Part(given.slice(start, _DECIDED), joined.slice(start, _DECIDED), bodies[rows], problems[rows])


@contextmanager
def _decide(home: Home, champion: bytes, models: InService, workers: int) -> Iterator[Any]:
    """Give a function from parts to parts with their rows, in order, with few of them in memory."""
    if workers == 1:

        def alone(parts: Iterator[_Part]) -> Iterator[tuple[Any, list[Row]]]:
            for part in parts:
                yield part.given, batch_worker.decide_rows(models, part.joined, part.bodies, part.problems)

        yield alone
        return
    # Not forked: DuckDB and Arrow have threads.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=batch_worker.start, initargs=(str(home.root), champion)
    )

    def together(parts: Iterator[_Part]) -> Iterator[tuple[Any, list[Row]]]:
        under_way: deque[tuple[Any, Future[list[Row]]]] = deque()
        for part in parts:
            work = pool.submit(batch_worker.work, _stream(part.joined), part.bodies, part.problems)
            under_way.append((part.given, work))
            if len(under_way) > workers + 1:
                given, rows = under_way.popleft()
                yield given, rows.result()
        for given, rows in under_way:
            yield given, rows.result()

    with pool:
        yield together


def _log(log: DecisionLog, rows: Sequence[Row]) -> None:
    entries = [Entry(row.entry) for row in rows if row.entry]
    for fault in log.append_all(entries) if entries else ():
        if fault:
            raise fault


@contextmanager
def _writer(target: Path, schema: Any) -> Iterator[Any]:
    """Give a function that writes rows with their answers to a file that is there whole at the end, or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")

    def write(given: Any, rows: Sequence[Row]) -> None:
        logged = [dict(zip(COLUMNS, row.entry, strict=False)) for row in rows]  # without a decision there is none
        columns: dict[str, list[Any]] = {name: [one.get(name) for one in logged] for name in _LOGGED}
        columns["decision"] = [row.decision.decode() or None for row in rows]
        columns["problem"] = [row.problem or None for row in rows]
        answered = pa.table(columns, schema=_ANSWER)
        whole = pa.table([*given.columns, *answered.columns], schema=schema)
        with _writing(target):
            writer.write_table(whole)

    with ExitStack() as left:
        left.callback(partial.unlink, missing_ok=True)
        with _writing(target):
            stream = partial.open("wb")
            left.callback(_drop, stream)
            writer = pq.ParquetWriter(stream, schema)
            left.callback(_drop, writer)
        yield write
        with _writing(target):
            writer.close()
            stream.flush()
            os.fsync(stream.fileno())
            partial.replace(target)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{target} cannot be written: {error.strerror or error}") from None


def _drop(file: Any) -> None:
    with suppress(OSError):
        file.close()


def _stream(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
