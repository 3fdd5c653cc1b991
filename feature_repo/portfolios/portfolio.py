"""What a portfolio folder declares in its portfolio.toml: its clock, its raw files, the tables it fills."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from feature_repo.errors import InputError

FOLDER = Path(__file__).resolve().parent
SIMULATED = "simulated"
OWN_TABLES = "tables"

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class RawFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One raw input, which SQL reads as ``raw.<name>``.

    Parameters
    ----------
    file : str
        File name or glob inside the raw folder; files that match together are read as one table.
    columns : dict of str to str
        Required columns and the DuckDB types they are read as; other columns are left alone.
    delimiter : str
        Field delimiter of a CSV with a header line; empty for Parquet.
    row_number : bool
        Whether Parquet rows get a ``file_row_number`` (from 0), for data without an identifier.
    """

    file: str
    columns: dict[str, str]
    delimiter: str = ""
    row_number: bool = False


class Portfolio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A portfolio as its portfolio.toml declares it.

    Parameters
    ----------
    title : str
        One line for people.
    obtain : str
        Where the raw files come from; told when they are missing.
    tables : tuple of str
        Source tables that it fills, each by ``<table>.sql``; the others stay empty.
    as_of : datetime or None
        Where its clock stands, with a zone; None is the wall clock.
    outcomes_as_of : datetime or None
        Until when its outcomes were observed; None is `as_of`.
    oot_start : datetime or None
        Default start of the out-of-time window.
    performance_months : int
        Months after a decision in which a default counts; 0 counts every observed outcome as it is.
    raw : dict of str to RawFile
        Raw inputs by the name that SQL uses.
    """

    title: str
    tables: tuple[str, ...] = ()
    obtain: str = ""
    as_of: Instant | None = None
    outcomes_as_of: Instant | None = None
    oot_start: Instant | None = None
    performance_months: Annotated[int, msgspec.Meta(ge=0)] = 0
    raw: dict[str, RawFile] = {}


def list_portfolios() -> tuple[str, ...]:
    """Return the names that `ingest` knows, in alphabetical order; ``"tables"`` is data brought ready-made."""
    folders = [path.parent.name for path in FOLDER.glob("*/portfolio.toml")]
    return tuple(sorted([*folders, OWN_TABLES]))


def load_portfolio(name: str, folder: Path = FOLDER) -> Portfolio:
    """Read the declaration of one portfolio.

    Raises
    ------
    InputError
        If there is no such portfolio, or its portfolio.toml is not one.
    """
    path = folder / name / "portfolio.toml"
    if not path.is_file():
        raise InputError(f"portfolio {name!r} is not known (known: {', '.join(list_portfolios())})")
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Portfolio)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: {error}") from None
