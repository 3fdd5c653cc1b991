"""The one door to Feast: load the definitions, apply them, read the contract back from the registry."""

from __future__ import annotations

import hashlib
import os
import runpy
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import feast
from feast import Entity, FeatureService, FeatureStore, FeatureView, FileSource, PushSource
from feast.errors import FeastError
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.contract import Contract, FeatureSpec, Kind, ViewSpec
from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import REPO_PATH, Home
from feature_repo.schema import derived_specs, spec_of

DUCKDB_TYPES: dict[Kind, str] = {"number": "DOUBLE", "count": "BIGINT", "flag": "BOOLEAN", "category": "VARCHAR"}

_ENTITY = "applicant"
_LONGEST = 500  # characters of what somebody else's error says


@contextmanager
def _environment(home: Home) -> Iterator[None]:
    """Point the definitions, which read the environment as plain Feast does, at this home."""
    before = os.environ.get("CANDOR_HOME")
    os.environ["CANDOR_HOME"] = str(home.root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CANDOR_HOME"]
        else:
            os.environ["CANDOR_HOME"] = before


def load_definitions(home: Home) -> list[Any]:
    """Return the Feast objects that definitions.py declares, with the sources of this home.

    Returns
    -------
    list
        Entities, sources, views and services in the order of the file.

    Raises
    ------
    InputError
        If they cannot be made: it names the line.
    """
    path = REPO_PATH / "definitions.py"
    kinds = (Entity, FileSource, PushSource, FeatureView, OnDemandFeatureView, FeatureService)
    with _environment(home):
        try:
            names = runpy.run_path(str(path))
            declared = list({id(value): value for value in names.values() if isinstance(value, kinds)}.values())
            _check(declared)
        except UnavailableError:
            raise
        except (Exception, SystemExit) as error:  # whatever Feast, or Python, says of what people write there
            raise InputError(f"{_place(path, error)}: {_said(error)}") from error
    return declared


def _check(declared: Sequence[Any]) -> None:
    """Refuse views that Feast takes and that say too little, or that it refuses without a word of where they are."""
    views = [thing for thing in declared if isinstance(thing, FeatureView | OnDemandFeatureView)]
    names = [view.name.casefold() for view in views]
    for view in views:
        if names.count(view.name.casefold()) > 1:
            raise ValueError(f"two views are called {view.name!r}, capitals aside")
        if isinstance(view, OnDemandFeatureView):
            for field in [field for source in view.source_request_sources.values() for field in source.schema]:
                spec_of(field, "request")
            continue
        if _ENTITY not in view.entities:
            raise ValueError(f"view {view.name}: its entities have to be the applicant's, and are {view.entities}")
        for field in view.features:
            spec_of(field, view.name)


def _place(path: Path, error: BaseException) -> str:
    """Return the file and line of an error in the definitions: of theirs, or of a module beside them."""
    beside = str(path.parent) + os.sep
    at: tuple[str, int | None] = (str(path), None)
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(beside):
        at = (error.filename or "", error.lineno)
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == str(path) or (frame.filename.startswith(beside) and frame.name == "<module>"):
                at = (frame.filename, frame.lineno)
    name = f"{path.parent.name}/{Path(at[0]).relative_to(path.parent)}"
    return f"{name}:{at[1]}" if at[1] else name


def _said(error: BaseException) -> str:
    text = str((error.msg or "") if isinstance(error, SyntaxError) else error)
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:_LONGEST]
    is_bare = isinstance(error, LookupError | SystemExit) or not line
    return ": ".join(filter(None, [type(error).__name__, line])) if is_bare else line


def table_specs(home: Home) -> dict[str, tuple[FeatureSpec, ...]]:
    """Return the features that each source table holds, protected ones included.

    Returns
    -------
    dict of str to tuple of FeatureSpec
        Source table name to the specs of its columns, without the three key columns.
    """
    tables: dict[str, tuple[FeatureSpec, ...]] = {}
    for view in load_definitions(home):
        if isinstance(view, FeatureView):
            table = view.batch_source.name
            specs = tuple(spec_of(field, view.name) for field in view.features)
            tables[table] = tables.get(table, ()) + specs
    return tables


def request_specs(home: Home) -> tuple[FeatureSpec, ...]:
    """Return the inputs that a request brings, which the loans table holds for past requests."""
    sources = [
        source
        for view in load_definitions(home)
        if isinstance(view, OnDemandFeatureView)
        for source in view.source_request_sources.values()
    ]
    return tuple(spec_of(field, "request") for source in sources for field in source.schema)


def table_columns(home: Home) -> dict[str, dict[str, str]]:
    """Return the columns of each source table and their DuckDB types, without the key columns."""
    return {table: {spec.name: DUCKDB_TYPES[spec.kind] for spec in specs} for table, specs in table_specs(home).items()}


def open_store(home: Home) -> FeatureStore:
    """Open the Feast store of this home.

    Raises
    ------
    UnavailableError
        If the home has no feature_store.yaml yet.
    """
    path = home.feature_store_yaml
    if not path.exists():
        raise UnavailableError(f"{path} is not there yet: run `candor env` to prepare this home")
    return FeatureStore(repo_path=str(REPO_PATH), fs_yaml_file=path)


def apply(home: Home) -> FeatureStore:
    """Make this home's registry what definitions.py says, as `feast apply` does, and open its store.

    Raises
    ------
    InputError
        If the definitions cannot be made, or Feast refuses them.
    UnavailableError
        As for `open_store`.
    """
    declared = load_definitions(home)
    for view in declared:
        if isinstance(view, FeatureView):
            _ttl_seconds(view)
    store = open_store(home)
    names = {thing.name for thing in declared}
    registered = [*store.list_feature_services(), *store.list_on_demand_feature_views(), *store.list_feature_views()]
    stale = [thing for thing in registered if thing.name not in names]
    try:
        store.apply(declared, objects_to_delete=stale, partial=False)
    except (FeastError, ValueError) as error:  # such as a function that does not return what its view declares
        raise InputError(f"{REPO_PATH.name}/definitions.py: {_said(error)}") from error
    mark, text = _applied(home)
    mark.write_text(text, encoding="utf-8")
    return store


def applied_store(home: Home, view: str) -> FeatureStore:
    """Open the store of this home as `apply` leaves it; quick where `apply` has been and the view is there."""
    mark, text = _applied(home)
    if mark.exists() and mark.read_text(encoding="utf-8") == text:
        store = open_store(home)
        if view in (known.name for known in store.list_feature_views()):  # the registry may be another by now
            return store
    return apply(home)


def _applied(home: Home) -> tuple[Path, str]:
    """Return the file that remembers what was applied last, and what it says of the definitions as they are."""
    digest = hashlib.sha256(f"{feast.__version__} {home.root}".encode())
    for path in sorted(REPO_PATH.glob("*.py")):
        digest.update(path.read_bytes())
    return home.root / "registry.sha256", digest.hexdigest()


def _ttl_seconds(view: FeatureView) -> int:
    """Return a view's time to live, 0 for ever; refuse a part of a second, which would be cut off online."""
    ttl = view.ttl or timedelta(0)
    if ttl % timedelta(seconds=1):
        raise InputError(f"view {view.name}: ttl {ttl} is not a whole number of seconds")
    return ttl // timedelta(seconds=1)


def clear_online_store(store: FeatureStore) -> None:
    """Delete every applicant from the online store, so that none of an older portfolio is left."""
    join_key = store.get_entity(_ENTITY).join_key
    store._get_provider().online_store.delete_entity_values(store.config, [join_key])


def read_contract(store: FeatureStore, service: str) -> Contract:
    """Read the contract of one FeatureService from the registry.

    Parameters
    ----------
    store : FeatureStore
        An applied store.
    service : str
        Name of the FeatureService, for example ``"credit_decision_v1"``.

    Raises
    ------
    InputError
        If the registry has no such service, or one of its on-demand views no contract.
    """
    known = {candidate.name: candidate for candidate in store.list_feature_services()}
    if service not in known:
        raise InputError(f"feature service {service!r} is not in the registry (known: {', '.join(known) or 'none'})")
    stored = {view.name: view for view in store.list_feature_views()}
    derived = {view.name: view for view in store.list_on_demand_feature_views()}
    views: list[ViewSpec] = []
    request: dict[str, FeatureSpec] = {}
    on_demand: list[FeatureSpec] = []
    for projection in known[service].feature_view_projections:
        chosen = {field.name for field in projection.features}
        if projection.name in derived:
            view = derived[projection.name]
            try:
                on_demand += [spec for spec in derived_specs(view.tags) if spec.name in chosen]
            except ValueError as error:
                raise InputError(f"view {view.name}: {error}") from None
            for source in view.source_request_sources.values():
                request |= {field.name: spec_of(field, "request") for field in source.schema}
        else:
            view = stored[projection.name]
            views.append(
                ViewSpec(
                    name=view.name,
                    table=view.batch_source.name,
                    ttl_seconds=_ttl_seconds(view),
                    missing_reason=view.tags.get("missing_reason", ""),
                    features=tuple(spec_of(field, view.name) for field in view.features if field.name in chosen),
                )
            )
    return Contract(service=service, views=tuple(views), request=tuple(request.values()), on_demand=tuple(on_demand))
