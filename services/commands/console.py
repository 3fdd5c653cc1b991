"""What the commands share: options, and how they speak to people and to machines."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from feature_repo.errors import InputError
from feature_repo.home import parse_instant

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; everything else on stderr.")
FOLDER = click.Path(path_type=Path)


class Instant(click.ParamType[datetime]):
    """An ISO 8601 date or instant with a zone."""

    name = "TS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse the text; a bare date is its midnight in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_instant(str(value), f"--{param.name}" if param else "instant")
        except InputError as error:
            self.fail(str(error), param, ctx)


INSTANT = Instant()


def say(text: str) -> None:
    """Print progress where it cannot mix with results."""
    click.echo(text, err=True)


def emit(result: Any) -> None:
    """Print the one JSON object of ``--json``."""
    click.echo(json.dumps(result, default=str))


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step and how long it took; keep the libraries' chatter off stdout."""
    start = time.perf_counter()
    say(f"• {title}")
    with contextlib.redirect_stdout(sys.stderr):
        yield
    say(f"  done in {time.perf_counter() - start:.1f} s")
