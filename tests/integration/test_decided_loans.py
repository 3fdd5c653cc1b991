"""What was decided here and ended is trained on, at the instant of its decision; what was trained before stays."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feature_repo.home import Home, HomeState
from monitoring.decision_log import DecisionLog
from services import embedded, intake, labels, pipeline
from services.reproduce import rebuild, reproduce
from services.scoring.once import decide_once

DECIDED = datetime(2025, 4, 1, tzinfo=UTC)
OBSERVED = DECIDED + timedelta(days=150)


@pytest.fixture(scope="module")
def lender(finished, tmp_path_factory):
    """A home that decided on forty applicants in April 2025, and then stands where the portfolio ends."""
    home = Home(root=tmp_path_factory.mktemp("lender"))
    shutil.copytree(finished.home.sources, home.sources)
    shutil.copytree(finished.home.bundles, home.bundles)
    shutil.copy(finished.home.champion_path, home.champion_path)
    state = finished.home.state()
    home.save_state(
        HomeState(
            portfolio=state.portfolio,
            as_of=state.as_of,
            oot_start=state.oot_start,
            performance_months=state.performance_months,
        )
    )
    then = replace(home, as_of_override=DECIDED)
    try:
        intake.materialize(then)
        asked = pipeline.latest_requests(then, ["purchase_amount", "term_months", "loan_purpose"])
        known = list({one["applicant_id"]: one for one in asked}.values())[:40]
        stranger = known[0] | {"applicant_id": "NOBODY"} | INLINE
        yield home, [json.loads(decide_once(then, one)) for one in [*known, stranger]]
    finally:
        embedded.stop(home)


INLINE = {
    "annual_income": 90000, "age": 40, "employment_years": 9, "debt_to_income_ratio": 0.05, "credit_utilization": 0.05,
    "num_credit_lines": 5, "num_credit_inquiries": 0, "num_late_payments": 0, "credit_history_months": 200,
}  # fmt: skip


def load(home, answers, outcome, observed, folder):
    rows = [
        {"decision_id": one["decision_id"], "outcome": outcome, "observed_at": observed.isoformat()} for one in answers
    ]
    (folder / "outcomes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = labels.load(home, folder / "outcomes.jsonl")
    assert not report.refused


def test_outcomes_reach_training_once_and_earlier_runs_are_made_again_bit_for_bit(lender, finished, tmp_path):
    home, answers = lender
    before = pipeline.train(home)
    assert before.dataset.digest == finished.outcome.dataset.digest, "a log without outcomes changes nothing"
    assert before.dataset.waterfall == finished.outcome.dataset.waterfall

    approved = [one for one in answers if one["approval_recommendation"] == "APPROVED"]
    own = [one for one in approved if one["applicant_id"] != "NOBODY"]
    assert len(answers) > len(approved) > len(own) > 10
    load(home, answers, "REPAID", OBSERVED, tmp_path)
    load(home, approved[:5], "DEFAULTED", OBSERVED + timedelta(days=10), tmp_path)
    after = pipeline.train(home)
    frame = after.dataset.frame.set_index("loan_id")
    ids = {one["decision_id"] for one in own}
    assert set(frame.index) - set(before.dataset.frame["loan_id"]) == ids
    assert frame.index.is_unique
    late = {one["decision_id"] for one in approved[:5]}
    assert {name for name in ids if frame.loc[name, "defaulted"]} == late & ids
    assert (frame.loc[list(ids), "event_timestamp"] == DECIDED).all()
    steps = after.dataset.waterfall
    assert steps["of them decided here"] == len(ids)
    assert steps["loans"] == before.dataset.waterfall["loans"] + len(approved)
    assert steps["determinate"] - steps["applicant known"] == 1, "of NOBODY the sources know nothing"

    card = after.report.with_name("model_card.md").read_text(encoding="utf-8")
    assert f"{len(ids)} loans; 0 approvals, older than the performance window of 6 months, have no outcome" in card

    log = DecisionLog(home.decision_log_url)
    for name in ids:
        logged = {key: value for source in log.get(name).features.values() for key, value in source.values.items()}
        joined = frame.loc[name, list(after.candidate.scorer.features)]
        for feature, value in joined.items():
            assert (logged[feature] is None) == (value != value or value is None), feature
            assert logged[feature] is None or value == pytest.approx(logged[feature]), feature
    log.close()

    load(home, own[5:9], "DEFAULTED", OBSERVED + timedelta(days=20), tmp_path)
    for outcome in (before, after):
        assert reproduce(home, outcome.run.run_id).differs == ()
        assert rebuild(home, outcome.run.run_id).digest == outcome.dataset.digest
    assert pipeline.train(home).dataset.digest not in (before.dataset.digest, after.dataset.digest)
