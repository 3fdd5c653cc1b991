"""Data Docs that open without a network: Great Expectations renders the sections, we the page.

Its own pages load style sheets and scripts from content delivery networks. The sections do not, so
they are set in a page of our own, with an index over the latest result of every gate and the history of runs.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import msgspec
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaSectionView
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from feature_repo.home import write_atomically
from validation.results import GateResult
from validation.runs import DATA_DOCS, Run, history, record

_TEMPLATES = Path(__file__).parent / "templates"
_LINK_TO_SUITE_PAGE = re.compile(r'<a href="\.\./[^"]*"\s*>(.*?)</a>', re.DOTALL)


def write_page(result: GateResult, validated: ExpectationSuiteValidationResult | None, reports: Path) -> None:
    """Write the page and the JSON of one gate, which stand for its latest run.

    Parameters
    ----------
    result : GateResult
        Also written as ``<name>.json``, for machines and for the index.
    validated : great_expectations.core.ExpectationSuiteValidationResult or None
        What to render, free of values; None if the data could not be read at all.
    reports : Path
        Folder of reports.
    """
    folder = reports / DATA_DOCS
    sections = _sections(validated) if validated else []
    page = _environment().get_template("gate.html.j2").render(result=result, sections=sections)
    write_atomically(folder / f"{result.name}.html", page.encode())
    write_atomically(folder / f"{result.name}.json", msgspec.json.format(msgspec.json.encode(result)))


def finish(run: Run, reports: Path) -> None:
    """Keep what a run of gates said, and bring the index of all gates and runs up to date."""
    record(reports, run)
    folder = reports / DATA_DOCS
    latest = [msgspec.json.decode(path.read_bytes(), type=GateResult) for path in sorted(folder.glob("*.json"))]
    page = _environment().get_template("index.html.j2").render(results=latest, runs=history(reports))
    write_atomically(folder / "index.html", page.encode())


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return our templates, compiled once."""
    return Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)


@lru_cache(maxsize=1)
def _view() -> DefaultJinjaSectionView:
    """Return Great Expectations' templates, compiled once."""
    return DefaultJinjaSectionView()


def _sections(validated: ExpectationSuiteValidationResult) -> list[tuple[str, Markup]]:
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(validated).to_json_dict()
    view = _view()
    sections = []
    for number, section in enumerate(document["sections"], start=1):
        html = view.render({"section": section, "section_loop": {"index": number}})
        sections.append((section["section_name"], Markup(_LINK_TO_SUITE_PAGE.sub(r"\1", html))))
    return sections
