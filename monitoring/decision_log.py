"""The decision log: one committed row for every decision, before it is answered.

SQLite (write-ahead log, every commit flushed to disk) or PostgreSQL, by URL. Whatever comes
after a decision reads this log: replay, profiles, drift, performance and audits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from feature_repo.errors import InputError, UnavailableError
from feature_repo.stores.stored import Scalar, StoredView

_BUSY_SECONDS = 2
_BATCH = 1000

metadata = sa.MetaData()
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("decision_id", sa.String(36), primary_key=True),
    sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
    sa.Column("applicant_id", sa.String(128), nullable=False, index=True),
    sa.Column("bundle", sa.String(71), nullable=False),
    sa.Column("model_version", sa.String(64), nullable=False),
    sa.Column("recommendation", sa.String(16), nullable=False),
    sa.Column("pd", sa.Float(53), nullable=False),
    sa.Column("score", sa.Integer, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)
_COLUMNS = [column.name for column in decisions.columns if column.name != "record"]


class LoggedFeature(msgspec.Struct, frozen=True):
    """One feature as the decision used it.

    Parameters
    ----------
    value : float, int, bool, str or None
        None when it was missing, or stale and therefore not used.
    source : str
        View that it came from, ``"request"``, or ``"affordability"``.
    event_timestamp : str or None
        When it was true, ISO 8601 in UTC; None unless it came from a view.
    """

    value: Scalar | None
    source: str
    event_timestamp: str | None


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision was made of and all that was answered.

    Parameters
    ----------
    decision_id : str
        UUID of version 7, ordered by time.
    decided_at : datetime
        Wall clock, UTC.
    as_of : datetime
        Instant from which freshness was measured, UTC.
    bundle : str
        Digest of the model bundle, ``sha256:<hex>``.
    pd : float
        Calibrated probability of default, 0..1.
    score : int
        Credit score, points.
    request : dict
        What was asked, inline features included.
    features : dict of str to LoggedFeature
        Every input of the decision, on-demand features included.
    views : dict of str to StoredView
        What the store held, stale values included.
    impacts : dict of str to float
        Calibrated log-odds by model feature; with `reference_log_odds` they add up to the log-odds of `pd`.
    guard : Any
        Result of the input guard.
    output : Any
        The answer.
    """

    decision_id: str
    decided_at: datetime
    as_of: datetime
    applicant_id: str
    bundle: str
    model_version: str
    recommendation: str
    pd: float
    score: int
    request: dict[str, Any]
    features: dict[str, LoggedFeature]
    views: dict[str, StoredView]
    impacts: dict[str, float]
    reference_log_odds: float
    guard: Any
    output: Any


class DecisionLog:
    """Append decisions and read them back. Opening one touches nothing.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:///<path>`` or ``postgresql://...``.

    Raises
    ------
    InputError
        If the URL is of another kind, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._name = self._engine.url.render_as_string(hide_password=True)
        database = self._engine.url.database if self._engine.dialect.name == "sqlite" else None
        self._file = Path(database) if database else None
        self._inode: int | None = None
        self._ready = False

    def append(self, record: DecisionRecord) -> None:
        """Commit one decision; it is durable when this returns.

        Raises
        ------
        UnavailableError
            If it could not be committed.
        """
        row = {name: getattr(record, name) for name in _COLUMNS}
        row["record"] = msgspec.json.encode(record).decode()
        with self._errors():
            self._prepare()
            with self._engine.begin() as connection:
                connection.execute(sa.insert(decisions), row)

    def get(self, decision_id: str) -> DecisionRecord | None:
        """Return one decision, or None if the log does not hold it."""
        query = sa.select(decisions.c.record).where(decisions.c.decision_id == decision_id)
        with self._errors():
            self._prepare()
            with self._engine.connect() as connection:
                text = connection.execute(query).scalar_one_or_none()
        return None if text is None else msgspec.json.decode(text, type=DecisionRecord)

    def rows(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[DecisionRecord]:
        """Yield the decisions of a time window in the order they were made.

        Parameters
        ----------
        start, end : datetime or None
            Bounds of `decided_at` with a zone, the start included and the end not.
        """
        query = sa.select(decisions.c.record).order_by(decisions.c.decided_at, decisions.c.decision_id)
        if start is not None:
            query = query.where(decisions.c.decided_at >= start.astimezone(UTC))
        if end is not None:
            query = query.where(decisions.c.decided_at < end.astimezone(UTC))
        decoder = msgspec.json.Decoder(DecisionRecord)
        with self._errors():
            self._prepare()
            with self._engine.connect().execution_options(yield_per=_BATCH) as connection:
                for text in connection.execute(query).scalars():
                    yield decoder.decode(text)

    def ping(self) -> None:
        """Return if the log can be read.

        Raises
        ------
        UnavailableError
            If it cannot.
        """
        with self._errors():
            self._prepare()
            with self._engine.connect() as connection:
                connection.execute(sa.select(decisions.c.decision_id).limit(1))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _prepare(self) -> None:
        """Create the table at first use, and again if the database file was taken away."""
        if self._file and self._ready and _inode(self._file) != self._inode:
            self._engine.dispose()  # or commits would go to a deleted file
            self._ready = False
        if self._ready:
            return
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._engine.begin() as connection:
            connection.execute(CreateTable(decisions, if_not_exists=True))
            for index in decisions.indexes:
                connection.execute(CreateIndex(index, if_not_exists=True))
        self._inode = _inode(self._file) if self._file else None
        self._ready = True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            reason = (str(cause).splitlines() or [""])[0]
            raise UnavailableError(f"decision log {self._name}: {reason}") from None
        except OSError as error:
            raise UnavailableError(f"decision log {self._name}: {error.strerror}") from None


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise InputError("the decision log needs a URL: sqlite:///path or postgresql://user@host/database") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(engine, "connect", _durable)
        return engine
    if backend != "postgresql":
        raise InputError(f"the decision log runs on sqlite or postgresql, not on {backend}")
    arguments = {"connect_timeout": _BUSY_SECONDS, "options": f"-c statement_timeout={_BUSY_SECONDS * 1000}"}
    try:
        return sa.create_engine(parsed, connect_args=arguments, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise InputError(f"the decision log needs the driver {error.name}: install candor[postgres]") from None


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None
