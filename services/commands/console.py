"""What the commands share: options, and how they speak to people and to machines."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home, parse_instant

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
            return parse_instant(str(value), self.name)
        except InputError as error:
            self.fail(str(error).removeprefix(f"{self.name}: "), param, ctx)  # click names the option as it was typed
        except OverflowError:
            self.fail(f"{value!r} is out of range", param, ctx)


INSTANT = Instant()


class Finite(click.FloatRange):
    """A number in a range, which not-a-number and infinity are not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text; refuse what is not finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def need_log(home: Home) -> None:
    """Refuse to look for decisions in a SQLite file that is not there: to open it would be to create it.

    Raises
    ------
    UnavailableError
        Naming the file.
    """
    import sqlalchemy as sa

    with contextlib.suppress(sa.exc.ArgumentError):  # whoever opens it says what is wrong with the URL
        url = sa.make_url(home.decision_log_url)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
            raise UnavailableError(f"there is no decision log at {url.database}")


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
