"""Raw files of a portfolio -> the source tables of a home, all of them or none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb
import msgspec

from feature_repo.errors import InputError
from feature_repo.home import Home
from feature_repo.portfolios.portfolio import (
    FOLDER,
    OWN_TABLES,
    SIMULATED,
    Portfolio,
    list_portfolios,
    load_portfolio,
)
from feature_repo.portfolios.raw import attach
from feature_repo.portfolios.simulated.config import SimulationConfig
from feature_repo.portfolios.simulated.simulate import simulate
from feature_repo.portfolios.source_tables import (
    Schema,
    check_loans,
    loan_purposes,
    source_schema,
    write_empty,
    write_table,
)
from feature_repo.portfolios.swap import replacing
from feature_repo.portfolios.tables import own_tables

__all__ = ["IngestReport", "ingest", "list_portfolios"]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class IngestReport:
    """What an ingest left in the home.

    Parameters
    ----------
    rows : dict of str to int
        Rows of each source table; 0 for a table that the portfolio does not fill.
    as_of, outcomes_as_of, oot_start : datetime or None
        The home's clock from now on, UTC; None means the wall clock, `as_of`, and no default.
    """

    portfolio: str
    rows: dict[str, int]
    as_of: datetime | None
    outcomes_as_of: datetime | None
    oot_start: datetime | None


def ingest(
    home: Home,
    portfolio: str,
    raw: Path | None = None,
    *,
    simulation: SimulationConfig | None = None,
    applicants: int | None = None,
    seed: int | None = None,
    progress: Progress = lambda stage: None,
) -> IngestReport:
    """Fill the home's source tables from a portfolio and set the home's clock to it.

    Parameters
    ----------
    portfolio : str
        One of `list_portfolios()`; ``"tables"`` takes ready source tables from `raw`.
    raw : Path or None
        Folder of the raw files. Only the simulated portfolio can do without: it then writes its own.
    simulation : SimulationConfig or None
        What to simulate; default `SimulationConfig()`. Its `as_of` is the portfolio's.
    applicants, seed : int or None
        Override those of `simulation`.
    progress : callable
        Told the name of each stage as it begins.

    Raises
    ------
    InputError
        If the portfolio is unknown or its files are not what it declares. The home is then as before.
    """
    if portfolio != SIMULATED and (applicants is not None or seed is not None or simulation is not None):
        raise InputError(f"portfolio {portfolio!r} is not simulated: it takes no number of applicants and no seed")
    declared = Portfolio(title="Source tables brought by the user")
    if portfolio != OWN_TABLES:
        declared = load_portfolio(portfolio)
    if raw is None:
        if portfolio != SIMULATED:
            what = declared.obtain or "give a folder of source tables"
            raise InputError(f"portfolio {portfolio!r} needs --from PATH: {what}")
        progress("simulate")
        config = simulation or SimulationConfig()
        config = replace(
            config,
            as_of=declared.as_of or config.as_of,
            applicants=config.applicants if applicants is None else applicants,
            seed=config.seed if seed is None else seed,
        )
        raw = simulate(home, config)
    elif not raw.exists():
        raise InputError(f"{raw} does not exist")
    rows = _write(home, portfolio, declared, raw, progress)
    if portfolio != SIMULATED:
        shutil.rmtree(home.truth, ignore_errors=True)  # the truth of another portfolio's loans
    state = msgspec.structs.replace(
        home.state(),
        portfolio=portfolio,
        as_of=declared.as_of,
        outcomes_as_of=declared.outcomes_as_of,
        oot_start=declared.oot_start,
        performance_months=declared.performance_months,
        materialized_to=None,
    )
    home.save_state(state)
    return IngestReport(portfolio, rows, state.as_of, state.outcomes_as_of, state.oot_start)


def _write(home: Home, name: str, declared: Portfolio, raw: Path, progress: Progress) -> dict[str, int]:
    """Write all source tables aside and put them in place together; return their rows."""
    schema = source_schema(home)
    rows = dict.fromkeys(schema, 0)
    with replacing(home.sources) as staging, duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        if name == OWN_TABLES:
            queries = own_tables(raw, schema)
        else:
            progress("read raw files")
            attach(con, declared, raw)
            queries = _portfolio_queries(con, FOLDER / name, declared, schema)
        for table, columns in schema.items():
            path = staging / table / "data.parquet"
            if table not in queries:
                write_empty(con, columns, path)
                continue
            progress(table)
            query, label = queries[table]
            rows[table] = write_table(con, query, label, columns, path, filled=True)
            if table == "loans":
                check_loans(con, path, label, loan_purposes(home))
    return rows


def _portfolio_queries(
    con: duckdb.DuckDBPyConnection, folder: Path, declared: Portfolio, schema: Schema
) -> dict[str, tuple[str, str]]:
    """Run the portfolio's staging.sql and return its query for each table."""
    if declared.as_of is not None:
        con.execute("SET VARIABLE as_of = ?::TIMESTAMPTZ", [declared.as_of])
    staging = folder / "staging.sql"
    if staging.is_file():
        try:
            con.execute(staging.read_text(encoding="utf-8"))
        except duckdb.Error as error:
            raise InputError(f"{staging}: {str(error).splitlines()[0]}") from None
    queries = {}
    for table in declared.tables:
        path = folder / f"{table}.sql"
        if table not in schema or not path.is_file():
            raise InputError(f"{folder / 'portfolio.toml'}: table {table!r} is not in the contract or has no SQL file")
        queries[table] = (path.read_text(encoding="utf-8").rstrip().removesuffix(";"), str(path))
    return queries
