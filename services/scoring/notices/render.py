"""A notice as text, HTML or JSON. The HTML is whole: nothing is loaded from elsewhere, and there is no script."""

from __future__ import annotations

import textwrap
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.scoring.errors import FieldProblem
from services.scoring.notices.notice import Notice

Format = Literal["text", "html", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES: dict[Format, str] = {
    "text": "text/plain",
    "html": "text/html",
    "json": "application/json",
}
WIDTH = 78  # columns of the text
TITLES = {
    "adverse_action": "Notice of action taken",
    "counter_offer": "Notice of action taken and counter-offer",
    "risk_based_pricing": "Notice about the terms of your credit",
    "none": "No notice is due",
}


def render(notice: Notice, form: Format) -> str:
    """Return a notice as text, HTML or JSON."""
    if form == "json":
        return msgspec.json.encode(notice).decode()
    template = "notice.html.j2" if form == "html" else "notice.txt.j2"
    return _templates().get_template(template).render(notice=notice, title=TITLES[notice.kind])


def chosen_format(named: str | None, accept: str) -> Format:
    """Return the format that a client asks for by name, else the first of its Accept header, else JSON.

    Raises
    ------
    FieldProblem
        If there is no format of that name.

    Examples
    --------
    >>> chosen_format(None, "text/html,*/*;q=0.8"), chosen_format(None, ""), chosen_format("text", "text/html")
    ('html', 'json', 'text')
    """
    if named is not None:
        for form in FORMATS:
            if named == form:
                return form
        raise FieldProblem(("format", f"format must be one of {', '.join(FORMATS)}"))
    by_type = {media_type: form for form, media_type in MEDIA_TYPES.items()}
    wanted = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    return next((by_type[kind] for kind in wanted if kind in by_type), "json")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["wrapped"] = lambda text: textwrap.fill(text, WIDTH)
    environment.filters["money"] = lambda amount: f"{amount:,.2f}"
    return environment
