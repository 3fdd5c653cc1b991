import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from tests.unit.training.evidence_factory import evidence, scored
from training.evaluate import population_stability
from training.evidence import Economics, Impacts
from training.fairness import measure_fairness
from training.reporting.write import write_report
from training.uncertainty import auc_difference, auc_interval

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """The cells of each table row by section and heading, all text, and whether tags close as they open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open, self.rows, self.text, self.place = [], {}, [], ""
        self.feed(path.read_text())
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.setdefault(self.place, []).append([])
        if tag in ("td", "th"):
            self.rows[self.place][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("h2", "h3"):
            self.place = data
        if "td" in self.open or "th" in self.open:
            self.rows[self.place][-1][-1] += data

    def row(self, place, name):
        return next(row[1:] for row in self.rows[place] if row and row[0] == name)


def written(folder, found, fairness=None):
    write_report(folder, found, fairness)
    return Page(folder / "evaluation.html"), (folder / "model_card.md").read_text()


def card_row(card, heading, name):
    """The cells of the first row of that name after a heading."""
    rest = card[card.index(heading) :]
    return [cell.strip() for cell in re.search(rf"^\| {re.escape(name)} \|(.*)\|$", rest, re.M)[1].split("|")]


def measured(found):
    """Diagnostics by two attributes of which the model knows nothing."""
    random = np.random.default_rng(1)
    groups = random.choice(np.array(["a", "b", None], dtype=object), len(found.oot), p=[0.6, 0.39, 0.01])
    ages = random.integers(18, 90, len(found.oot)).astype(object)
    return measure_fairness({"group": groups, "age": ages}, found.oot, found.cutoff)


def tiny():
    """Eight loans out of time, whose every figure can be computed by hand."""
    pd, bad = [0.02, 0.04, 0.05, 0.10, 0.20, 0.30, 0.40, 0.60], [0, 0, 1, 0, 0, 1, 0, 1]
    days = [
        "2026-01-05",
        "2026-01-06",
        "2026-01-31",
        "2026-02-01",
        "2026-02-02",
        "2026-02-03",
        "2026-02-28",
        "2026-04-01",
    ]
    features = np.array([1.0, 2, 3, 4, 5, 6, 7, None], dtype=object)
    found = evidence(
        fitted=60,
        last=40,
        oot=8,
        base=-0.5,
        oot_economics=Economics(gain_if_good=np.arange(100.0, 108.0), loss_if_bad=np.full(8, 500.0)),
        impacts=Impacts(values={"x": features}, impacts={"x": np.linspace(-1, 1, 8)}),
        rivals={"other": np.array(pd)[::-1]},
        segments={},
        true_pd=None,
    )
    return replace(found, oot=scored(pd, bad, days))


def test_the_pages_figures_are_those_computed_by_hand(tmp_path):
    page, _ = written(tmp_path, tiny())
    assert page.row("At the cutoff", "approved") == ["4", "1", "5", "20.0 %"]
    assert page.row("At the cutoff", "declined or for review") == ["1", "2", "3", "66.7 %"]
    assert page.row("At the cutoff", "all") == ["5", "3", "8", "37.5 %"]
    # AUC 11/15: of fifteen pairs four are ranked wrongly; KS 2/3 - 1/5 from a PD of 0.30
    this = page.row("Against rivals", "this model")
    assert (this[0], this[2], this[4]) == ("0.733", "0.467", "0.467")
    brier = np.mean([0.02**2, 0.04**2, 0.95**2, 0.1**2, 0.2**2, 0.7**2, 0.4**2, 0.4**2])
    assert this[5] == f"{brier:.4f}"
    # each of eight bins holds one loan, so that the ECE is the mean distance
    assert this[6] == f"{(0.02 + 0.04 + 0.95 + 0.1 + 0.2 + 0.7 + 0.4 + 0.4) / 8:.3f}"
    assert page.row("Against rivals", "other")[7] == "+0.467"  # 11/15 less 4/15
    january, february, april = (page.row("By decision date", f"2026-0{month}") for month in (1, 2, 4))
    assert (january[0], january[2], january[3], january[5]) == ("3", "1", "33.3 %", "3.7 %")
    assert (february[0], february[2], february[3], february[5]) == ("4", "1", "25.0 %", "25.0 %")
    assert april[:4] == ["1", "12.5 %", "1", "100.0 %"]
    assert page.row("By decision date", "all")[6] == "–"  # three bads are too few for an AUC
    # approved up to 0.20: goods 100, 101, 103 and 104 less a bad of 500
    assert page.row("Profit", "the policy’s")[5:] == ["62.5 %", "20.0 %", "−92", "−11.50"]
    assert page.row("Ranking by tenths of the score", "1")[1:5] == ["1", "1", "100.0 %", "60.0 %"]
    assert page.row("Features", "x")[0] == f"{np.abs(np.linspace(-1, 1, 8)).mean():.4f}"
    assert page.row("Features", "x")[3:] == ["raise the PD", "12.5 %"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on some thousand loans: folder, evidence, diagnostics, page and card."""
    folder = tmp_path_factory.mktemp("report")
    found = evidence(fitted=500, last=300, oot=2345)
    page, card = written(folder, found, measured(found))
    return SimpleNamespace(folder=folder, evidence=found, fairness=measured(found), page=page, card=card)


def test_the_card_says_what_the_page_says(report):
    page, card, found = report.page, report.card, report.evidence
    for name in ("this model", "scorecard", "logistic regression"):
        assert card_row(card, "## Metrics", name) == page.row("Against rivals", name)
    for heading, place, name in (
        ("### By decision date", "By decision date", "2026-03"),
        ("### By score band", "By score band", "650 to 699"),
        ("### By loan purpose", "By loan purpose", "furniture"),
        ("### By loan purpose", "By loan purpose", "all"),
        ("### At the cutoff", "At the cutoff", "approved"),
    ):
        assert card_row(card, heading, name) == page.row(place, name)
    auc = auc_interval(found.oot.defaulted, found.oot.pd)
    assert page.row("Against rivals", "this model")[:2] == [f"{auc.estimate:.3f}", f"{auc.low:.3f} to {auc.high:.3f}"]
    lift = auc_difference(found.oot.defaulted, found.oot.pd, found.rivals["scorecard"])
    assert page.row("Against rivals", "scorecard")[7] == f"{lift.estimate:+.3f}"
    for heading in ("Model details", "Intended use", "Factors", "Metrics", "Data", "Fairness", "Caveats"):
        assert f"\n## {heading}\n" in card


def test_the_tables_of_a_page_add_up(report):
    def whole(cell):
        return int(cell.replace(",", ""))

    for place in ("By decision date", "By score band", "By loan purpose"):
        _, *rows, total = report.page.rows[place]
        assert total[0] == "all"
        for column in (1, 3):
            assert sum(whole(row[column]) for row in rows) == whole(total[column])
        assert total[1] == "2,345"
    _, *tenths, total = report.page.rows["Ranking by tenths of the score"]
    assert [sum(whole(row[column]) for row in tenths) for column in (2, 3)] == [whole(total[2]), whole(total[3])]
    _, *deciles = report.page.rows["Stability"]
    assert len(deciles) == 10
    for column in (1, 2):
        assert sum(float(row[column].removesuffix(" %")) for row in deciles) == pytest.approx(100, abs=0.5)
    psi = population_stability(report.evidence.fitted.pd, report.evidence.oot.pd)
    assert f"out of time: {psi:.4f}," in "".join(report.page.text)
    parts = [float(row[1].replace("−", "-")) for row in report.page.rows["What the Brier score is made of"][:5]]
    assert sum(parts[:4]) == pytest.approx(parts[4], abs=3e-5)


def test_the_waterfall_says_what_each_step_took_out(report):
    # as made by the factory: 50 not known, 10 sent twice, 390 not matured
    assert [row[:3] for row in report.page.rows["Which loans count"][1:]] == [
        ["loans", "3,595", "–"],
        ["known by as_of", "3,545", "50"],
        ["one of each", "3,535", "10"],
        ["outcome matured", "3,145", "390"],
        ["train", "800", "–"],
        ["out of time", "2,345", "–"],
    ]
    assert card_row(report.card, "## Data", "outcome matured") == ["3,145", "390"]
    assert msgspec.json.decode((report.folder / "waterfall.json").read_bytes()) == report.evidence.waterfall


def test_the_page_asks_for_nothing_from_elsewhere(report):
    page = (report.folder / "evaluation.html").read_text()
    assert "://" not in page
    assert "://" not in report.card
    assert "<script" not in page
    assert set(re.findall(r'(?:src|href)="(.)', page)) == {"#", "d"}
    assert set(re.findall(r'href="(data:[^;]*;base64),', page)) == {"data:image/png;base64"}


def test_the_same_evidence_gives_the_same_bytes(report, tmp_path):
    found = evidence(fitted=500, last=300, oot=2345)
    write_report(tmp_path, found, measured(found))
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (report.folder / path.name).read_bytes(), path.name


def test_no_loans_values_can_be_read_off_the_page(report):
    page = (report.folder / "evaluation.html").read_text()
    for value in report.evidence.impacts.values["annual_income"]:
        assert f"{value:.2f}" not in page
    for pd in report.evidence.oot.pd:
        assert f"{pd:.6f}" not in page


def test_fairness_is_told_in_page_and_card_as_it_was_measured(report):
    other = next(one for one in report.fairness.groups if one.attribute == "group" and one.adverse_impact_ratio)
    ratio, gap = other.adverse_impact_ratio, other.calibration_gap
    row = report.page.row("By group", other.group)
    assert row[2] == f"{ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    assert row[5] == f"{gap.estimate:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})".replace("-", "−")
    assert card_row(report.card, "### By group", other.group) == row
    assert report.page.row("By group", "unknown")[1:] == ["–"] * 5
    assert sum(int(one[1]) for one in report.page.rows["By age"][1:]) == 2345
    assert [one[0] for one in report.page.rows["By age"] if one[0].endswith("(reference)")] == [
        f"{one.group} (reference)" for one in report.fairness.groups if one.attribute == "age" and one.reference
    ]


def test_names_are_shown_as_they_are_and_never_obeyed(tmp_path):
    name = "<script>alert(1)</script> a|b & $c$ *d*"
    plain = evidence(fitted=300, last=200, oot=400)
    impacts = Impacts(
        values={name: plain.impacts.values["credit_utilization"]},
        impacts={name: plain.impacts.impacts["credit_utilization"]},
    )
    page, card = written(
        tmp_path,
        evidence(
            fitted=300, last=200, oot=400, impacts=impacts, facts={name: name}, parameters={name: "1\n2"},
            rivals={name: plain.oot.pd}, segments={name: np.full(400, name, dtype=object)},
        ),
    )  # fmt: skip
    assert "<script" not in (tmp_path / "evaluation.html").read_text()
    assert page.row("Against rivals", name)[0] == page.row("Against rivals", "this model")[0]
    assert page.row("By " + name, name)[0] == "400"
    assert "<script" not in re.sub(r"\\<", "", card)
    assert r"\<script\>alert(1)\</script\> a\|b & $c$ \*d\*" in card
    assert "| 1 2 |" in card


def test_a_report_says_why_fairness_was_not_measured(tmp_path):
    found = evidence(fitted=300, last=200, oot=400)
    fairness = measure_fairness({}, found.oot, 0.2)
    page, card = written(tmp_path, found, fairness)
    assert fairness.notes[0] in "".join(page.text)
    assert fairness.notes[0] in card


@pytest.mark.parametrize(
    "changes",
    [
        {"rivals": {}, "segments": {}, "true_pd": None, "facts": {}, "impacts": Impacts(values={}, impacts={})},
        {"impacts": Impacts(values={"x": np.array([], dtype=object)}, impacts={"x": np.array([])}), "parameters": {}},
        {"impacts": Impacts(values={"x": np.full(30, None, dtype=object)}, impacts={"x": np.full(30, 0.1)})},
        {
            "impacts": Impacts(
                values={"x": np.array([True, None] * 9, dtype=object)}, impacts={"x": np.tile([1.0, 2], 9)}
            )
        },
        {"segments": {"one": np.full(354, None, dtype=object)}, "cutoff": 0.0},
        {"cutoff": 1.0, "metrics": {"oot_auc": 0.75, "oot_psi": float("nan")}},
        {"true_pd": np.full(354, 0.1), "rivals": {"constant": np.full(354, 0.1)}},
    ],
)
def test_a_few_loans_make_a_report(tmp_path, changes):
    page, card = written(tmp_path, evidence(seed=5, fitted=200, last=60, oot=354, base=-2.7, **changes))
    assert "Nothing was measured for this report." in "".join(page.text)
    assert "354" in page.row("By decision date", "all")
    assert "nan" not in card
    assert "None" not in card


def test_two_loans_make_a_report(tmp_path):
    two, money = scored([0.1, 0.1], [True, False]), Economics(gain_if_good=np.zeros(2), loss_if_bad=np.zeros(2))
    segments = {"s": np.array(["a", "b"], dtype=object)}
    found = evidence(rivals={}, segments=segments, true_pd=None, last_economics=money, oot_economics=money)
    page, _ = written(tmp_path, replace(found, fitted=two, last=two, oot=two))
    assert page.row("Against rivals", "this model")[:2] == ["0.500", "0.000 to 1.000"]
    assert page.row("By s", "2 with fewer than 10 loans each")[:3] == ["2", "100.0 %", "1"]
