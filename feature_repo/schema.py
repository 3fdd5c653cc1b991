"""Helpers that write the contract into Feast objects and read it back.

`feature()` declares a field of a view or of the request, with its meaning in Feast tags, which
`feast apply` keeps. Fields of on-demand views lose their tags in Feast 0.67, so `derived_tags()`
keeps theirs as one JSON in the tags of the view.
"""

from __future__ import annotations

from typing import Any

import msgspec
from feast import Field
from feast.types import Bool, Float64, Int64, String

from feature_repo.contract import FeatureSpec, Kind, Risk, Role

_DTYPES = {"number": Float64, "count": Int64, "flag": Bool, "category": String}
_DERIVED = "features"


def feature(
    name: str,
    kind: Kind,
    description: str,
    *,
    unit: str,
    low: float | None = None,
    high: float | None = None,
    risk: Risk = "either",
    reason: str = "",
    role: Role = "model",
    null_means: str = "",
    categories: tuple[str, ...] = (),
) -> Field:
    """Declare one feature: a Feast field that carries the whole contract of its values.

    See `feature_repo.contract.FeatureSpec` for the parameters.

    Raises
    ------
    ValueError
        If a model feature gives no reason, a category no values, a range is upside down, or a word is not among
        those that its parameter may be.

    Examples
    --------
    >>> field = feature("credit_utilization", "number", "Revolving balance over limit", unit="ratio",
    ...                 low=0, high=5, risk="increases", reason="Revolving balances are high")
    >>> field.name, field.tags["unit"], field.tags["risk"]
    ('credit_utilization', 'ratio', 'increases')
    """
    if kind not in _DTYPES:
        raise ValueError(f"feature {name!r}: kind {kind!r} is none of {', '.join(_DTYPES)}")
    if role == "model" and not reason:
        raise ValueError(f"feature {name!r}: a model feature needs the reason told when it raises risk")
    if (kind == "category") != bool(categories):
        raise ValueError(f"feature {name!r}: categories go with kind 'category', and only with it")
    if low is not None and high is not None and low > high:
        raise ValueError(f"feature {name!r}: low {low} is above high {high}")
    tags = {
        "kind": kind,
        "unit": unit,
        "low": "" if low is None else repr(float(low)),
        "high": "" if high is None else repr(float(high)),
        "risk": risk,
        "reason": reason,
        "role": role,
        "null_means": null_means,
        "categories": ",".join(categories),
    }
    field = Field(name=name, dtype=_DTYPES[kind], description=description, tags=tags)
    try:
        spec_of(field, "")
    except msgspec.ValidationError as error:
        raise ValueError(f"feature {name!r}: {error}") from None
    return field


def spec_of(field: Field, view: str) -> FeatureSpec:
    """Read back the contract of a field declared by `feature()`.

    Raises
    ------
    ValueError
        If the field carries no contract, that is, it was declared as a bare `Field`.
    """
    tags = field.tags
    if "kind" not in tags:
        raise ValueError(f"{view}.{field.name} has no contract: declare it with feature_repo.schema.feature()")
    fields: dict[str, Any] = {
        **tags,
        "name": field.name,
        "view": view,
        "description": field.description,
        "low": float(tags["low"]) if tags["low"] else None,
        "high": float(tags["high"]) if tags["high"] else None,
        "categories": tuple(tags["categories"].split(",")) if tags["categories"] else (),
    }
    return msgspec.convert(fields, FeatureSpec)


def plain(fields: list[Field]) -> list[Field]:
    """Return the fields without tags and description, as an on-demand view of Feast 0.67 needs them."""
    return [Field(name=field.name, dtype=field.dtype) for field in fields]


def derived_tags(view: str, fields: list[Field]) -> dict[str, str]:
    """Return the view tags that carry the contract of an on-demand view's fields."""
    return {_DERIVED: msgspec.json.encode([spec_of(field, view) for field in fields]).decode()}


def derived_specs(tags: dict[str, str]) -> tuple[FeatureSpec, ...]:
    """Read back what `derived_tags` wrote.

    Raises
    ------
    ValueError
        If it wrote nothing there.
    """
    if _DERIVED not in tags:
        raise ValueError("it has no contract: give it tags=feature_repo.schema.derived_tags(...)")
    return msgspec.json.decode(tags[_DERIVED], type=tuple[FeatureSpec, ...])
