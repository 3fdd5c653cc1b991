"""The decision log: one committed row for every decision, before it is answered.

Whatever comes after a decision reads this log: replay, profiles, drift, performance and audits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from feature_repo.errors import InputError, UnavailableError
from monitoring.decision_record import DecisionRecord, Shadow, Source
from monitoring.log_database import MOST_TOGETHER, Insert, LogDatabase
from monitoring.log_tables import decisions, idempotency_keys

__all__ = ["COLUMNS", "DecisionLog", "DecisionRecord", "Entry", "Key", "KeyTakenError", "Kept", "Shadow", "Source"]

_BATCH = 1000
COLUMNS = tuple(column.name for column in decisions.columns)
_columns = attrgetter(*COLUMNS[:-1])  # the last is the record itself


class KeyTakenError(InputError):
    """Another decision was committed under the same idempotency key."""


class Key(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An idempotency key with what it was used for.

    Parameters
    ----------
    client : str
        Whose key it is; empty where clients are not told apart.
    value : str
        1 to 255 visible ASCII characters.
    request_hash : str
        SHA-256 of the request in canonical form, hex.
    """

    client: str
    value: str
    request_hash: str


@dataclass(frozen=True)
class Kept:
    """What was answered under an idempotency key.

    Parameters
    ----------
    output : bytes
        The answer as JSON, byte for byte as it was given.
    """

    request_hash: str
    decision_id: str
    output: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decision ready to be inserted, encoded where the decision was made.

    Parameters
    ----------
    row : tuple
        A value for each of `COLUMNS`.
    """

    row: tuple[Any, ...]
    key: Key | None = None

    @classmethod
    def of(cls, record: DecisionRecord, key: Key | None = None) -> Entry:
        """Encode a record; an output that is JSON already (`msgspec.Raw`) is taken as it is."""
        return cls((*_columns(record), _encoder.encode(record).decode()), key)


class _Answered(msgspec.Struct):
    output: msgspec.Raw


class _Cited(msgspec.Struct):
    decision_id: str = "?"
    candor_version: str = "?"


_record = msgspec.json.Decoder(DecisionRecord)
_encoder = msgspec.json.Encoder()


class DecisionLog:
    """Append decisions and read them back; its methods may be called from several threads.

    Opening one touches nothing.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:///<path>`` or ``postgresql://...``.
    is_busy : bool
        As for `LogDatabase`.

    Raises
    ------
    InputError
        If the URL is of another kind, or its driver is not installed.
    """

    def __init__(self, url: str, is_busy: bool = False) -> None:
        self.database = LogDatabase(url, is_busy)
        self._insert = Insert(decisions, self.database.engine.dialect)
        self._insert_key = Insert(idempotency_keys, self.database.engine.dialect)

    def append(self, record: DecisionRecord, key: Key | None = None) -> None:
        """Commit one decision; it is durable when this returns.

        Raises
        ------
        KeyTakenError
            If its idempotency key is taken.
        UnavailableError
            If it could not be committed.
        """
        (fault,) = self.append_all([Entry.of(record, key)])
        if fault:
            raise fault

    def append_all(self, entries: Sequence[Entry]) -> list[Exception | None]:
        """Commit decisions in one transaction; if one of them is at fault, each in one of its own.

        Returns
        -------
        list of Exception or None
            For each entry None, which means that it is durable, or why it is not: `KeyTakenError`
            or `UnavailableError`.
        """
        try:
            self._commit(entries)
        except UnavailableError as error:
            if len(entries) > 1 and self.database.lies_with_a_row(error):
                return [fault for entry in entries for fault in self.append_all([entry])]
            if len(entries) == 1 and entries[0].key and self.database.lies_with_a_row(error):
                return [self._key_fault(entries[0].key, error)]
            return [error] * len(entries)
        return [None] * len(entries)

    def get(self, decision_id: str) -> DecisionRecord | None:
        """Return one decision, or None if the log does not hold it."""
        query = sa.select(decisions.c.record).where(decisions.c.decision_id == decision_id)
        with self.database.connect() as connection:
            text = connection.execute(query).scalar_one_or_none()
        return None if text is None else self._read(text)

    def kept(self, client: str, key: str) -> Kept | None:
        """Return what was answered under an idempotency key, or None if it was not used yet."""
        query = (
            sa.select(idempotency_keys.c.request_hash, decisions.c.decision_id, decisions.c.record)
            .join(decisions, decisions.c.decision_id == idempotency_keys.c.decision_id)
            .where(idempotency_keys.c.client == client, idempotency_keys.c.idempotency_key == key)
        )
        with self.database.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Kept(row.request_hash, row.decision_id, bytes(msgspec.json.decode(row.record, type=_Answered).output))

    def rows(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[DecisionRecord]:
        """Yield the decisions of a time window in the order they were made.

        Parameters
        ----------
        start, end : datetime or None
            Bounds of `decided_at` with a zone, the start included and the end not.
        """
        query = _between(sa.select(decisions.c.record), start, end).order_by(
            decisions.c.decided_at, decisions.c.decision_id
        )
        with self.database.connect() as connection:
            for text in connection.execution_options(yield_per=_BATCH).execute(query).scalars():
                yield self._read(text)

    def count(self, start: datetime | None = None, end: datetime | None = None) -> int:
        """Return how many decisions `rows` yields."""
        with self.database.connect() as connection:
            return int(connection.execute(_between(sa.select(sa.func.count()), start, end)).scalar_one())

    def ping(self) -> None:
        """Return if the log can be read, and nobody keeps it from being written to.

        Raises
        ------
        UnavailableError
            If it cannot.
        """
        with self.database.begin() as connection:
            connection.execute(sa.select(decisions.c.decision_id).limit(1))

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def _read(self, text: str) -> DecisionRecord:
        try:
            return _record.decode(text)
        except msgspec.MsgspecError as error:
            one = msgspec.json.decode(text, type=_Cited)
            raise UnavailableError(
                f"decision {one.decision_id} was logged in a form that this program does not read, by candor "
                f"{one.candor_version}: {error}"
            ) from None

    def _commit(self, entries: Sequence[Entry]) -> None:
        keys = [
            (entry.key.client, entry.key.value, entry.key.request_hash, entry.row[0]) for entry in entries if entry.key
        ]
        with self.database.write(is_one_statement=not keys and len(entries) <= MOST_TOGETHER) as cursor:
            if keys:
                self._insert_key.run(cursor, keys)
            self._insert.run(cursor, [entry.row for entry in entries])

    def _key_fault(self, key: Key, error: UnavailableError) -> Exception:
        try:
            taken = self.kept(key.client, key.value)
        except UnavailableError as gone:
            return gone
        return error if taken is None else KeyTakenError("Idempotency-Key: was used at the same moment")


def _between(query: Any, start: datetime | None, end: datetime | None) -> Any:
    query = query.select_from(decisions)
    if start is not None:
        query = query.where(decisions.c.decided_at >= start.astimezone(UTC))
    if end is not None:
        query = query.where(decisions.c.decided_at < end.astimezone(UTC))
    return query
