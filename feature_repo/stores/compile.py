"""Compile the contract to Feast's Redis layout, so that serving reads it without Feast.

The layout is Feast's documented one: the key is the entity key of serialization version 3
followed by the project; each hash field is the 32-bit Murmur3 hash of ``view:feature``; the event
time of a view is under ``_ts:view``.

References
----------
https://github.com/feast-dev/feast/blob/master/docs/specs/online_store_format.md
"""

from __future__ import annotations

import struct

import mmh3

from feature_repo.contract import Contract
from feature_repo.errors import InputError
from feature_repo.stores.plan import FeatureSlot, OnlinePlan, ViewPlan

_STRING = 2  # feast.types.ValueType.STRING


def compile_plan(contract: Contract, *, project: str, join_key: str = "applicant_id") -> OnlinePlan:
    """Return where Redis keeps each stored feature of the contract.

    Parameters
    ----------
    contract : Contract
        Its stored views are compiled; request inputs and on-demand features are not in Redis.
    project : str
        Feast project, the end of every key.
    join_key : str
        Join key of the one entity, a string.

    Raises
    ------
    InputError
        If two features hash to one field, which Feast would let overwrite each other.

    Examples
    --------
    >>> from feature_repo.contract import Contract
    >>> empty = Contract(service="s", views=(), request=(), on_demand=())
    >>> compile_plan(empty, project="p", join_key="id").key("A1").hex()
    '01000000020000000200000069640200000002000000413170'
    """
    name = join_key.encode()
    head = struct.pack("<III", 1, _STRING, len(name)) + name + struct.pack("<I", _STRING)
    owners: dict[str, str] = {}
    views = []
    for view in contract.views:
        slots = []
        for spec in view.features:
            slot = FeatureSlot(spec.name, spec.kind, field_hash(view.name, spec.name))
            other = owners.setdefault(slot.hash, f"{view.name}:{spec.name}")
            if other != f"{view.name}:{spec.name}":
                raise InputError(f"{view.name}:{spec.name} and {other} share a Redis field; rename one of them")
            slots.append(slot)
        views.append(ViewPlan(view.name, view.ttl_seconds, f"_ts:{view.name}", tuple(slots)))
    return OnlinePlan(project, head.hex(), project.encode().hex(), tuple(views))


def field_hash(view: str, feature: str) -> str:
    """Return the hash field of a feature, 4 bytes little-endian in hex."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False)).hex()
