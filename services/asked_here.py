"""Everybody on whom this home decided in the out-of-time window, loan or not.

Of what was decided here only approvals become loans. How a portfolio drifts and whom a cutoff treats differently is a
question about all who ask, so that both are measured on these, scored by the candidate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray

from feature_repo.errors import UnavailableError
from feature_repo.home import Home
from monitoring.log_reader import AT_ONCE, LogReader, utc
from monitoring.log_tables import decisions
from monitoring.logged_inputs import inputs_of
from training.champion import Candidate
from training.dataset import Dataset
from training.recipe import Recipe
from training.scored import Bools, Floats

MOST = 50_000


@dataclass(frozen=True)
class AskedHere:
    """n decisions of the window, every `step`-th there was.

    Parameters
    ----------
    entity : pyarrow.Table
        ``applicant_id`` and ``event_timestamp`` (UTC) of each, in this order.
    features : pandas.DataFrame of shape (n, n_features)
        What the model reads, as the decisions saw it.
    pd : ndarray of float64, shape (n,)
        By the candidate.
    outcome_known, defaulted : ndarray of bool, shape (n,)
        Whether each is a loan of the dataset, and whether that loan defaulted.
    """

    entity: pa.Table
    features: pd.DataFrame
    pd: Floats
    outcome_known: Bools
    defaulted: Bools
    step: int

    @property
    def decided(self) -> NDArray[np.datetime64]:
        """When each was decided, UTC, datetime64[us] of shape (n,)."""
        return np.asarray(self.entity["event_timestamp"].to_numpy()).astype("M8[us]")


def asked_here(home: Home, dataset: Dataset, candidate: Candidate, recipe: Recipe) -> AskedHere | None:
    """Return the decisions of the window; None if no loan of the window was decided here.

    Raises
    ------
    UnavailableError
        If the log is not there, or holds what cannot be read.
    """
    here = dataset.is_oot & dataset.decided_here
    if recipe.loaded_by is None or not here.any():
        return None
    reader = LogReader(home.decision_log_url)
    try:
        step, rows = _read(reader, recipe)
    finally:
        reader.close()
    ids, applicants, instants, values = zip(*rows, strict=True)
    bads = dict(zip(dataset.table["loan_id"].filter(pa.array(here)).to_pylist(), dataset.defaulted[here], strict=True))
    names = [spec.name for spec in dataset.specs]
    return AskedHere(
        entity=pa.table(
            {
                "applicant_id": pa.array(applicants, pa.string()),
                "event_timestamp": pa.array(instants, pa.timestamp("us", "UTC")),
            }
        ),
        features=pd.DataFrame({name: [one.get(name) for one in values] for name in names}),
        pd=np.array([candidate.scorer.score(one).pd for one in values]),
        outcome_known=np.array([one in bads for one in ids]),
        defaulted=np.array([bool(bads.get(one, False)) for one in ids]),
        step=step,
    )


def _read(reader: LogReader, recipe: Recipe) -> tuple[int, list[tuple[Any, ...]]]:
    assert recipe.loaded_by is not None
    window = sa.and_(
        decisions.c.as_of >= recipe.oot_start.astimezone(UTC),
        decisions.c.as_of <= recipe.as_of.astimezone(UTC),
        decisions.c.decided_at <= recipe.loaded_by.astimezone(UTC),
    )
    columns = [decisions.c[name] for name in ("decision_id", "applicant_id", "as_of", "record")]
    with reader.reading() as connection:
        total = int(connection.execute(sa.select(sa.func.count()).where(window)).scalar_one())
        step = max(ceil(total / MOST), 1)
        found = connection.execution_options(yield_per=AT_ONCE).execute(
            sa.select(*columns).where(window).order_by(decisions.c.decision_id)
        )
        return step, list(_taken(found, step))


def _taken(rows: Any, step: int) -> Iterator[tuple[Any, ...]]:
    for number, (decision_id, applicant_id, as_of, record) in enumerate(rows):
        if number % step:
            continue
        try:
            values = inputs_of(decision_id, record)
        except UnavailableError as error:
            raise UnavailableError(f"{error}; to learn without what was decided here: --without-decided") from None
        yield decision_id, applicant_id, utc(as_of), values
