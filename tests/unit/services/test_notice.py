"""Each kind of notice, from the record that the log keeps and the model that it cites."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from feature_repo.errors import UnavailableError
from feature_repo.home import Home
from monitoring.decision_record import DecisionRecord
from services.scoring.errors import FieldProblem
from services.scoring.notices.lender import SAMPLES, load_lender
from services.scoring.notices.notice import notice_of
from services.scoring.notices.render import FORMATS, chosen_format, render
from services.scoring.record import Case, settle
from tests.unit.services.harness import LinearScorer, a_model
from tests.unit.services.test_decide import DENIED, MISSING, OCCASION, held
from tests.unit.services.test_offer import SAFE, changed

FILLED = (
    SAMPLES.read_text()
    .replace("sample = true", "sample = false")
    .replace("Sample Lender, Inc.", "Honest <Credit> & Sons")
    .replace("Sample Credit Bureau", "The Bureau")
)
RISKY = LinearScorer(
    base=DENIED,
    weights={"debt_to_income_ratio": 4.0, "num_inquiries": 0.01, "inflow_90d": 1e-4, "annual_income": 1e-5,
             "purchase_amount": 1e-4},
)  # fmt: skip


@pytest.fixture(scope="module")
def lender(tmp_path_factory):
    home = Home(root=tmp_path_factory.mktemp("lender"))
    (home.root / "lender.toml").write_text(FILLED)
    return load_lender(home)


@pytest.fixture
def notice(lender):
    def make(stored=None, scorer=None, policy=None, lender=lender, **asked):
        model = a_model(scorer, policy)
        body = msgspec.json.encode({"applicant_id": "A<1>", "purchase_amount": 3500} | asked)
        record = settle(Case(model.requests.read(body), stored or held(), OCCASION), model)
        logged = msgspec.json.decode(msgspec.json.encode(record), type=DecisionRecord)
        return notice_of(logged, model, lender)

    return make


class Page(HTMLParser):
    """What an HTML page says, which addresses it refers to, and whether its elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.words, self.links, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "action")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def said(notice, form):
    """What a notice says in one format, without line breaks."""
    text = render(notice, form)
    if form == "html":
        page = Page(text)
        assert page.open == page.links == []
        assert not re.search(r"(https?:)?//\w|url\(|@import|<script", text)
        text = " ".join(page.words)
    return re.sub(r"\s+", " ", text)


def test_a_decline_by_the_model_is_told_with_reasons_score_and_rights(notice):
    made = notice(held(credit_bureau={"num_inquiries": 3}), RISKY)
    assert made.kind == "adverse_action"
    assert made.principal_reasons == (
        "inflow_90d is bad", "annual_income is bad", "debt_to_income_ratio is bad", "purchase_amount is bad",
    )  # fmt: skip
    assert (made.score.lowest, made.score.highest) == (300, 850)
    assert 300 <= made.score.score <= 850
    for form in ("text", "html"):
        text = said(made, form)
        for words in (
            "Honest <Credit> & Sons", "1 Sample Street", "A<1>", "1. " if form == "text" else "inflow_90d is bad",
            "Equal Credit Opportunity Act prohibits creditors", "Federal Trade Commission", "Washington, DC 20580",
            f"Your credit score{':' if form == 'text' else ''} {made.score.score}", "low of 300 to a high of 850",
            "2026-06-01",
            "The Bureau", "played no part in our decision", "free copy of your report", "60 days", "right to dispute",
        ):  # fmt: skip
            assert words in text, (form, words)
        assert "SAMPLE" not in text


def test_inquiries_are_a_key_factor_beyond_the_four(notice):
    policy = changed(('inquiries = "num_credit_inquiries"', 'inquiries = "num_inquiries"'))
    made = notice(held(credit_bureau={"num_inquiries": 3}), RISKY, policy)
    assert len(made.principal_reasons) == 4
    assert made.score.key_factors == (*made.principal_reasons, "num_inquiries is bad")
    none = notice(held(credit_bureau={"num_inquiries": 0}), RISKY, policy)
    assert none.score.key_factors == none.principal_reasons
    few = notice(
        held(credit_bureau={"num_inquiries": 3}), LinearScorer(base=DENIED, weights={"num_inquiries": 1.0}), policy
    )
    assert few.score.key_factors == ("num_inquiries is bad",)


def test_key_factors_never_name_what_lowered_the_risk(notice):
    weights = {"debt_to_income_ratio": 4.0, "annual_income": -1e-6}
    assert notice(scorer=LinearScorer(base=DENIED, weights=weights)).score.key_factors == (
        "debt_to_income_ratio is bad",
    )


def test_a_rule_that_declines_uses_neither_report_nor_score(notice):
    made = notice(held(applicant_profile={"of_legal_age": False}), SAFE)
    assert (made.kind, made.principal_reasons) == ("adverse_action", ("Not of legal age",))
    assert made.score is None
    assert made.sources == made.statements == ()
    assert "Equal Credit Opportunity Act" in said(made, "text")
    assert "score" not in said(made, "html")


def test_without_a_report_none_is_told_of(notice):
    made = notice(held(credit_bureau=MISSING), LinearScorer(base=DENIED, weights={"inflow_90d": 1e-4}))
    assert made.principal_reasons == ("inflow_90d is bad",)
    assert made.score is None
    assert made.sources == ()


@pytest.mark.parametrize("bring_reports", [False, True])
def test_what_a_request_brings_is_a_report_only_where_the_lender_says_so(notice, lender, bring_reports):
    (bureau,) = lender.bureau
    bureaus = (msgspec.structs.replace(bureau, requests_bring_reports=bring_reports),)
    lender = msgspec.structs.replace(lender, bureau=bureaus)
    brought = notice(held(credit_bureau=MISSING), LinearScorer(base=DENIED), lender=lender, num_inquiries=9)
    assert [source.name for source in brought.sources] == ["The Bureau"] * bring_reports


def test_a_counter_offer_comes_with_the_reasons_against_what_was_asked(notice):
    made = notice(held(applicant_profile={"annual_income": 7000}), SAFE)
    assert made.kind == "counter_offer"
    assert made.principal_reasons == ("Monthly payment would be high against income",)
    assert (made.amount, made.term_months, made.terms.amount, made.terms.term_months) == (3500, 12, 3500, 18)
    for form in ("text", "html"):
        text = said(made, form)
        assert "within 90 days" in text
        assert "18 of 208.58, the last 208.49" in text
        assert "Equal Credit Opportunity Act" in text


def test_who_is_approved_above_the_best_rate_is_told_so(notice):
    made = notice(scorer=LinearScorer(base=-2.5, weights={"debt_to_income_ratio": 1.0}))
    assert made.kind == "risk_based_pricing"
    assert made.terms.note_rate > 8.99
    assert made.principal_reasons == ()
    assert made.score.key_factors == ("debt_to_income_ratio is bad",)
    for form in ("text", "html"):
        text = said(made, form)
        assert "may be less favorable" in text
        assert "consumerfinance.gov" in text
        assert "Equal Credit Opportunity" not in text


def test_a_fee_that_the_best_do_not_pay_is_worse_terms(notice):
    scorer = LinearScorer(base=-3.0, weights={})
    same = changed(("rate = 11.99", "rate = 9.0"))
    assert notice(scorer=scorer, policy=same).kind == "risk_based_pricing"
    assert notice(scorer=SAFE, policy=changed(("max_pd = 0.04\n", "max_pd = 0.04\nfee_flat = 5.0\n"))).kind == "none"


@pytest.mark.parametrize(
    ("stored", "scorer", "why"),
    [
        (None, SAFE, "Approved on the best terms."),
        (held(applicant_profile={"of_legal_age": None}), SAFE, "A person has not decided yet."),
    ],
)
def test_where_no_notice_is_due_this_is_said(notice, stored, scorer, why):
    made = notice(stored, scorer)
    assert (made.kind, made.why) == ("none", why)
    assert made.ecoa == ""
    for form in ("text", "html"):
        assert why in said(made, form)


def test_json_is_the_whole_notice(notice):
    made = notice(scorer=RISKY)
    assert msgspec.json.decode(render(made, "json"), type=type(made)) == made


def test_a_notice_with_sample_details_says_that_it_is_one(tmp_path):
    model = a_model(RISKY)
    record = settle(Case(model.requests.read(b'{"applicant_id": "A", "purchase_amount": 9}'), held(), OCCASION), model)
    logged = msgspec.json.decode(msgspec.json.encode(record), type=DecisionRecord)
    made = notice_of(logged, model, load_lender(Home(root=tmp_path)))
    assert made.sample
    for form in FORMATS:
        assert "sample" in render(made, form).lower().partition("creditor")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILLED.replace("Honest <Credit> & Sons", "Sample Lender, Inc."), "names 'Sample Lender, Inc.': fill it in"),
        (FILLED.replace("The Bureau", "Sample Credit Bureau"), "names 'Sample Credit Bureau'"),
        (FILLED.replace("[agency]", "[agent]"), "unknown field `agent`"),
        (FILLED.replace("[agency]", "[agency"), "lender.toml cannot be used"),
    ],
)
def test_wrong_details_of_the_lender_are_refused(tmp_path, text, message):
    (tmp_path / "lender.toml").write_text(text)
    with pytest.raises(UnavailableError, match=re.escape(message)):
        load_lender(Home(root=tmp_path))


@pytest.mark.parametrize(
    ("named", "accept", "form"),
    [
        (None, "", "json"),
        (None, "*/*", "json"),
        (None, "application/json, text/html", "json"),
        (None, "text/html;q=0.9,application/json", "html"),
        (None, "image/png, text/plain", "text"),
        ("html", "text/plain", "html"),
    ],
)
def test_a_client_has_its_format(named, accept, form):
    assert chosen_format(named, accept) == form


def test_a_format_that_there_is_not_is_refused():
    with pytest.raises(FieldProblem, match="one of text, html, json"):
        chosen_format("pdf", "")
