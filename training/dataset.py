"""The training frame: matured loans joined, through Feast, with what was known when each was decided."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
import pandas as pd
from feast import FeatureStore
from numpy.typing import NDArray

from feature_repo.contract import Contract, FeatureSpec
from feature_repo.errors import InputError

ENTITY_SQL = """
select
    loan_id, applicant_id, event_timestamp, outcome_observed_at, defaulted, {request},
    created_timestamp <= $as_of as known,
    coalesce(outcome_observed_at <= $as_of and defaulted is not null, false) as matured
from read_parquet($loans)
order by loan_id
"""


@dataclass(frozen=True)
class Dataset:
    """A point-in-time training frame of n loans.

    Parameters
    ----------
    frame : DataFrame
        One row a loan, ordered by loan_id: ``loan_id``, ``applicant_id``, ``event_timestamp`` (UTC,
        the decision), ``defaulted`` (bool), then the features of the contract.
    specs : tuple of FeatureSpec
        The model features that have any value before `oot_start`; only these are learned from.
    as_of : datetime
        Until when outcomes were known, UTC.
    oot_start : datetime
        Start of the out-of-time window, UTC.
    waterfall : dict of str to int
        How many loans each exclusion left, in order.
    digest : str
        SHA-256 of all values, ``sha256:<hex>``.
    """

    frame: pd.DataFrame
    specs: tuple[FeatureSpec, ...]
    as_of: datetime
    oot_start: datetime
    waterfall: dict[str, int]
    digest: str

    @property
    def is_oot(self) -> NDArray[np.bool_]:
        """Whether each loan was decided in the out-of-time window, shape (n,)."""
        return (self.frame["event_timestamp"] >= self.oot_start).to_numpy(dtype=bool)

    @property
    def defaulted(self) -> NDArray[np.bool_]:
        """Outcomes, shape (n,)."""
        return self.frame["defaulted"].to_numpy(dtype=bool)

    def values(self, rows: NDArray[np.bool_]) -> dict[str, NDArray[np.object_]]:
        """Return the model features of the chosen rows, by name."""
        chosen = self.frame.loc[rows]
        return {spec.name: chosen[spec.name].to_numpy(dtype=object) for spec in self.specs}


def build_dataset(
    store: FeatureStore, contract: Contract, loans: str, *, as_of: datetime, oot_start: datetime
) -> Dataset:
    """Join matured loans with the features that were known when each was decided.

    Parameters
    ----------
    store : FeatureStore
        The applied store of the home.
    contract : Contract
        What the FeatureService promises.
    loans : str
        Parquet glob of the loans table.
    as_of : datetime
        UTC. A loan counts only if its outcome was observed by then.
    oot_start : datetime
        UTC. Loans decided from then on are the out-of-time window.

    Raises
    ------
    InputError
        If no loan has matured, or one side of `oot_start` is empty.
    """
    request = [spec.name for spec in contract.request]
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    all_loans = connection.execute(ENTITY_SQL.format(request=", ".join(request)), {"loans": loans, "as_of": as_of}).df()
    known = all_loans[all_loans["known"]]
    matured = known[known["matured"]]
    waterfall = {"loans": len(all_loans), "known by as_of": len(known), "outcome matured": len(matured)}
    if matured.empty:
        raise InputError(f"no loan of {len(all_loans)} has an outcome observed by {as_of:%Y-%m-%d}: move --as-of")
    entity = matured[["loan_id", "applicant_id", "event_timestamp", "defaulted", *request]].astype({"defaulted": bool})
    job = store.get_historical_features(
        entity_df=entity,
        features=store.get_feature_service(contract.service),
        filter_by_created_timestamp=True,
    )
    names = ["loan_id", "applicant_id", "event_timestamp", "defaulted", *(spec.name for spec in contract.features)]
    frame = job.to_arrow().to_pandas()[names]  # in the order of the entity frame: by loan_id
    before = (frame["event_timestamp"] < oot_start).to_numpy(dtype=bool)
    if not before.any() or before.all():
        raise InputError(
            f"--oot-start {oot_start:%Y-%m-%d} leaves {int(before.sum())} loans to train on and "
            f"{int((~before).sum())} to test on; loans run from {frame['event_timestamp'].min():%Y-%m-%d} "
            f"to {frame['event_timestamp'].max():%Y-%m-%d}"
        )
    waterfall |= {"train": int(before.sum()), "out of time": int((~before).sum())}
    specs = tuple(spec for spec in contract.model_features if frame.loc[before, spec.name].notna().any())
    return Dataset(frame, specs, as_of, oot_start, waterfall, _digest(frame, names))


def _digest(frame: pd.DataFrame, names: Sequence[str]) -> str:
    """Hash names and values, row by row, whatever the memory layout."""
    state = hashlib.sha256("\n".join(names).encode())
    state.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return f"sha256:{state.hexdigest()}"
