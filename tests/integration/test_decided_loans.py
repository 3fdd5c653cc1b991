"""What was decided here and ended is trained on, at the instant of its decision; what was trained before stays."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from feature_repo.home import Home, HomeState
from monitoring.decision_log import DecisionLog
from monitoring.log_tables import decisions as log_table
from services import embedded, intake, labels, pipeline, present
from services.asked_here import asked_here
from services.reproduce import rebuild, reproduce
from services.run_record import LEAST_REFERENCE, reference_frame
from services.scoring.once import decide_once
from training.recipe import read_recipe
from training.tracking import Tracking

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
    assert f"| decided here | {len(ids)} loans |" in card
    others = len(answers) - len(approved)
    assert after.dataset.left_out == {"declined, or left to a person": others}
    assert f"{others} declined, or left to a person" in card

    asked = asked_here(home, after.dataset, after.candidate, read_recipe(Tracking(home), after.run.run_id))
    assert (asked.step, len(asked.pd)) == (1, len(answers)), "also who was declined, reviewed or a stranger"
    assert (asked.outcome_known.sum(), asked.defaulted.sum()) == (len(ids), len(late & ids))
    is_same = dict(zip(asked.entity["applicant_id"].to_pylist(), asked.pd, strict=True))
    here = after.dataset.decided_here
    for applicant, pd in zip(after.dataset.frame.loc[here, "applicant_id"], after.candidate.pd[here], strict=True):
        assert is_same[applicant] == pytest.approx(pd)
    reference = reference_frame(after.dataset, after.candidate, asked)
    assert len(reference) == LEAST_REFERENCE - len(ids) + len(answers), "all who asked in place of the loans among them"
    assert reference["defaulted"].isna().sum() == len(answers) - len(ids)
    assert "all requests of the window count, approved or not" in card
    assert asked_here(home, before.dataset, before.candidate, read_recipe(Tracking(home), before.run.run_id)) is None

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
    assert pipeline.train(home, with_decided=False).dataset.digest == before.dataset.digest


def test_one_odd_decision_does_not_keep_a_home_from_learning_and_is_named(lender, tmp_path):
    home, answers = lender
    approved = [one for one in answers if one["approval_recommendation"] == "APPROVED"]
    load(home, approved, "REPAID", OBSERVED + timedelta(days=25), tmp_path)
    whole = pipeline.train(home)
    odd = next(one["decision_id"] for one in approved if one["decision_id"] in set(whole.dataset.frame["loan_id"]))
    log = DecisionLog(home.decision_log_url)
    with log.database.begin() as connection:
        wrong = sa.func.replace(log_table.c.record, '"term_months":', '"term_months":10')
        connection.execute(sa.update(log_table).where(log_table.c.decision_id == odd).values(record=wrong))
    log.close()
    again = pipeline.train(home)
    assert set(whole.dataset.frame["loan_id"]) - set(again.dataset.frame["loan_id"]) == {odd}
    assert again.dataset.left_out["set aside by the gate"] == 1
    assert "1 set aside by the gate" in present.trained(again)
    recipe = json.loads(again.report.with_name("recipe.json").read_text(encoding="utf-8"))
    assert list(recipe["set_aside"]) == [odd]
    assert "term_months" in recipe["set_aside"][odd]
    assert reproduce(home, again.run.run_id).differs == ()


def test_outcomes_after_the_homes_clock_are_told_and_count_when_it_stands_later(lender, finished, tmp_path):
    home, answers = lender
    clock = home.outcomes_now()
    approved = [one for one in answers if one["approval_recommendation"] == "APPROVED"][:3]
    rows = [
        {"decision_id": one["decision_id"], "outcome": "REPAID", "observed_at": (clock + timedelta(days=5)).isoformat()}
        for one in approved
    ]
    (tmp_path / "late.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert labels.load(home, tmp_path / "late.jsonl").later == 3
    assert labels.load(replace(home, as_of_override=clock + timedelta(days=6)), tmp_path / "late.jsonl").later == 0
