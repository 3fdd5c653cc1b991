"""The training frame: matured loans joined, through Feast, with what was known when each was decided."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore
from numpy.typing import NDArray

from feature_repo.contract import Contract, FeatureSpec
from feature_repo.errors import InputError
from training.loans import DECIDED_HERE, DecidedHere, choose_loans

KEYS = ("loan_id", "applicant_id", "event_timestamp", "defaulted")


class Exclusion(Protocol):
    """A rule of the policy that declines whatever the model says."""

    @property
    def feature(self) -> str:
        """Feature that it reads."""

    def fires(self, value: float | int | bool | str | None) -> bool:
        """Return whether it declines this value."""


@dataclass(frozen=True)
class Dataset:
    """A point-in-time training frame of n loans.

    Parameters
    ----------
    table : pyarrow.Table
        One row a loan, ordered by loan_id: ``loan_id``, ``applicant_id``, ``event_timestamp`` (UTC,
        the decision), ``defaulted`` (bool), then the features of the contract; nulls are missing.
    specs : tuple of FeatureSpec
        The model features that have any value before `oot_start`; only these are learned from.
    as_of : datetime
        Until when outcomes were known, UTC.
    oot_start : datetime
        Start of the out-of-time window, UTC.
    waterfall : dict of str to int
        How many loans each exclusion left, in order, then those on each side of `oot_start`.
    digest : str
        SHA-256 of all values, ``sha256:<hex>``.
    query : str
        The SQL that chose the loans.
    decided_here : ndarray of bool, shape (n,)
        Whether each is a decision of this home with its outcome, and none of the loans table.
    left_out : dict of str to int
        Decisions of this home that are no loans to learn from, by why.
    """

    table: pa.Table
    specs: tuple[FeatureSpec, ...]
    as_of: datetime
    oot_start: datetime
    waterfall: dict[str, int]
    digest: str
    query: str
    decided_here: NDArray[np.bool_]
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def decided(self) -> NDArray[np.datetime64]:
        """When each loan was decided, UTC, datetime64[us] of shape (n,)."""
        return np.asarray(self.table["event_timestamp"].to_numpy()).astype("M8[us]")

    @cached_property
    def is_oot(self) -> NDArray[np.bool_]:
        """Whether each loan was decided in the out-of-time window, shape (n,)."""
        return np.asarray(self.decided >= np.datetime64(self.oot_start.replace(tzinfo=None), "us"))

    @cached_property
    def defaulted(self) -> NDArray[np.bool_]:
        """Outcomes, shape (n,)."""
        return np.asarray(self.table["defaulted"].to_numpy(zero_copy_only=False)).astype(bool)

    @property
    def frame(self) -> pd.DataFrame:
        """The table as a new data frame."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def values(self, rows: NDArray[np.bool_], names: Sequence[str] | None = None) -> dict[str, NDArray[np.object_]]:
        """Return columns of the chosen rows, by name, None where missing; of the model features if none are named."""
        chosen = self.table.filter(pa.array(rows))
        wanted = [spec.name for spec in self.specs] if names is None else names
        return {name: np.array([*chosen[name].to_pylist(), None], dtype=object)[:-1] for name in wanted}

    def missing(self, name: str, rows: NDArray[np.bool_]) -> float:
        """Return the share of the chosen rows without a value of a feature, 0..1; 1 if there is no such column."""
        if name not in self.table.column_names:
            return 1.0
        chosen = self.table[name].filter(pa.array(rows))
        return float(chosen.null_count / len(chosen)) if len(chosen) else 1.0


def build_dataset(
    store: FeatureStore,
    contract: Contract,
    loans: str,
    *,
    as_of: datetime,
    oot_start: datetime,
    performance_months: int = 0,
    policy: Sequence[Exclusion] = (),
    decided: DecidedHere | None = None,
    observed_until: datetime | None = None,
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
    performance_months : int
        Months after the decision in which a default counts; a loan counts only when they are over, to the end of
        their last day (UTC), and is good if no default was observed until then, whatever came of it later. With 0,
        every observed outcome counts as it is; before all have been observed, defaults, which show earlier, then
        count for more than their share.
    policy : sequence of Exclusion
        Rules of the policy; a loan that one of them would have declined is not learned from.
    decided : DecidedHere or None
        Loans beside those of the table that were decided here. One of an applicant of whom the sources knew nothing at
        the decision is not learned from: it was decided on what a request brought.
    observed_until : datetime or None
        UTC. Until when the loans table says what became of loans, if that is before `as_of`: one whose window was not
        over by then is young, for nobody has looked whether it defaulted since.

    Raises
    ------
    InputError
        If no loan has matured, or one side of `oot_start` is empty.
    """
    request = [spec.name for spec in contract.request]
    decided = decided or DecidedHere()
    total, known, query = choose_loans(
        loans,
        request,
        as_of=as_of,
        months=performance_months,
        decided=decided.loans,
        observed_until=observed_until,
    )
    waterfall = {"loans": total, "known by as_of": known.num_rows}
    for left, reason in (("one of each", "duplicate"), ("outcome matured", "young"), ("determinate", "indeterminate")):
        known = known.filter(pc.not_equal(known["excluded"], reason))
        waterfall[left] = known.num_rows
    if not known.num_rows:
        why = (
            f"was decided {performance_months} months before {as_of:%Y-%m-%d}: shorten --performance-months"
            if performance_months
            else f"has an outcome observed by {as_of:%Y-%m-%d}: move --as-of"
        )
        raise InputError(f"no loan of {waterfall['loans']} {why}")
    names = [*KEYS, *(spec.name for spec in contract.features)]
    table = _joined(store, contract, known.select([*KEYS, *request]), names)
    here = np.asarray(known["decided_here"].to_numpy(zero_copy_only=False)).astype(bool)
    if decided.loans is not None:
        found = ~here | _known_at_all(table, contract)
        table, here = table.filter(pa.array(found)), here[found]
        waterfall["applicant known"] = table.num_rows
    for rule in policy:
        within = ~_fires(rule, table[rule.feature])
        table, here = table.filter(pa.array(within)), here[within]
    waterfall["within policy"] = table.num_rows
    before = np.asarray(table["event_timestamp"].to_numpy()) < np.datetime64(oot_start.replace(tzinfo=None), "us")
    if not before.any() or before.all():
        bounds = pc.min_max(table["event_timestamp"]).as_py()
        raise InputError(
            f"an out-of-time window from {oot_start:%Y-%m-%d} on leaves {int(before.sum())} loans to train on and "
            f"{int((~before).sum())} to test on; loans that count run from {_day(bounds['min'])} to "
            f"{_day(bounds['max'])}: give an --oot-start between"
        )
    waterfall |= {"train": int(before.sum()), "out of time": int((~before).sum())}
    if decided.loans is not None:
        waterfall[DECIDED_HERE] = int(here.sum())
    earlier = table.filter(pa.array(before))
    specs = tuple(spec for spec in contract.model_features if earlier[spec.name].null_count < earlier.num_rows)
    digest = digest_of_table(table)
    return Dataset(table, specs, as_of, oot_start, waterfall, digest, query, here, decided.left_out)


def join_features(store: FeatureStore, entity: pa.Table, features: Sequence[str]) -> pa.Table:
    """Return features of applicants as they were known at an instant each, in the same order.

    Parameters
    ----------
    entity : pyarrow.Table
        ``applicant_id`` and ``event_timestamp`` (UTC).
    features : sequence of str
        ``view:feature`` references.
    """
    frame = entity.select(["applicant_id", "event_timestamp"]).to_pandas()
    job = store.get_historical_features(entity_df=frame, features=list(features), filter_by_created_timestamp=True)
    return job.to_arrow()


def _joined(store: FeatureStore, contract: Contract, loans: pa.Table, names: Sequence[str]) -> pa.Table:
    entity = loans.to_pandas().astype({"defaulted": bool})
    job = store.get_historical_features(
        entity_df=entity,
        features=store.get_feature_service(contract.service),
        filter_by_created_timestamp=True,
    )
    joined = job.to_arrow()
    if gone := [name for name in names if name not in joined.column_names]:
        raise InputError(f"feature service {contract.service} no longer gives {', '.join(gone)}: train again")
    return joined.select(names).combine_chunks()  # in the order of the entity frame: by loan_id


def _known_at_all(table: pa.Table, contract: Contract) -> NDArray[np.bool_]:
    """Return where any stored feature has a value."""
    known = np.zeros(table.num_rows, dtype=bool)
    for spec in (spec for view in contract.views for spec in view.features):
        known |= np.asarray(table[spec.name].is_valid().to_numpy()).astype(bool)
    return known


def _fires(rule: Exclusion, column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return where a rule declines, asking it once for each distinct value."""
    coded = column.combine_chunks().dictionary_encode()
    declines = np.array([rule.fires(value) for value in coded.dictionary.to_pylist()] + [False])
    return np.asarray(declines[coded.indices.fill_null(len(declines) - 1).to_numpy(zero_copy_only=False)])


def digest_of_table(table: pa.Table) -> str:
    """Hash names, types and values column by column, whatever the memory layout; ``sha256:<hex>``."""
    state = hashlib.sha256()
    for name in table.column_names:
        column = table[name].combine_chunks()
        state.update(f"{name}:{column.type}:{len(column)}\n".encode())
        if pa.types.is_null(column.type):
            continue
        state.update(np.packbits(column.is_valid().to_numpy(zero_copy_only=False)).tobytes())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            filled = column.cast(pa.large_string()).fill_null("")
            lengths = pc.binary_length(filled).to_numpy()
            state.update(np.ascontiguousarray(lengths).tobytes())
            start = int(np.frombuffer(filled.buffers()[1], np.int64)[filled.offset]) if len(filled) else 0
            data = filled.buffers()[2]
            state.update(memoryview(data)[start : start + int(lengths.sum())] if data else b"")
        elif pa.types.is_timestamp(column.type):
            state.update(column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).tobytes())
        else:
            state.update(
                column.fill_null(False if pa.types.is_boolean(column.type) else 0)
                .to_numpy(zero_copy_only=False)
                .tobytes()
            )
    return f"sha256:{state.hexdigest()}"


def _day(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d}"
