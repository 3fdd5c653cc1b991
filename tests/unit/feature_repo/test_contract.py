import copy
import re
from datetime import timedelta
from pathlib import Path

import pytest
from feast import FeatureView, Field
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_operations import get_repo_files
from feast.types import Float64

from feature_repo import registry
from feature_repo.errors import InputError
from feature_repo.home import REPO_PATH, Home
from feature_repo.schema import derived_specs, derived_tags, feature, plain, spec_of
from services import embedded
from services.store_config import write_feature_store_yaml

DEMO_FEATURES = {
    "annual_income", "debt_to_income_ratio", "num_credit_lines", "num_late_payments", "credit_utilization",
    "months_since_last_delinquency", "num_credit_inquiries", "purchase_amount",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(root=tmp_path_factory.mktemp("contract"))
    write_feature_store_yaml(home)
    return home


@pytest.fixture(scope="module")
def store(home):
    from feature_repo.portfolios.ingest import ingest

    ingest(home, "simulated", applicants=200)
    embedded.ensure(home)
    yield registry.apply(home)
    embedded.stop(home)


@pytest.fixture(scope="module")
def contract(store):
    return registry.read_contract(store, "credit_decision_v1")


def test_a_declared_feature_comes_back_from_its_tags():
    field = feature("x", "category", "What it is", unit="u", risk="decreases", reason="x is bad", null_means="none",
                    categories=("A", "B"))  # fmt: skip
    spec = spec_of(field, "v")
    assert (spec.name, spec.view, spec.kind, spec.unit, spec.risk, spec.reason) == (
        "x",
        "v",
        "category",
        "u",
        "decreases",
        "x is bad",
    )
    assert (spec.low, spec.high, spec.null_means, spec.categories) == (None, None, "none", ("A", "B"))


def test_on_demand_contract_survives_as_tags():
    fields = [
        feature("x", "number", "", unit="ratio", low=0, high=2, reason="r"),
        feature("y", "number", "", unit="", reason="q"),
    ]
    assert derived_specs(derived_tags("v", fields)) == tuple(spec_of(field, "v") for field in fields)
    assert [field.tags for field in plain(fields)] == [{}, {}]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "number", "reason": ""}, "needs the reason"),
        ({"kind": "category", "reason": "r"}, "categories go with"),
        ({"kind": "number", "reason": "r", "categories": ("A",)}, "categories go with"),
        ({"kind": "number", "reason": "r", "low": 2, "high": 1}, "low 2 is above high 1"),
    ],
)
def test_a_careless_declaration_is_refused(wrong, said):
    kind = wrong.pop("kind")
    with pytest.raises(ValueError, match=said):
        feature("x", kind, "", unit="", **wrong)


def test_a_bare_field_is_refused_by_name():
    with pytest.raises(ValueError, match="v.bare has no contract"):
        spec_of(Field(name="bare", dtype=Float64), "v")


def test_feast_scans_the_definitions_and_nothing_else():
    assert get_repo_files(REPO_PATH) == [REPO_PATH / "definitions.py"]


def test_the_registry_returns_what_the_definitions_declare(home, contract):
    declared = {
        view.name: tuple(spec_of(field, view.name) for field in view.features)
        for view in registry.load_definitions(home)
        if isinstance(view, FeatureView)
    }
    assert {view.name: view.features for view in contract.views} == {
        name: specs for name, specs in declared.items() if name != "protected_attributes"
    }
    assert {spec.name for spec in contract.request} == {"purchase_amount", "term_months", "loan_purpose"}
    assert {spec.view for spec in contract.on_demand} == {"affordability"}


def test_names_that_users_rely_on(contract):
    assert {spec.name for spec in contract.features} >= DEMO_FEATURES


def test_feature_names_are_unique_and_every_model_feature_says_why(contract):
    names = [spec.name for spec in contract.features]
    assert len(set(names)) == len(names)
    assert all(spec.reason and spec.unit and spec.description for spec in contract.model_features)
    assert all(view.missing_reason and view.ttl_seconds > 0 for view in contract.views)


def test_a_reason_names_a_direction_only_where_the_model_is_held_to_it(contract):
    """A feature that may raise the risk at either end must not be told as if it were one of them."""
    directed = re.compile(
        r"\b(low|high|short|long|many|few|little|limited|recent(ly)?|late|large|less|not|was|were)\b", re.I
    )
    either = [spec for spec in contract.model_features if spec.risk == "either"]
    assert len(either) > 5
    assert [spec.name for spec in either if directed.search(spec.reason)] == []


def test_no_decision_service_reads_a_protected_attribute(store):
    for service in store.list_feature_services():
        assert "protected_attributes" not in {projection.name for projection in service.feature_view_projections}
    protected = store.get_feature_view("protected_attributes")
    assert not protected.online
    assert {field.tags["role"] for field in protected.features} == {"protected"}


def test_an_unknown_service_is_named(store):
    with pytest.raises(InputError, match="'nope' is not in the registry"):
        registry.read_contract(store, "nope")


def test_a_removed_view_leaves_the_registry(home, store, monkeypatch):
    declared = registry.load_definitions(home)
    fewer = [thing for thing in declared if thing.name != "protected_attributes"]
    monkeypatch.setattr(registry, "load_definitions", lambda home: fewer)
    assert "protected_attributes" not in {view.name for view in registry.apply(home).list_feature_views()}
    monkeypatch.setattr(registry, "load_definitions", lambda home: declared)
    assert "protected_attributes" in {view.name for view in registry.apply(home).list_feature_views()}


@pytest.mark.parametrize("ttl", [timedelta(milliseconds=500), timedelta(seconds=1.5)])
def test_a_time_to_live_that_would_be_cut_off_online_is_refused_by_name(home, monkeypatch, ttl):
    declared = registry.load_definitions(home)
    next(thing for thing in declared if thing.name == "credit_bureau" and isinstance(thing, FeatureView)).ttl = ttl
    monkeypatch.setattr(registry, "load_definitions", lambda _: declared)
    with pytest.raises(InputError, match=f"^view credit_bureau: ttl {ttl} is not a whole number of seconds"):
        registry.apply(home)


def test_sources_are_those_of_the_home_asked_for(home):
    other = Home(root=Path("/elsewhere"))
    paths = {thing.path for thing in registry.load_definitions(other) if hasattr(thing, "path")}
    assert paths == {other.source_glob(table) for table in registry.table_specs(home)}


DEFINITIONS = """from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64
from feature_repo.schema import feature
AT = FileSource(path='a.parquet', timestamp_field='at')
WHO = Entity(name='applicant', join_keys=['applicant_id'], value_type=ValueType.STRING)
AGE = feature('age', 'count', 'Age', unit='years', role='policy')
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FeatureView(name='a', source=AT, ttl=5)", r':8: argument "ttl" \(int\) did not match any element'),
        ("def view():\n    return FeatureView(nam='a')\n\nview()", r":9: .*unexpected keyword argument 'nam'"),
        ("feature('a', 'counts', 'A', unit='')", r":8: feature 'a': kind 'counts' is none of number, count,"),
        ("feature('a', 'count', 'A', unit='', risk='down', reason='A')", r":8: feature 'a': .*'down' - at `\$.risk`"),
        ("V = FeatureView(name='v', source=AT, entities=[WHO], schema=[Field(name='b', dtype=Int64)])", ": v.b has no"),
        ("V = FeatureView(name='v', source=AT, schema=[AGE])", ": view v: its entities have to be the applicant's"),
        ("V, W = [FeatureView(name='v', source=AT, entities=[WHO], schema=[AGE]) for _ in 'ab']", ": two views are"),
        ("name = (", r":8: '\(' was never closed$"),
        ("import nothing_of_that_name", r":8: No module named 'nothing_of_that_name'"),
        ("raise ValueError", r":8: ValueError$"),
        ("{}['a']", r":8: KeyError: 'a'"),
        ("raise SystemExit(0)", r":8: SystemExit: 0"),
        ("raise ValueError('\\x1b[31m\\n' + 'a ' * 1000)", r":8: \[31m a a [a ]{480,495}$"),
    ],
)
def test_a_mistake_in_the_definitions_is_told_with_its_place(home, tmp_path, monkeypatch, text, told):
    (tmp_path / "definitions.py").write_text(DEFINITIONS + text)
    monkeypatch.setattr(registry, "REPO_PATH", tmp_path)
    with pytest.raises(InputError, match=f"^{tmp_path.name}/definitions.py{told}") as raised:
        registry.load_definitions(home)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["RATE = 1\nTWICE = RATES * 2", "RATE = 1\ndef twice(:"])
def test_a_mistake_beside_the_definitions_is_told_where_it_is(home, tmp_path, monkeypatch, text):
    (tmp_path / "helper_of_ours.py").write_text(text)
    (tmp_path / "definitions.py").write_text(DEFINITIONS + "import helper_of_ours")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "REPO_PATH", tmp_path)
    with pytest.raises(InputError, match=f"^{tmp_path.name}/helper_of_ours.py:2: "):
        registry.load_definitions(home)


def test_what_feast_refuses_of_the_definitions_is_one_line_and_a_view_for_others_needs_no_contract(home, monkeypatch):
    declared = registry.load_definitions(home)
    (derived,) = [one for one in declared if isinstance(one, OnDemandFeatureView)]
    other = copy.deepcopy(derived)
    other.name, other.tags = "for_others", {}
    monkeypatch.setattr(registry, "load_definitions", lambda _: [*declared, other])
    store = registry.apply(home)
    assert registry.read_contract(store, "credit_decision_v1").on_demand
    derived.tags = {}
    with pytest.raises(InputError, match=f"^view {derived.name}: it has no contract: give it tags="):
        registry.read_contract(registry.apply(home), "credit_decision_v1")
    other.name = "Credit_Bureau"
    with pytest.raises(InputError, match=r"^feature_repo/definitions.py: .*[cC]redit_[bB]ureau") as raised:
        registry.apply(home)
    assert "\n" not in str(raised.value)


BARE = """
from feast import Field
from feast.types import Int64
bare_request = RequestSource(name="bare_request", schema=[Field(name="term_months", dtype=Int64)])
def nothing(inputs):
    return {"a": inputs["term_months"]}
bare = OnDemandFeatureView(
    name="bare", sources=[bare_request], schema=[Field(name="a", dtype=Int64)], udf=nothing, udf_string="",
    mode="python",
)
"""
AGAIN = "\nfor again in (applicant_profile, credit_bureau):\n    pass\n"


def test_a_request_field_needs_a_contract_and_a_second_name_makes_no_second_view(home, tmp_path, monkeypatch):
    own = (REPO_PATH / "definitions.py").read_text(encoding="utf-8")
    monkeypatch.setattr(registry, "REPO_PATH", tmp_path)
    (tmp_path / "definitions.py").write_text(own + AGAIN, encoding="utf-8")
    names = [one.name for one in registry.load_definitions(home) if isinstance(one, FeatureView)]
    assert sorted(names) == sorted(set(names))
    (tmp_path / "definitions.py").write_text(own + BARE, encoding="utf-8")
    with pytest.raises(InputError, match=f"^{tmp_path.name}/definitions.py: request.term_months has no contract: "):
        registry.load_definitions(home)
