"""The decision log as columns to profile, page by page, and what it holds of each hour.

Of a record only the features are decoded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from feature_repo.errors import UnavailableError
from monitoring.log_reader import AT_ONCE, PAGE, LogReader, Mark, beyond, utc
from monitoring.log_tables import decisions, outcomes
from monitoring.outcomes import counted_at
from monitoring.pace import rest
from monitoring.plain_columns import Plain, plain_values
from monitoring.segments import BANDS, PD, RECOMMENDATION, SCORE, Segment, band_limits, band_numbers

HOUR = timedelta(hours=1)


class _Values(msgspec.Struct, gc=False):
    values: dict[str, float | str | bool | None]


class _Features(msgspec.Struct, gc=False):
    features: dict[str, _Values]


_features = msgspec.json.Decoder(_Features)


class HourInLog(msgspec.Struct, frozen=True):
    """What the log holds of one hour: how many decisions, and when the last of them was made, UTC."""

    rows: int
    last_at: datetime


@dataclass(frozen=True)
class Page:
    """Decisions that follow one another in the log's order.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray of shape (n_rows,)
        Features by name as the model saw them, and PD, score and recommendation, in plain form.
    cells : dict of Segment to numpy.ndarray of int
        The rows of each segment of which all four fields are given; every row is in one of them.
    rows : int
    first_at : datetime
        When the first was made, UTC.
    last : Mark
        Of the last row.
    """

    columns: dict[str, Plain]
    cells: dict[Segment, Any]
    rows: int
    first_at: datetime
    last: Mark

    def of(self, cell: Segment) -> dict[str, Plain]:
        """Return the columns of one cell."""
        rows = self.cells[cell]
        return {name: column[rows] for name, column in self.columns.items()}


class LoggedInputs:
    """Read a decision log for profiles. Opening one touches nothing, and nothing is created in it.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of the log.
    """

    def __init__(self, url: str) -> None:
        self._log = LogReader(url)

    def hours(self) -> dict[datetime, HourInLog]:
        """Return what the log holds of each hour of `decided_at`, UTC, by its beginning, in order."""
        at = decisions.c.decided_at
        # Text begins as an instant does: YYYY-MM-DD HH. Both are answered from the index alone.
        hour: Any = sa.func.substr(at, 1, 13) if self._log.is_sqlite else sa.func.date_trunc("hour", at, "UTC")
        query = sa.select(hour.label("hour"), sa.func.count(), sa.func.max(at, type_=at.type)).group_by("hour")
        with self._log.reading() as connection:
            found = {_hour(start): HourInLog(rows, utc(last)) for start, rows, last in connection.execute(query)}
        return dict(sorted(found.items()))

    def count(self, start: datetime, upto: Mark) -> int:
        """Return how many decisions were made from an instant on up to a mark, itself included."""
        query = sa.select(sa.func.count()).where(decisions.c.decided_at >= start, sa.not_(beyond(upto)))
        with self._log.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def pages(
        self, start: datetime, end: datetime, after: Mark | None = None, segment: Segment | None = None
    ) -> Iterator[Page]:
        """Yield the decisions from `start` on and before `end`, in the log's order, in pages of 10,000.

        What is committed meanwhile behind the page that is read is not among them.

        Parameters
        ----------
        start, end : datetime
            UTC.
        after : Mark or None
            The last one that is known already.
        segment : Segment or None
            Of these decisions alone.
        """
        rows = [decisions.c[name] for name in ("decided_at", "decision_id", "recommendation", "arm", "model_version")]
        query = (
            sa.select(*rows, decisions.c.pd, decisions.c.score, decisions.c.record)
            .where(decisions.c.decided_at < end, *_conditions(segment or Segment()))
            .order_by(decisions.c.decided_at, decisions.c.decision_id)
            .limit(PAGE)
        )
        while True:
            begun = time.monotonic()
            place = [decisions.c.decided_at >= (after.decided_at if after else start)]
            found = self._page(query.where(*place, *([beyond(after)] if after else [])))
            if found is None:
                return
            yield found
            rest(time.monotonic() - begun)
            if found.rows < PAGE:
                return
            after = found.last

    def outcomes(self, start: datetime, end: datetime, segment: Segment) -> dict[str, int]:
        """Return how many decisions of a window have which outcome by now."""
        query = (
            sa.select(outcomes.c.outcome, sa.func.count())
            .join(decisions, decisions.c.decision_id == outcomes.c.decision_id)
            .where(decisions.c.decided_at >= start, decisions.c.decided_at < end, *_conditions(segment))
            .where(outcomes.c.observed_at == counted_at())
            .group_by(outcomes.c.outcome)
        )
        with self._log.reading() as connection:
            return {name: int(count) for name, count in connection.execute(query)}

    def close(self) -> None:
        """Close all connections."""
        self._log.close()

    def _page(self, query: sa.Select[Any]) -> Page | None:
        values: list[dict[str, Any]] = []
        keys: list[tuple[Any, ...]] = []
        with self._log.reading() as connection:
            for together in connection.execution_options(yield_per=AT_ONCE).execute(query).partitions():
                for row in together:
                    values.append(inputs_of(row[1], row[-1]))
                    keys.append(tuple(row[:-1]))
        if not keys:
            return None
        at, ids, recommendation, arm, version, pd, score = zip(*keys, strict=True)
        names = list(dict.fromkeys(chain.from_iterable(values)))
        columns = dict(zip(names, map(plain_values, zip(*_table(values, names), strict=True)), strict=True))
        columns |= {
            PD: np.array(pd, float),
            SCORE: np.array(score, float),
            RECOMMENDATION: plain_values(recommendation),
        }
        bands = band_numbers(columns[PD]).tolist()
        places: dict[tuple[str, str, str, int], list[int]] = {}
        for place, cell in enumerate(zip(recommendation, arm, version, bands, strict=True)):
            places.setdefault(cell, []).append(place)
        cells = {
            Segment(recommendation=cell[0], arm=cell[1], model_version=cell[2], band=BANDS[cell[3]]): np.array(rows)
            for cell, rows in places.items()
        }
        return Page(columns, cells, len(keys), utc(at[0]), Mark(utc(at[-1]), ids[-1]))


def _table(values: list[dict[str, Any]], names: list[str]) -> Iterator[Sequence[Any]]:
    if len(names) > 1 and all(len(row) == len(names) for row in values):
        return map(itemgetter(*names), values)
    return ([row.get(name) for name in names] for row in values)


def inputs_of(decision_id: str, record: str) -> dict[str, Any]:
    """Return the features of a logged decision by name, as the model saw them, numbers as floats.

    Raises
    ------
    UnavailableError
        If the record cannot be read; it names the decision.
    """
    try:
        sources = _features.decode(record).features.values()
    except msgspec.MsgspecError as error:
        raise UnavailableError(
            f"decision {decision_id} was logged in a form that this program does not read: {error}"
        ) from None
    flat: dict[str, Any] = {}
    for source in sources:
        flat.update(source.values)
    return flat


def _conditions(segment: Segment) -> list[sa.ColumnElement[bool]]:
    fixed = {name: value for name in ("recommendation", "arm", "model_version") if (value := getattr(segment, name))}
    conditions: list[sa.ColumnElement[bool]] = [decisions.c[name] == value for name, value in fixed.items()]
    if segment.band:
        low, high = band_limits(segment.band)
        conditions += [decisions.c.pd > low, decisions.c.pd <= high]
    return conditions


def _hour(start: str | datetime) -> datetime:
    return utc(datetime.strptime(start, "%Y-%m-%d %H") if isinstance(start, str) else start)
