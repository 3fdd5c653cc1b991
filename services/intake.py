"""From source tables and single events to Redis: validate, apply the definitions, materialize or push."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
from feast import FeatureStore, FeatureView

from feature_repo import registry
from feature_repo.contract import FeatureSpec
from feature_repo.errors import GateError, InputError, UnavailableError
from feature_repo.home import Home
from feature_repo.portfolios.portfolio import OWN_TABLES, SIMULATED, load_portfolio
from feature_repo.portfolios.swap import undisturbed
from feature_repo.stores.encode import encode_keys
from feature_repo.stores.event_schema import checked_events, event_schema, view_of
from feature_repo.stores.events import Events, read_events
from feature_repo.stores.push import KEPT, Pushed, append_events
from feature_repo.stores.push import push as push_rows
from services import embedded
from services.store_config import write_feature_store_yaml
from validation import last_good, quarantine
from validation.gates import LOANS, SourceTable, check_events, check_sources, require_passed
from validation.guard import Guard
from validation.results import GateResult

BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)
PROFILE = "applicant_profile"
_TELLING = 1 << 20  # bytes of a simulation's file of people that tell it from another


def validate(home: Home, table: str = "all", *, set_aside: bool = False, accept: bool = False) -> list[GateResult]:
    """Run Great Expectations on one source table or all of them, and write Data Docs.

    Parameters
    ----------
    set_aside : bool
        Whether faulty rows leave the sources, if they are few enough; pushes and ingests wait meanwhile.
    accept : bool
        Whether a change since the last good run is meant: nothing is compared, and what passes is the new measure.

    Raises
    ------
    InputError
        If there is no such table, nothing was ingested yet, or a suite in the home is none.
    """
    _require_sources(home)
    known = source_tables(home)
    if table not in (*known, "all"):
        raise InputError(f"unknown table {table!r} (known: {', '.join(known)}, all)")
    chosen = known if table == "all" else {table: known[table]}
    if not set_aside:
        return check_sources(home, chosen, origin=origin(home), compare=not accept)
    with undisturbed(home.sources):
        return check_sources(home, chosen, origin=origin(home), quarantine=True, compare=not accept)


def require_gated(home: Home) -> None:
    """Make sure that every source table passed its gate as it is now; those that changed since pass it again.

    Raises
    ------
    GateError
        If a table fails; nothing may be learned from it.
    """
    _require_sources(home)
    known, now = source_tables(home), origin(home)
    changed = []
    for table in known:
        last = last_good.read(home, table, now)
        if last is None or last.files != last_good.files_of(home, table):
            changed.append(table)
    if changed:
        with undisturbed(home.sources):
            require_passed(check_sources(home, {name: known[name] for name in changed}, origin=now, quarantine=True))


def source_tables(home: Home) -> dict[str, SourceTable]:
    """Return what each source table promises, by the definitions and the home's portfolio."""
    filled, ttls = filled_tables(home), _ttls(home)
    specs = registry.table_specs(home)
    tables = {
        name: SourceTable(
            columns,
            allow_empty=name not in filled,
            ttl=ttls.get(name),
            refers_to=(PROFILE,) if name != PROFILE and PROFILE in specs else (),
        )
        for name, columns in specs.items()
    }
    loans = SourceTable(registry.request_specs(home), allow_empty=LOANS not in filled, refers_to=tuple(specs))
    return tables | {LOANS: loans}


def origin(home: Home) -> str:
    """Return where the source tables come from, in a word: only tables of one origin are compared over time.

    It is the portfolio; a simulation of other people, in number or by another seed, is another origin.
    """
    portfolio = home.state().portfolio
    applicants = home.raw / SIMULATED / "applicants.parquet"
    if portfolio == SIMULATED and applicants.exists():
        with open(applicants, "rb") as stream:
            return f"{portfolio}-{hashlib.sha256(stream.read(_TELLING)).hexdigest()[:8]}"
    return portfolio


def _ttls(home: Home) -> dict[str, timedelta]:
    """Return, for each source table, the shortest time to live among its views that are served."""
    ttls: dict[str, timedelta] = {}
    for view in registry.load_definitions(home):
        if isinstance(view, FeatureView) and view.online and view.ttl:
            table = view.batch_source.name
            ttls[table] = min(view.ttl, ttls.get(table, view.ttl))
    return ttls


def filled_tables(home: Home) -> set[str]:
    """Return the source tables that this home's portfolio promises to fill.

    Tables that a user brought promise loans only.
    """
    portfolio = home.state().portfolio
    return {"loans"} if portfolio in ("", OWN_TABLES) else set(load_portfolio(portfolio).tables)


def materialize(home: Home, to: datetime | None = None) -> FeatureStore:
    """Validate, apply the definitions, then fill the online store up to an instant; pushes wait meanwhile.

    Faulty rows that are few enough are set aside first, and what Redis holds of their applicants is written anew.

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
    _require_sources(home)
    if to and to <= BEGINNING:
        raise InputError(f"--to {to:%Y-%m-%d} is before all data: give a later instant")
    # What passes the gate is what is read; and a correction pushed between reading and writing would be undone, since
    # it has the event time of what it corrects.
    with undisturbed(home.sources):
        require_passed(check_sources(home, source_tables(home), origin=origin(home), quarantine=True))
        embedded.ensure(home)
        store = registry.apply(home)
        end = to or home.now()  # what was pushed before was known by now
        before = home.state().materialized_to
        if before is None or end < before:
            # Nothing older, and nothing newer, may stay; until it is full again the service answers 503.
            home.save_state(msgspec.structs.replace(home.state(), refilling=True))
            registry.clear_online_store(store)
        applicants, aside = quarantine.unsettled(home)
        _forget(store, applicants)
        store.materialize(start_date=BEGINNING, end_date=end)
        quarantine.settle(home, aside)
        home.save_state(msgspec.structs.replace(home.state(), materialized_to=end, refilling=False))
    return store


def push(home: Home, view: str, path: str, *, accept: bool = False) -> Pushed:
    """Validate events, append them to a view's source table and serve them at once.

    Parameters
    ----------
    home : Home
    view : str
        Name of a stored feature view.
    path : str
        A JSON lines, CSV or Parquet file; ``-`` for JSON lines on standard input. An event without a
        created timestamp becomes known at the home's clock.
    accept : bool
        Whether many events may be unlike the table as it last passed its gate.

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
        result = check_events(home, table, rows, specs, origin(home), compare=not accept)
        if not result.passed and (fault := _fault(events, rows.to_pylist(), specs)):
            raise GateError(fault)
        require_passed([result], accept="candor push --accept")
        if away:
            append_events(store, view, rows, known_at)
            raise UnavailableError(f"{away}; {KEPT}")
        return push_rows(store, view, rows, known_at)


def _forget(store: FeatureStore, applicants: Iterable[str]) -> None:
    """Delete what Redis holds of these applicants: an older row would not win over one that was set aside."""
    online = store._get_provider().online_store
    ids = pa.array(sorted(applicants), pa.string())
    if len(ids):
        keys = encode_keys({store.get_entity("applicant").join_key: (ids, "STRING")}, store.config.project)
        online._get_client(store.config.online_store).delete(*keys.to_pylist())


def _redis_away(home: Home) -> str:
    """Start the home's own Redis if need be; say why it does not serve, since that keeps no event from its source."""
    if not home.redis_override:
        try:
            embedded.ensure(home)
        except UnavailableError as error:
            if not home.redis:
                raise  # without a port Feast cannot be configured
            write_feature_store_yaml(home)
            return str(error)
    write_feature_store_yaml(home)
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
