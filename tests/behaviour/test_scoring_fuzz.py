"""Requests that no client would send; `python -m tests.benchmarks.bench_fuzz --requests 100000` sends more of them."""

import pytest
from litestar.testing import TestClient

from services.scoring.app import create_app
from tests.benchmarks import bench_fuzz
from tests.unit.services.harness import a_home, a_model, promote, put


def test_nothing_makes_the_service_fail_hang_or_show_itself():
    (found,) = bench_fuzz.run(requests=1600, seed=7)
    assert found["requests"] == 1600
    assert {"200", "400", "404", "405", "422"} <= found.keys()


@pytest.mark.parametrize("depth", [1_000, 30_000])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/invocations", "/outcomes"])
def test_a_body_nested_without_end_is_a_problem(client, path, depth):
    for nested in (b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth, b'{"%s":[' % name(path) + b"[" * depth):
        answer = client.post(path, content=nested[:60_000], headers={"content-type": "application/json"})
        assert answer.status_code == 422, answer.text


def name(path):
    return {"/predict/batch": b"requests", "/invocations": b"instances"}.get(path, b"outcomes")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("fuzz")) as home:
        promote(home)
        put(home, "APP_1")
        with TestClient(create_app(home, lambda _: a_model())) as client:
            yield client
