"""From source tables to Redis: validate, apply the definitions, materialize."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from feast import FeatureStore

from feature_repo import registry
from feature_repo.errors import InputError
from feature_repo.home import Home
from feature_repo.portfolios.portfolio import OWN_TABLES, load_portfolio
from services import embedded
from validation.gates import check_sources, require_passed
from validation.results import GateResult

BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)


def validate(home: Home, table: str = "all") -> list[GateResult]:
    """Run Great Expectations on one source table or all of them, and write Data Docs.

    Raises
    ------
    InputError
        If there is no such table, or nothing was ingested yet.
    """
    if not home.sources.is_dir():
        raise InputError(f"{home.sources} is empty: run `candor ingest` first")
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
    """Validate, apply the definitions, then fill the online store up to an instant.

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
    end = to or home.now()
    if end <= BEGINNING:
        raise InputError(f"--to {end:%Y-%m-%d} is before all data: give a later instant")
    before = home.state().materialized_to
    if before is None or end < before:
        # Nothing older, and nothing newer, may stay; until it is full again the service answers 503.
        home.save_state(msgspec.structs.replace(home.state(), refilling=True))
        registry.clear_online_store(store)
    store.materialize(start_date=BEGINNING, end_date=end)
    home.save_state(msgspec.structs.replace(home.state(), materialized_to=end, refilling=False))
    return store
