"""Settings from TOML files of which each need only name what it changes in those before it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from feature_repo.errors import InputError


def read_toml(file: Path, what: str) -> dict[str, Any]:
    """Return the tables of a file.

    Parameters
    ----------
    what : str
        What it holds, for the message.

    Raises
    ------
    InputError
        If it is not there, or is no TOML.
    """
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise InputError(f"no {what} at {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}") from None


def over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return tables with what others change in them, table by table.

    Examples
    --------
    >>> over({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    both = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            both[name] = over(below[name], above[name])
    return both
