"""A notice asked for over HTTP and by command, of a decision that a bundle of real trees made."""

import json

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from services.cli import cli
from services.scoring.app import create_app
from tests.unit.services.harness import a_home, put
from tests.unit.services.small_bundle import promote

REQUEST = {"applicant_id": "APP_1", "purchase_amount": 3500, "term_months": 12}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("notice")) as home:
        promote(home)
        put(home, "APP_1")
        yield home


@pytest.fixture(scope="module")
def client(home):
    with TestClient(create_app(home)) as client:
        yield client


@pytest.fixture(scope="module")
def declined(client):
    answer = client.post("/predict", json=REQUEST | {"age": 16}).json()
    assert answer["approval_recommendation"] == "DECLINED"
    return answer["decision_id"]


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("", "*/*", "application/json"),
        ("", "text/html", "text/html; charset=utf-8"),
        ("", "text/plain", "text/plain; charset=utf-8"),
        ("?format=html", "application/json", "text/html; charset=utf-8"),
        ("?format=text", "*/*", "text/plain; charset=utf-8"),
    ],
)
def test_a_notice_comes_in_the_format_asked_for(client, declined, query, accept, kind):
    answer = client.get(f"/decisions/{declined}/notice{query}", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Not of legal age" in answer.text
    if kind == "application/json":
        assert (answer.json()["kind"], answer.json()["sample"]) == ("adverse_action", True)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("0190aaaa-0000-7000-8000-000000000000/notice", 404),
        ("nothing/notice", 404),
        ("0190aaaa-0000-7000-8000-000000000000/notice?format=pdf", 422),
    ],
)
def test_what_cannot_be_told_is_a_problem(client, path, status):
    answer = client.get(f"/decisions/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_wrong_details_of_the_lender_are_the_services_fault(home, client, declined):
    path = home.root / "lender.toml"
    path.write_text("sample = 1")
    try:
        answer = client.get(f"/decisions/{declined}/notice")
        assert answer.status_code == 503
        assert "lender.toml cannot be used" in answer.json()["detail"]
    finally:
        path.unlink()


def test_the_command_writes_the_same_notice(home, client, declined, monkeypatch):
    monkeypatch.setenv("CANDOR_HOME", str(home.root))
    run = CliRunner().invoke
    for form, option in (("text", []), ("html", ["--format", "html"]), ("json", ["--json"])):
        written = run(cli, ["notice", declined, *option])
        assert written.exit_code == 0
        assert written.stdout.strip() == client.get(f"/decisions/{declined}/notice?format={form}").text.strip()
    assert json.loads(run(cli, ["notice", declined, "--format", "json"]).stdout)["decision_id"] == declined
    assert run(cli, ["notice", declined, "--format", "pdf"]).exit_code == 2
    assert "is not in the log" in str(run(cli, ["notice", "0190aaaa-0000-7000-8000-000000000000"]).exception)
