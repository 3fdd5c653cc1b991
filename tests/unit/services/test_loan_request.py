import json

import pytest

from feature_repo.contract import Contract
from feature_repo.errors import InputError
from services.scoring.errors import FieldProblem
from services.scoring.loan_request import RequestReader
from services.scoring.policy import DEFAULT_POLICY, load_policy
from tests.unit.services.harness import CONTRACT

POLICY = load_policy(DEFAULT_POLICY.read_bytes())
READER = RequestReader(CONTRACT, POLICY)
PLAIN = {"applicant_id": "APP_1", "purchase_amount": 3500}


def read(**fields):
    return READER.read(json.dumps(PLAIN | fields).encode())


def faults(body):
    with pytest.raises(FieldProblem) as caught:
        READER.read(body if isinstance(body, bytes) else json.dumps(PLAIN | body).encode())
    assert all(message in str(caught.value) for _, message in caught.value.problems)
    return dict(caught.value.problems)


def test_a_plain_request_takes_the_policys_term():
    request = read()
    assert (request.applicant_id, request.amount, request.term_months) == ("APP_1", 350_000, 12)
    assert request.given == {"purchase_amount": 3500.0, "term_months": 12}
    assert not request.brings_features
    assert read(term_months=None).term_months == 12
    assert read(term_months=6).given["term_months"] == 6


def test_any_stored_feature_can_be_given_even_as_unknown():
    request = read(annual_income=65000, num_inquiries=2, home_ownership="RENT", months_since_delinquency=None)
    assert request.given["annual_income"] == 65000.0
    assert request.given["months_since_delinquency"] is None
    assert request.brings_features


@pytest.mark.parametrize("fields", [{"loan_purpose": "car"}, {"age": 40}, {"annual_income": None}])
def test_what_says_nothing_to_the_model_of_the_applicant_is_no_feature(fields):
    assert not read(**fields).brings_features


@pytest.mark.parametrize(("age", "of_age"), [(17, False), (18, True), (90, True)])
def test_age_only_says_whether_the_applicant_is_of_legal_age(age, of_age):
    request = read(age=age)
    assert request.given["of_legal_age"] is of_age
    assert "age" not in request.given
    assert request.asked["age"] == age


def test_an_age_that_contradicts_is_refused():
    assert "contradicts age" in faults({"age": 17, "of_legal_age": True})["of_legal_age"]
    assert read(age=17, of_legal_age=False).given["of_legal_age"] is False


def test_an_amount_is_rounded_to_cents_for_model_and_price_alike():
    request = read(purchase_amount=99.995)
    assert (request.amount, request.given["purchase_amount"]) == (10_000, 100.0)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"purchase_amount": "3500"}, "purchase_amount", "got `str`"),
        ({"purchase_amount": True}, "purchase_amount", "got `bool`"),
        ({"purchase_amount": None}, "purchase_amount", "got `null`"),
        ({"purchase_amount": 0}, "purchase_amount", "between 0.01"),
        ({"purchase_amount": -1}, "purchase_amount", "between 0.01"),
        ({"purchase_amount": 1e300}, "purchase_amount", "between 0.01"),
        ({"term_months": 0}, "term_months", "between 1 and 120"),
        ({"term_months": 12.5}, "term_months", "got `float`"),
        ({"term_months": 10**30}, "term_months", "between 1 and 120"),
        ({"applicant_id": ""}, "applicant_id", "must not be empty"),
        ({"applicant_id": "  "}, "applicant_id", "must not be empty"),
        ({"applicant_id": "x" * 129}, "applicant_id", "longer than 128"),
        ({"applicant_id": "a\nb"}, "applicant_id", "printable"),
        ({"applicant_id": "a\x00"}, "applicant_id", "printable"),
        ({"applicant_id": "a\u202eb"}, "applicant_id", "printable"),
        ({"applicant_id": 7}, "applicant_id", "got `int`"),
        ({"annual_income": -1}, "annual_income", "between 0"),
        ({"num_inquiries": 101}, "num_inquiries", "between 0 and 100"),
        ({"home_ownership": "CASTLE"}, "home_ownership", "home_ownership"),
        ({"of_legal_age": 1}, "of_legal_age", "got `int`"),
        ({"age": 131}, "age", "between 0 and 130"),
        ({"unheard_of": 1}, "unheard_of", "not a known field"),
        ({"instalment_to_income": 0.1}, "instalment_to_income", "not a known field"),
        ({"x" * 500: 1}, "x" * 64, "not a known field"),
    ],
)
def test_a_wrong_field_is_named(fields, field, message):
    found = faults(fields)
    assert list(found) == [field]
    assert message in found[field]


def test_every_implausible_value_is_named_at_once():
    assert set(faults({"applicant_id": "", "annual_income": -1, "age": 200})) == {
        "applicant_id",
        "annual_income",
        "age",
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "got `array`"),
        (b"null", "got `null`"),
        (b'{"applicant_id": "a", "purchase_amount": NaN}', "malformed"),
        (b'{"applicant_id": "a", "purchase_amount": Infinity}', "malformed"),
        (b'{"applicant_id": "\xff", "purchase_amount": 1}', "not UTF-8"),
        (b'{"applicant_id": "\\ud800", "purchase_amount": 1}', ""),
        (b"[" * 60_000, ""),
    ],
)
def test_a_body_that_is_no_request_is_refused(body, message):
    assert message in faults(body)[""]


def test_numbers_too_large_for_a_float_are_refused():
    assert "out of range" in faults(b'{"applicant_id": "a", "purchase_amount": 1e999}')["purchase_amount"]


def test_a_missing_field_is_named():
    assert faults(b'{"applicant_id": "a"}') == {"purchase_amount": "purchase_amount is required"}


def test_the_schema_tells_every_field_with_its_range():
    schema = READER.json_schema()
    assert schema["required"] == ["applicant_id", "purchase_amount"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["purchase_amount"]["minimum"] == 0.01
    assert {"annual_income", "num_inquiries", "loan_purpose", "age"} <= schema["properties"].keys()
    assert "instalment_to_income" not in schema["properties"]


def test_a_contract_without_an_amount_cannot_be_asked_for():
    empty = Contract(service="s", views=(), request=(), on_demand=())
    with pytest.raises(InputError, match="no purchase_amount"):
        RequestReader(empty, POLICY)
