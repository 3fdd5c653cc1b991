"""The compose file, the image and the code speak of the same commands, ports and variables."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from feature_repo.home import Home
from services import cli

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compose():
    text = (PROJECT / "docker-compose.yml").read_text()
    return yaml.safe_load(re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text))["services"]


@pytest.fixture(scope="module")
def image():
    return (PROJECT / "Dockerfile").read_text()


def test_the_services_that_are_promised(compose):
    assert set(compose) == {"redis", "postgres", "mlflow", "pipeline", "api", "monitor"}


@pytest.mark.parametrize("service", ["pipeline", "api", "monitor"])
def test_commands_are_those_of_the_command_line(compose, service):
    program, *words = compose[service]["command"]
    assert program == "candor"
    command = cli.cli.commands[words[0]]
    command.make_context(words[0], words[1:], resilient_parsing=False)


def test_one_command_ends_in_a_service_that_answers(compose):
    assert compose["api"]["depends_on"]["pipeline"]["condition"] == "service_completed_successfully"
    for name in ("redis", "postgres", "mlflow"):
        assert compose["pipeline"]["depends_on"][name]["condition"] == "service_healthy"
        assert "test" in compose[name]["healthcheck"]
    assert "test" in compose["api"]["healthcheck"]


def test_ports_are_published_on_loopback_and_match_the_commands(compose):
    for name, port in (("api", "8000"), ("mlflow", "5000")):
        assert compose[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert port in " ".join(compose[name]["command"])
        assert f"127.0.0.1:{port}" in " ".join(compose[name]["healthcheck"]["test"])
    assert not [name for name in ("redis", "postgres", "pipeline", "monitor") if "ports" in compose[name]]


def test_the_environment_is_understood_by_the_code(compose):
    environment = compose["api"]["environment"]
    assert environment == compose["pipeline"]["environment"]
    home = Home.resolve(environment)
    assert str(home.root) == "/var/lib/candor"
    assert home.redis == "redis:6379"
    assert home.mlflow_uri == "http://mlflow:5000"
    assert home.decision_log_url.startswith("postgresql+psycopg://")
    assert f"--allowed-hosts={home.mlflow_uri.removeprefix('http://')}" in " ".join(compose["mlflow"]["command"])


def test_state_is_on_volumes(compose):
    assert compose["api"]["volumes"] == compose["pipeline"]["volumes"] == ["candor-home:/var/lib/candor"]
    assert any(volume.endswith(":/data") for volume in compose["redis"]["volumes"])


def test_the_image_installs_the_lock_runs_unprivileged_and_holds_every_package(image, compose):
    assert "--require-hashes -r requirements.lock" in image
    assert re.search(r"^USER candor$", image, re.MULTILINE)
    for package in ("feature_repo", "validation", "training", "monitoring", "services"):
        assert f"COPY {package} {package}" in image
    command = re.search(r"^CMD (\[.*\])$", image, re.MULTILINE).group(1)
    assert yaml.safe_load(command) == compose["api"]["command"]


def test_the_one_word_of_sagemaker_is_a_command_of_the_image(image, tmp_path):
    (script,) = re.findall(r"printf '(.*)' > /usr/local/bin/serve", image)
    command = script.replace("\\n", "\n").splitlines()[1].removeprefix("exec ")
    program, *words = shlex.split(command.replace("${SAGEMAKER_BIND_TO_PORT:-8080}", "8080").replace('"$@"', ""))
    assert program == "candor"
    context = cli.cli.commands[words[0]].make_context(words[0], words[1:])
    assert (context.params["host"], context.params["port"]) == ("0.0.0.0", 8080)
    assert "ENTRYPOINT" not in image  # or `serve` would be a word for it


def test_make_demo_is_the_pipelines_command():
    makefile = (PROJECT / "Makefile").read_text()
    assert "$(BIN)/candor demo" in makefile
    assert shlex.split(makefile.split("test: ")[1].splitlines()[1])[0] == "$(BIN)/pytest"


def test_the_lock_has_hashes_and_names_no_host():
    lock = (PROJECT / "requirements.lock").read_text()
    pins = re.findall(r"^([a-z0-9._-]+(?:\[[a-z,]+\])?)==", lock, re.MULTILINE)
    assert len(pins) > 150
    assert lock.count("--hash=sha256:") >= len(pins)
    assert "://" not in lock
    assert re.search(r"^duckdb==1\.", lock, re.MULTILINE)
