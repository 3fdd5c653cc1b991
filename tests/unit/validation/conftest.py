from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from feature_repo.home import Home, HomeState
from tests.unit.validation.samples import AS_OF, BUREAU

WriteParquet = Callable[..., Path]


@pytest.fixture
def parquet(tmp_path: Path) -> WriteParquet:
    """Write the rows of a query on `source` to a Parquet file."""

    def write(query: str = "FROM source", source: str = BUREAU, name: str = "table.parquet") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"COPY (WITH source AS ({source}) {query}) TO '{path}' (FORMAT parquet)")
        return path

    return write


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose clock stands at AS_OF; `parquet` with a name below ``sources/`` fills it."""
    home = Home(root=tmp_path)
    home.save_state(HomeState(as_of=AS_OF))
    return home
