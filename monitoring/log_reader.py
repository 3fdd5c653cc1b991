"""Reading the decision log without standing in the way of who writes it.

Nothing here takes a lock that a decision waits for: SQLite reads beside its write-ahead log, PostgreSQL from a
snapshot, each page in a transaction of its own, so that neither a checkpoint nor a vacuum waits long for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import sqlalchemy as sa

from feature_repo.errors import UnavailableError
from monitoring.log_database import LogDatabase
from monitoring.log_tables import decisions

PAGE = 10_000
"""Decisions of one transaction."""
AT_ONCE = 1000
"""Rows that are in memory as the driver gives them."""
_SECONDS = 600


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in the log's order: by when decisions were made, then by their IDs."""

    decided_at: datetime
    decision_id: str


class LogReader:
    """Read a decision log. Opening one touches nothing, and nothing is created in it.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of the log.
    """

    def __init__(self, url: str) -> None:
        self._database = LogDatabase(url)
        self.is_sqlite = self._database.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection that only reads.

        Raises
        ------
        UnavailableError
            If the log is not there.
        """
        file = self._database.engine.url.database
        if self.is_sqlite and file and not Path(file).exists():  # to connect would be to create it
            raise UnavailableError(f"there is no decision log at {file}")
        # Not through `LogDatabase.connect`, which would see to the tables first, and take locks for it.
        with self._database.errors(), self._database.engine.connect() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql(f"set transaction read only; set local statement_timeout = '{_SECONDS}s'")
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._database.close()


def beyond(mark: Mark) -> sa.ColumnElement[bool]:
    """Return the condition that a decision comes after a mark."""
    at, name = decisions.c.decided_at, decisions.c.decision_id
    return sa.or_(at > mark.decided_at, sa.and_(at == mark.decided_at, name > mark.decision_id))


def utc(instant: datetime) -> datetime:
    """Return an instant in UTC; SQLite keeps no zone, and what is in the log is UTC."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
