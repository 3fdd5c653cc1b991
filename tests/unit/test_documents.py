"""What the documents say is there, is there."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]


def test_every_test_that_the_architecture_names_exists():
    named = set(re.findall(r"`(test_\w+)`", (PROJECT / "ARCHITECTURE.md").read_text()))
    code = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    assert len(named) > 15
    assert named <= set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_is_linked_to_exists(document):
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (PROJECT / document).read_text())
    assert [link for link in links if not (PROJECT / link).exists()] == []
