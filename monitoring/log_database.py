"""The database of the decision log: how it is opened and written to, and what its faults are called.

SQLite (write-ahead log, every commit flushed to disk) or PostgreSQL, by URL.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from feature_repo.errors import InputError, UnavailableError
from monitoring.log_tables import metadata

_BUSY_SECONDS = 2
_PAGE = 8192  # bytes, of a log that is made anew: a decision fills most of one
_MOST_AHEAD = 32_000_000  # bytes of the write-ahead log that a commit copies by itself
_CACHE_KIB = 16 * 1024  # holds the pages of the indexes that a commit touches: SQLite's own 2 MB do not
_TO_WRITE = "BEGIN IMMEDIATE"
"""Who reads first and writes then is refused by SQLite at once, if another has written in between: wait beforehand."""
MOST_TOGETHER = 128  # rows of 13 values in a statement, far from what either database takes


class Insert:
    """An INSERT of many rows in one statement, run by the driver itself, for every decision goes through it.

    A driver lets go of Python's lock at each statement and has to wait to have it back, so that a statement for each
    row would wait for the requests under way as often as there are rows.

    Parameters
    ----------
    table : Table
    dialect : Dialect
        Of the engine that it will run on.
    """

    def __init__(self, table: sa.Table, dialect: sa.Dialect) -> None:
        names = [column.name for column in table.columns]
        quoted = ", ".join(map(dialect.identifier_preparer.quote, names))
        self._head = f"INSERT INTO {dialect.identifier_preparer.format_table(table)} ({quoted}) VALUES "
        self._row = f"({', '.join(['?' if dialect.paramstyle == 'qmark' else '%s'] * len(names))})"
        # SQLAlchemy reads instants back from this text, and takes eight times as long to write it.
        as_text = dialect.name == "sqlite"
        self._instants = [place for place, name in enumerate(names) if as_text and _is_instant(table.c[name])]

    def run(self, cursor: Any, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, each with a value for every column, in their order; instants have a zone and are UTC."""
        for start in range(0, len(rows), MOST_TOGETHER):
            together = rows[start : start + MOST_TOGETHER]
            ready: list[Any] = []
            for row in together:
                values = list(row)
                for place in self._instants:
                    values[place] = values[place].replace(tzinfo=None).isoformat(" ", "microseconds")
                ready += values
            cursor.execute(self._head + ", ".join([self._row] * len(together)), ready)


def _is_instant(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.DateTime)


class LogDatabase:
    """The engine of a log, its tables made at first use. Opening one touches nothing.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:///<path>`` or ``postgresql://...``.
    is_busy : bool
        Whether it is written to all the time. Then a commit copies SQLite's write-ahead log into the database only
        from 32 MB on, and not from 1,000 pages, for that takes as long as ten commits: `checkpoint` may do so before.

    Raises
    ------
    InputError
        If the URL is of another kind, or its driver is not installed.
    """

    def __init__(self, url: str, is_busy: bool = False) -> None:
        self.engine = _engine(url)
        if is_busy and self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _keep_busy)
        self._driver: Any = self.engine.dialect.loaded_dbapi
        self._name = self.engine.url.render_as_string(hide_password=True)
        database = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        self._file = Path(database) if database else None
        self._inode: int | None = None
        self._ready = False
        self._preparing = threading.Lock()

    @contextmanager
    def write(self, is_one_statement: bool = False) -> Iterator[Any]:
        """Give the driver's cursor in a transaction, which is durable when the block ends.

        Parameters
        ----------
        is_one_statement : bool
            Whether there will be no other; SQLite then begins, runs and commits it without a word from us.

        Raises
        ------
        UnavailableError
            If the database is not there or does not commit.
        """
        with self.errors():
            self._prepare()
            connection = self.engine.raw_connection()
            try:
                # Closed at once: one that an error keeps is closed by the garbage collector, in whatever thread that
                # runs, and there it waits for the statement that now has the connection.
                with closing(connection.cursor()) as cursor:
                    if self._file and not is_one_statement:
                        cursor.execute(_TO_WRITE)
                    yield cursor
                connection.commit()
            except BaseException:
                try:
                    connection.rollback()
                except self._driver.Error:  # it is broken: nobody may get it again
                    connection.invalidate()
                raise
            finally:
                connection.close()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Give a connection in a transaction that writes; errors as for `write`."""
        with self.errors():
            self._prepare()
            with self.engine.execution_options(writes=True).begin() as connection:
                yield connection

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Give a connection to read with; errors as for `write`."""
        with self.errors():
            self._prepare()
            with self.engine.connect() as connection:
                yield connection

    def checkpoint(self) -> None:
        """Copy what is in SQLite's write-ahead log into the database, while commits go on; errors as for `write`."""
        if self._file is None:
            return
        with self.errors():
            self._prepare()
            connection = self.engine.raw_connection()
            try:
                with closing(connection.cursor()) as cursor:
                    cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                connection.close()

    def lies_with_a_row(self, error: UnavailableError) -> bool:
        """Return whether an error of `write` came from a row, so that others may be committed without it."""
        return isinstance(error.__cause__, self._driver.IntegrityError | self._driver.DataError)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what a driver or the file system says into one line that names the log."""
        try:
            yield
        except (sa.exc.SQLAlchemyError, self._driver.Error) as error:
            cause = getattr(error, "orig", None) or error
            reason = (str(cause).splitlines() or [""])[0]
            raise UnavailableError(f"decision log {self._name}: {reason}") from error
        except OSError as error:
            raise UnavailableError(f"decision log {self._name}: {error.strerror}") from error

    def _prepare(self) -> None:
        """Create the tables at first use, and again if the database file was taken away."""
        if self._ready and (self._file is None or _inode(self._file) == self._inode):
            return
        with self._preparing:
            if self._ready and self._file and _inode(self._file) != self._inode:
                self.engine.dispose()  # or commits would go to a deleted file
                self._ready = False
            if self._ready:
                return
            if self._file:
                _create_private(self._file)
            with self.engine.execution_options(writes=True).begin() as connection:
                for table in metadata.sorted_tables:
                    connection.execute(CreateTable(table, if_not_exists=True))
                    for index in table.indexes:
                        connection.execute(CreateIndex(index, if_not_exists=True))
            self._inode = _inode(self._file) if self._file else None
            self._ready = True


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise InputError("the decision log needs a URL: sqlite:///path or postgresql://user@host/database") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise InputError("the decision log needs a file: a log in memory keeps nothing (sqlite:///path)")
        # The driver's own transactions would begin with each first INSERT: ours begin where we say so.
        options: dict[str, Any] = {
            "timeout": _BUSY_SECONDS,
            "isolation_level": None,
            "cached_statements": 2 * MOST_TOGETHER,
        }
        engine = sa.create_engine(parsed, connect_args=options)
        sa.event.listen(engine, "connect", _durable)
        sa.event.listen(engine, "begin", _begin)
        return engine
    if backend != "postgresql":
        raise InputError(f"the decision log runs on sqlite or postgresql, not on {backend}")
    arguments = {
        "connect_timeout": _BUSY_SECONDS,
        "options": f"-c statement_timeout={_BUSY_SECONDS * 1000}",
        # A server out of reach keeps no statement's time: without these a thread waits for it for hours.
        "tcp_user_timeout": 2 * _BUSY_SECONDS * 1000,
        "keepalives_idle": _BUSY_SECONDS,
        "keepalives_interval": _BUSY_SECONDS,
    }
    try:
        return sa.create_engine(parsed, connect_args=arguments, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise InputError(f"the decision log needs the driver {error.name}: install candor[postgres]") from None


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(_TO_WRITE if connection.get_execution_options().get("writes") else "BEGIN")


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA page_size={_PAGE}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _keep_busy(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    page = cursor.execute("PRAGMA page_size").fetchone()[0]  # of an older log, another
    cursor.execute(f"PRAGMA wal_autocheckpoint={_MOST_AHEAD // page}")
    cursor.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    cursor.close()


def _create_private(path: Path) -> None:
    """Create a database file that only its owner can read; SQLite gives its side files the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None
