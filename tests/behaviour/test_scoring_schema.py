"""What schemathesis makes of the OpenAPI document: every answer is one that the document tells of."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks

from services.scoring.app import create_app
from services.scoring.door.keys import KeyFile
from services.scoring.door.policy import DoorPolicy
from services.scoring.door.scopes import NEEDS
from tests.unit.services.harness import a_home, a_model, promote, put
from tests.unit.services.live import serving

# Random applicants are mostly unknown, and that is a 404 to a request that is right.
NOT_ASKED = [checks.positive_data_acceptance]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("schema")) as home:
        promote(home)
        put(home, "APP_1")
        _, key = KeyFile(home).create("schemathesis", ["admin"])
        with serving(create_app(home, lambda _: a_model(), DoorPolicy(require_keys=True))) as live:
            yield schemathesis.openapi.from_url(f"http://127.0.0.1:{live.port}/schema/openapi.json"), key


DOCUMENTED = [one for one in NEEDS if not one[1].startswith(("/docs", "/schema"))]


@pytest.mark.parametrize(("method", "path"), DOCUMENTED, ids=lambda part: part)
def test_answers_are_those_that_the_document_tells_of(document, method, path):
    schema, key = document

    @settings(max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(schema[path][method].as_strategy())
    def ask(case):
        case.call_and_validate(headers={"X-API-Key": key}, timeout=10, excluded_checks=NOT_ASKED)

    ask()
