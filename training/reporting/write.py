"""Writes the report of a training run: a page that opens anywhere, a model card, and the waterfall for machines."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from feature_repo.home import write_atomically
from training.evidence import Evidence
from training.fairness import FEWEST, FairnessReport
from training.reporting import curves, impact_plots
from training.reporting.contents import Contents, contents
from training.reporting.fairness_plot import adverse_impact
from training.reporting.profit import RESAMPLES, profit_curve
from training.reporting.rivals import MODEL
from training.reporting.wording import DIRECTIONS, FILTERS

PAGE = "evaluation.html"
CARD = "model_card.md"
WATERFALL = "waterfall.json"
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(folder: Path, evidence: Evidence, fairness: FairnessReport | None) -> None:
    """Write ``evaluation.html``, ``model_card.md`` and ``waterfall.json`` into a folder.

    The same evidence gives the same bytes. The page holds all that it shows; it asks for nothing from elsewhere. It
    tells no applicant's ID or record: segments of few loans are told together, and single loans are only dots.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    evidence : Evidence
        Samples may be small: what too few loans cannot tell is a dash.
    fairness : FairnessReport or None
        Of the same loans at the same cutoff; None says that nothing was measured.

    Raises
    ------
    InputError
        If the out-of-time window has only one outcome.
    """
    found = contents(evidence)
    folder.mkdir(parents=True, exist_ok=True)
    page = _environment(autoescape=True).get_template("evaluation.html.j2")
    card = _environment(autoescape=False).get_template("model_card.md.j2")
    figures = _figures(evidence, found) | {"fairness": None if fairness is None else adverse_impact(fairness)}
    write_atomically(folder / PAGE, page.render(report=found, fairness=fairness, figures=figures).encode())
    write_atomically(folder / CARD, card.render(report=found, fairness=fairness).encode())
    write_atomically(folder / WATERFALL, msgspec.json.format(msgspec.json.encode(dict(evidence.waterfall))))


def _figures(evidence: Evidence, found: Contents) -> dict[str, Markup | None]:
    oot = evidence.oot
    pds = {MODEL: oot.pd} | dict(evidence.rivals)
    return {
        "roc": curves.roc(oot.defaulted, pds),
        "captured": curves.captured(oot.defaulted, pds),
        "scores": curves.score_distribution(oot, evidence.cutoff),
        "reliability": curves.reliability(found.reliability),
        "over_time": curves.over_time(
            {"fitted on": evidence.fitted, "calibrated on": evidence.last, "out of time": oot}
        ),
        "stability": curves.stability(found.stability),
        "profit": curves.profit(
            {
                "calibrated on": profit_curve(evidence.last, evidence.last_economics),
                "out of time": profit_curve(oot, evidence.oot_economics),
            },
            found.profit.best,
            evidence.cutoff,
        ),
        "summary": impact_plots.summary(found.drivers, evidence.impacts) if found.drivers else None,
        "dependence": impact_plots.dependence(found.drivers, evidence.impacts),
    }


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(directions=DIRECTIONS, infinite=math.inf, resamples=RESAMPLES, fewest=FEWEST)
    return environment
