"""Read applicants from Redis without Feast and without an event loop, for scripts and batch jobs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from feature_repo.stores.address import parse_address
from feature_repo.stores.connection import Row
from feature_repo.stores.online import PlanDecoder
from feature_repo.stores.online_answers import Answers, Part, one_by_one
from feature_repo.stores.online_columns import ViewColumns, decode_columns, stored_features
from feature_repo.stores.online_layout import cells
from feature_repo.stores.online_socket import RedisSockets
from feature_repo.stores.plan import OnlinePlan
from feature_repo.stores.protocol import bulk
from feature_repo.stores.stored import StoredFeatures

_FEW = 24  # applicants that are read faster one by one
_PORTION = 5000  # applicants of one round trip: Redis holds their answers, and they are looked at when some are there
_MOST = 4  # field names and values in an answer, for each field that was wanted


class SyncOnlineReader:
    """Read applicants by a plan; threads may share one reader.

    Parameters
    ----------
    plan : OnlinePlan
        Where the values are.
    connection_string : str
        Address in Feast's form.
    timeout : float
        Seconds for connecting and for each answer.

    Raises
    ------
    InputError
        If the connection string is not one.
    """

    def __init__(self, plan: OnlinePlan, connection_string: str, timeout: float = 2.0) -> None:
        address = parse_address(connection_string)
        self._plan = plan
        self._redis = RedisSockets(address, timeout)
        self._decoder = PlanDecoder(plan, str(address))
        fields = self._decoder.fields
        self._fields = _Question(plan, b"HMGET", fields)
        self._hash = _Question(plan, b"HGETALL", ())
        self._answers = {self._fields: Answers(fields, whole=False), self._hash: Answers(fields, whole=True)}
        self._many = self._hash

    def read(self, applicant_id: str, now: datetime) -> StoredFeatures:
        """Read one applicant; one that the store does not know is all MISSING.

        Parameters
        ----------
        now : datetime
            Instant from which age is measured, with a zone.

        Raises
        ------
        UnavailableError
            If Redis does not answer in time, or holds bytes that are not Feast's.
        """
        return self._one_by_one([applicant_id], now)[0]

    def read_many(self, applicant_ids: Sequence[str], now: datetime) -> list[StoredFeatures]:
        """Read n applicants, thousands with one round trip, in the order given; errors as for `read`."""
        if len(applicant_ids) <= _FEW or not self._plan.views:
            return self._one_by_one(applicant_ids, now)
        return stored_features(applicant_ids, self.read_columns(applicant_ids, now), now)

    def read_columns(self, applicant_ids: Sequence[str], now: datetime) -> dict[str, ViewColumns]:
        """Read n applicants, thousands with one round trip, as columns by view; errors as for `read`."""
        if not self._plan.views:
            return {}
        parts = self._parts(applicant_ids)
        try:
            return decode_columns(self._plan, parts, now)
        except ValueError:
            return decode_columns(self._plan, [self._checked(part, now) for part in parts], now)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _one_by_one(self, applicant_ids: Sequence[str], now: datetime) -> list[StoredFeatures]:
        rows: Sequence[Row] = [[] for _ in applicant_ids]
        if applicant_ids and self._plan.views:
            count = len(applicant_ids)
            rows = self._redis.ask(self._fields.of(applicant_ids), lambda data: one_by_one(data, count))
        return [self._decoder.decode(name, row, now) for name, row in zip(applicant_ids, rows, strict=True)]

    def _parts(self, applicant_ids: Sequence[str]) -> list[Part]:
        if not applicant_ids:
            return [Part(np.arange(0), [()] * len(self._decoder.fields), 0)]
        parts: list[Part] = []
        for start in range(0, len(applicant_ids), _PORTION):
            portion = self._portion(applicant_ids[start : start + _PORTION])
            parts += [replace(part, places=part.places + start) for part in portion]
        return parts

    def _portion(self, applicant_ids: Sequence[str]) -> list[Part]:
        """Ask for whole hashes, which costs Redis less than to look for fields, unless most of them is of no use."""
        asked, count = self._many, len(applicant_ids)
        parts = self._redis.ask(asked.of(applicant_ids), lambda data: self._answers[asked].parts(data, count))
        if sum(part.items for part in parts) > _MOST * count * len(self._decoder.fields):
            self._many = self._fields
        return parts

    def _checked(self, part: Part, now: datetime) -> Part:
        """Name bytes that are not Feast's, one applicant at a time; without an event time they are not looked at."""
        rows = [list(row) for row in zip(*map(cells, part.columns), strict=True)]
        for row in rows:
            self._decoder.decode("", row, now)
            start = 0
            for view in self._plan.views:
                end = start + 1 + len(view.slots)
                if row[start] is None:
                    row[start:end] = [None] * (end - start)
                start = end
        return replace(part, columns=list(zip(*rows, strict=True)))


class _Question:
    """A command about each of some applicants: what is before and after an ID in it is joined but once."""

    def __init__(self, plan: OnlinePlan, name: bytes, arguments: Sequence[bytes]) -> None:
        self._head = bytes.fromhex(plan.key_head)
        tail = bytes.fromhex(plan.key_tail)
        self._start = b"*%d\r\n" % (2 + len(arguments)) + bulk(name)
        self._end = tail + b"\r\n" + b"".join(map(bulk, arguments))
        self._rest = len(self._head) + 4 + len(tail)  # of a key, beside the ID

    def of(self, applicant_ids: Sequence[str]) -> bytes:
        """Return the commands; keys as by `OnlinePlan.key`."""
        names = [name.encode() for name in applicant_ids]
        starts = {
            size: self._start + b"$%d\r\n" % (size + self._rest) + self._head + struct.pack("<I", size)
            for size in set(map(len, names))
        }
        if len(starts) == 1:
            (start,) = starts.values()
            return start + (self._end + start).join(names) + self._end
        return b"".join([part for name in names for part in (starts[len(name)], name, self._end)])
