"""Both notebooks run on a finished home and say what its record says; as committed they show nobody and no machine."""

import re

import nbformat
import pytest

from feature_repo.home import PROJECT_ROOT
from training.notebooks.execution import NOTEBOOKS, execute
from training.tracking import Tracking

IDENTITY = re.compile(r"(APP|LOAN|LC|BK)_\d|\b[0-9a-f]{32}\b")  # of an applicant, a loan or a run


@pytest.fixture(scope="module")
def executed(finished):
    return {path.stem: execute(path, finished.home) for path in NOTEBOOKS}


def shown(notebook, cell_id):
    """What a cell printed and its table as text."""
    (cell,) = [cell for cell in notebook.cells if cell.id == cell_id]
    return "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)


def test_the_waterfall_ends_as_the_datasets_does(executed, finished):
    lines = [line.split() for line in shown(executed["data"], "waterfall").splitlines()[1:]]
    assert {" ".join(words[:-2]): int(words[-2]) for words in lines} == finished.outcome.dataset.waterfall
    assert finished.outcome.dataset.digest[:19] in shown(executed["data"], "open")


def test_the_loan_shown_saw_nothing_that_was_not_yet_known(executed):
    text = shown(executed["data"], "point-in-time")
    decided = re.search(r"decided (\S+ \S+)", text).group(1)
    rows = re.findall(r"(\d{4}-\S+ \S+)  (\d{4}-\S+ \S+) +(seen|not yet known|not yet true)", text)
    assert {standing for _, _, standing in rows} == {"seen", "not yet known", "not yet true"}
    for event, created, standing in rows:
        assert (max(event, created) <= decided) == (standing == "seen")
    assert re.findall("True|False", shown(executed["data"], "values")) == ["True"] * 4


def test_the_models_metrics_are_the_recorded_ones(executed, finished):
    tracking = Tracking(finished.home)
    recorded = tracking.metrics(tracking.resolve(None).run_id)
    auc = shown(executed["model"], "metrics").splitlines()[1]
    low, high = recorded["oot_auc_low"], recorded["oot_auc_high"]
    assert auc.endswith(f"{recorded['oot_auc']:.3f} ({low:.3f} to {high:.3f})")


def test_every_plot_is_there(executed):
    drawn = {
        cell.id
        for notebook in executed.values()
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    }
    assert drawn == {"missing", "maturity", "reliability", "impact"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_as_committed_it_is_run_through_and_shows_no_person_run_or_machine(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code)
    texts = [
        "".join(text)
        for cell in code
        for output in cell.outputs
        for kind, text in {"text": output.get("text", ""), **output.get("data", {})}.items()
        if not kind.startswith("image/")
    ]
    assert not any(IDENTITY.search(text) or str(PROJECT_ROOT) in text for text in texts)
    assert not any(cell.metadata for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
