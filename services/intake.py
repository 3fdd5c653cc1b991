"""From source tables and single events to Redis: validate, apply the definitions, materialize or push."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from feast import FeatureStore

from feature_repo import registry
from feature_repo.contract import FeatureSpec
from feature_repo.errors import GateError, InputError, UnavailableError
from feature_repo.home import Home
from feature_repo.portfolios.portfolio import OWN_TABLES, load_portfolio
from feature_repo.portfolios.swap import undisturbed
from feature_repo.stores.event_schema import checked_events, event_schema, view_of
from feature_repo.stores.events import Events, read_events
from feature_repo.stores.push import KEPT, Pushed, append_events
from feature_repo.stores.push import push as push_rows
from services import embedded
from validation.gates import check_events, check_sources, require_passed
from validation.guard import Guard
from validation.results import GateResult

BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)


def validate(home: Home, table: str = "all") -> list[GateResult]:
    """Run Great Expectations on one source table or all of them, and write Data Docs.

    Raises
    ------
    InputError
        If there is no such table, or nothing was ingested yet.
    """
    _require_sources(home)
    specs = registry.table_specs(home) | {"loans": registry.request_specs(home)}
    names = list(specs)
    if table not in (*names, "all"):
        raise InputError(f"unknown table {table!r} (known: {', '.join(names)}, all)")
    chosen = names if table == "all" else [table]
    return check_sources(home, {name: specs[name] for name in chosen}, allow_empty=set(names) - filled_tables(home))


def filled_tables(home: Home) -> set[str]:
    """Return the source tables that this home's portfolio promises to fill.

    Tables that a user brought promise loans only.
    """
    portfolio = home.state().portfolio
    return {"loans"} if portfolio in ("", OWN_TABLES) else set(load_portfolio(portfolio).tables)


def materialize(home: Home, to: datetime | None = None) -> FeatureStore:
    """Validate, apply the definitions, then fill the online store up to an instant; pushes wait meanwhile.

    Parameters
    ----------
    home : Home
    to : datetime or None
        UTC; None means the home's clock.

    Raises
    ------
    GateError
        If a table fails validation; the online store is left as it was.
    """
    require_passed(validate(home))
    embedded.ensure(home)
    store = registry.apply(home)
    if to and to <= BEGINNING:
        raise InputError(f"--to {to:%Y-%m-%d} is before all data: give a later instant")
    # A correction pushed between reading and writing would be undone: it has the event time of what it corrects.
    with undisturbed(home.sources):
        end = to or home.now()  # what was pushed before was known by now
        before = home.state().materialized_to
        if before is None or end < before:
            # Nothing older, and nothing newer, may stay; until it is full again the service answers 503.
            home.save_state(msgspec.structs.replace(home.state(), refilling=True))
            registry.clear_online_store(store)
        store.materialize(start_date=BEGINNING, end_date=end)
        home.save_state(msgspec.structs.replace(home.state(), materialized_to=end, refilling=False))
    return store


def push(home: Home, view: str, path: str) -> Pushed:
    """Validate events, append them to a view's source table and serve them at once.

    Parameters
    ----------
    home : Home
    view : str
        Name of a stored feature view.
    path : str
        A JSON lines, CSV or Parquet file; ``-`` for JSON lines on standard input. An event without a
        created timestamp becomes known at the home's clock.

    Raises
    ------
    InputError
        If an event cannot be read, lacks a column or is later than the home's clock; the message
        names line and column. Nothing is written then.
    GateError
        If an event fails validation. Nothing is written then.
    UnavailableError
        If Redis does not take the events, which are in the source table by then: push them again.
    """
    _require_sources(home)
    away = _redis_away(home)
    store = registry.applied_store(home, view)
    events = read_events(path, event_schema(store, view))
    with undisturbed(home.sources):
        known_at = home.now()
        rows = checked_events(store, view, events.table, known_at)
        table = view_of(store, view).batch_source.name
        specs = registry.table_specs(home)[table]
        result = check_events(home, table, rows, specs)
        if not result.passed:
            raise GateError(_fault(events, rows.to_pylist(), specs) or f"validation failed: {result.failures[0]}")
        if away:
            append_events(store, view, rows, known_at)
            raise UnavailableError(f"{away}; {KEPT}")
        return push_rows(store, view, rows, known_at)


def _redis_away(home: Home) -> str:
    """Start the home's own Redis if need be; say why it does not serve, since that keeps no event from its source."""
    if not home.redis_override:
        try:
            embedded.ensure(home)
        except UnavailableError as error:
            if not home.redis:
                raise  # without a port Feast cannot be configured
            embedded.write_feature_store_yaml(home)
            return str(error)
    embedded.write_feature_store_yaml(home)
    return ""


def _fault(events: Events, rows: list[dict[str, object]], specs: tuple[FeatureSpec, ...]) -> str:
    """Return where the first value is that the contract does not allow; empty if keys or times are at fault."""
    guard = Guard(specs)
    for place, row in enumerate(rows):
        for violation in guard.check(row):
            return f"validation failed: {events.place(place)}, column {violation.message}"
    return ""


def _require_sources(home: Home) -> None:
    if not home.sources.is_dir():
        raise InputError(f"{home.sources} is empty: run `candor ingest` first")
