"""A Feast view's Arrow rows, encoded for Redis in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.online_stores.helpers import compute_versioned_name

from feature_repo.errors import InputError
from feature_repo.stores.compile import field_hash
from feature_repo.stores.encode import VALUE_TYPES, encode_keys, encode_timestamps, encode_values
from feature_repo.stores.resp import Columns, Rows

BATCH_ROWS = 8192


def stored_name(config: Any, view: Any) -> str:
    """Return the name under which a view's values are stored, its version included where Feast is told so."""
    return str(compute_versioned_name(view, config.registry.enable_online_feature_view_versioning))


def view_fields(name: str, features: Iterable[str]) -> dict[str, bytes]:
    """Return the hash field of each feature of the view stored as `name`.

    Raises
    ------
    InputError
        If two of them share a field, which Feast would let overwrite each other.
    """
    fields: dict[str, bytes] = {}
    owners: dict[bytes, str] = {}
    for feature in features:
        field = bytes.fromhex(field_hash(name, feature))
        if field in owners:
            raise InputError(f"view {name}: {feature} and {owners[field]} share a Redis field; rename one of them")
        owners[field] = feature
        fields[feature] = field
    return fields


class ViewEncoder:
    """Encode rows of one view, columns being named as its features are.

    Parameters
    ----------
    config : feast.RepoConfig
        Project, key TTL and versioning.
    view : feast.FeatureView
        As applied, so that the types of its keys are known.

    Raises
    ------
    InputError
        If a feature is of a type that is not stored online here.
    """

    def __init__(self, config: Any, view: Any) -> None:
        self._project = config.project
        self._ttl = config.online_store.key_ttl_seconds or 0
        self._name = stored_name(config, view)
        self._event = view.batch_source.timestamp_field
        self._keys = {column.name: column.dtype.to_value_type().name for column in view.entity_columns}
        self._types = {field.name: field.dtype.to_value_type().name for field in view.features}
        self._fields = view_fields(self._name, self._types)
        for feature, kind in self._types.items():
            if kind not in VALUE_TYPES:
                raise InputError(
                    f"view {view.name}: feature {feature} is {kind}, which is not stored online here "
                    f"(can be: {', '.join(VALUE_TYPES)})"
                )

    def encode(self, batch: Any) -> Rows:
        """Encode a record batch, in which a key occurs once.

        Raises
        ------
        InputError
            If a column is missing, of another type, or null where nothing may be null.
        """
        keys = {name: (self._column(batch, name), kind) for name, kind in self._keys.items()}
        values = {
            self._fields[feature]: encode_values(self._column(batch, feature), kind, f"{self._name}:{feature}")
            for feature, kind in self._types.items()
        }
        stamps = encode_timestamps(self._column(batch, self._event), f"{self._name}:{self._event}")
        redis_keys = encode_keys(keys, self._project)
        return Rows(Columns(redis_keys, stamps, f"_ts:{self._name}".encode(), values, self._ttl))

    def _column(self, batch: Any, name: str) -> Any:
        index = batch.schema.get_field_index(name)
        if index < 0:
            raise InputError(f"view {self._name}: no column {name!r} (there are: {', '.join(batch.schema.names)})")
        return batch.column(index)


def record_batches(table: Any, rows: int = BATCH_ROWS) -> Sequence[Any]:
    """Return a table's rows in batches of one size."""
    return [batch for batch in table.to_batches(max_chunksize=rows) if batch.num_rows]


def newest_of_each(table: Any, keys: Sequence[str], times: Sequence[str]) -> Any:
    """Return one row for each key: the latest by `times`, of equal ones the last given."""
    ordered = table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in times]))
    places = ordered.select(list(keys)).append_column("", pa.array(range(len(ordered))))
    last = places.group_by(list(keys), use_threads=False).aggregate([("", "max")])
    return ordered.take(last["_max"])
