from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from feature_repo.errors import GateError, UnavailableError
from feature_repo.home import Home
from monitoring.decision_log import DecisionLog, Source
from monitoring.log_tables import outcomes
from monitoring.outcomes import Outcome, Outcomes
from services import decided_loans
from tests.unit.monitoring.test_decision_log import DAY, START, record
from tests.unit.services.harness import CONTRACT
from training.loans import DecidedHere

REQUEST = CONTRACT.request
ASKED = {"purchase_amount": 3500.0, "term_months": 12, "loan_purpose": "car", "annual_income": 1.0}
LATER = START + 400 * DAY
ODD = ({"term_months": "12"}, {"term_months": 12.5}, {"loan_purpose": 5}, {"purchase_amount": True})


def decision(number, **changes):
    features = {"v": Source(START, {"a": 0.1}), "request": Source(None, ASKED)}
    return record(number, **{"features": features, "applicant_id": f"A{number}"} | changes)


@pytest.fixture
def home(tmp_path):
    return Home(root=tmp_path)


@pytest.fixture
def book(home):
    """Log decisions and their outcomes, and return what training reads of them."""
    log = DecisionLog(home.decision_log_url)

    def run(*told, as_of=LATER, loaded_by=None, months=6):
        for number, outcome, days, changes in told:
            one = decision(number, **changes)
            if log.get(one.decision_id) is None:
                log.append(one)
            given = Outcome(outcome=outcome, observed_at=START + days * DAY, decision_id=one.decision_id)
            assert [taken.status for taken in Outcomes(log.database).store([given])] == ["stored"]
        loaded_by = loaded_by or datetime.now(UTC)
        return decided_loans.read(home, REQUEST, as_of=as_of, loaded_by=loaded_by, months=months)

    yield run
    log.close()


def test_an_outcome_of_an_approval_is_a_loan_as_it_was_asked_for_at_the_homes_instant(book):
    (row,) = book((1, "DEFAULTED", 90, {})).loans.to_pylist()
    assert row == {
        "loan_id": decision(1).decision_id,
        "applicant_id": "A1",
        "event_timestamp": START,
        "created_timestamp": START + 90 * DAY,
        "purchase_amount": 3500.0,
        "term_months": 12,
        "loan_purpose": "car",
        "defaulted": True,
        "outcome_observed_at": START + 90 * DAY,
    }


def test_what_was_not_approved_or_not_yet_observed_is_no_loan_and_is_counted(book, home):
    found = book(
        (1, "REPAID", 10, {"recommendation": "DECLINED"}),
        (2, "REPAID", 10, {"recommendation": "MANUAL_REVIEW"}),
        (3, "REPAID", 20, {}),
        (4, "REPAID", 10, {}),
        as_of=START + 15 * DAY,
    )
    assert found.loans["applicant_id"].to_pylist() == ["A4"]
    day = f"{START + 15 * DAY:%Y-%m-%d}"
    assert found.left_out == {"declined, or left to a person": 2, f"observed after {day}": 1}


def test_what_was_read_once_is_read_again_whatever_is_loaded_later(book):
    first = book((1, "REPAID", 10, {}), (2, "REPAID", 10, {}))
    by = datetime.now(UTC)
    later = book((1, "DEFAULTED", 20, {}), (3, "REPAID", 5, {}))
    assert later.loans["defaulted"].to_pylist() == [True, False, False]
    assert book(loaded_by=by).loans.equals(first.loans)
    assert book(loaded_by=by - timedelta(days=1)) == DecidedHere()


def test_what_is_paid_after_a_default_does_not_undo_it(book):
    book((1, "REPAID", 5, {}), (1, "DEFAULTED", 20, {}), (1, "DEFAULTED", 40, {}), (1, "REPAID", 300, {}))
    (row,) = book().loans.to_pylist()
    assert (row["defaulted"], row["outcome_observed_at"]) == (True, START + 20 * DAY)
    assert book(as_of=START + 10 * DAY).loans["defaulted"].to_pylist() == [False]


def test_a_default_that_was_a_mistake_is_taken_back_from_then_on(book):
    first = book((1, "DEFAULTED", 20, {}), (2, "DEFAULTED", 20, {}))
    by = datetime.now(UTC)
    assert book((1, "WITHDRAWN", 30, {})).loans["applicant_id"].to_pylist() == ["A2"]
    (row, _) = book((1, "REPAID", 31, {})).loans.to_pylist()
    assert (row["defaulted"], row["outcome_observed_at"]) == (False, START + 31 * DAY)
    assert book(as_of=START + 29 * DAY).loans.equals(first.loans)
    assert book(loaded_by=by).loans.equals(first.loans)
    (row, _) = book((1, "DEFAULTED", 50, {})).loans.to_pylist()
    assert (row["defaulted"], row["outcome_observed_at"]) == (True, START + 50 * DAY)


def test_a_default_is_taken_back_by_what_is_observed_later_only(book, home):
    book((1, "DEFAULTED", 20, {}))
    log = DecisionLog(home.decision_log_url)
    given = {"decision_id": decision(1).decision_id}
    told = [
        Outcome(outcome=outcome, observed_at=START + days * DAY, **given)
        for outcome, days in (("REPAID", 20), ("WITHDRAWN", 20), ("WITHDRAWN", 19), ("WITHDRAWN", 21))
    ]
    problems = [taken.problem for taken in Outcomes(log.database).store(told)]
    log.close()
    assert "report WITHDRAWN, observed later" in problems[0]
    assert problems[1:] == [*2 * ["nothing was observed before it that it could take back"], ""]


def test_the_order_in_which_outcomes_are_told_does_not_matter(book, home):
    log = DecisionLog(home.decision_log_url)
    log.append(decision(1))
    told = [
        Outcome(outcome=outcome, observed_at=START + days * DAY, decision_id=decision(1).decision_id)
        for outcome, days in (("REPAID", 40), ("WITHDRAWN", 30), ("DEFAULTED", 20))
    ]
    assert [taken.status for taken in Outcomes(log.database).store(told)] == 3 * ["stored"]
    log.close()
    assert book().loans["defaulted"].to_pylist() == [False]


def test_without_outcomes_there_is_nothing_and_no_log_is_made(home, tmp_path):
    assert decided_loans.read(home, REQUEST, as_of=LATER, loaded_by=LATER, months=6) == DecidedHere()
    assert list(tmp_path.iterdir()) == []


def test_approvals_without_a_word_are_counted_once_their_window_is_over(book, home):
    book((1, "REPAID", 10, {}), (2, "REPAID", 200, {}))
    log = DecisionLog(home.decision_log_url)
    log.append(decision(3))
    log.append(decision(4, recommendation="DECLINED"))
    log.append(decision(5, as_of=START + DAY))
    log.close()

    def silent(as_of, months):
        return sum(n for why, n in book(as_of=as_of, months=months).left_out.items() if "never reported on" in why)

    end = START.replace(month=12)
    assert silent(end, 6) == 1
    assert silent(end - timedelta(seconds=1), 6) == 0
    assert silent(LATER, 6) == 2
    assert silent(START, 0) == 1
    book((1, "WITHDRAWN", 20, {}))
    assert silent(LATER, 6) == 3
    assert decided_loans._months_before(datetime(2026, 3, 31, tzinfo=UTC), 1) == datetime(2026, 2, 28, tzinfo=UTC)
    assert decided_loans._months_before(datetime(2026, 1, 15, tzinfo=UTC), 13) == datetime(2024, 12, 15, tzinfo=UTC)


def _with_terms(decided, terms):
    place = decided.loans.column_names.index("term_months")
    return replace(decided, loans=decided.loans.set_column(place, "term_months", [terms]))


def test_the_gate_of_the_loans_table_is_asked_and_more_than_a_few_odd_ones_stop_the_training(book, home):
    sound = book((1, "REPAID", 10, {}), (2, "DEFAULTED", 20, {}))
    assert decided_loans.checked(home, sound, REQUEST, LATER) == sound
    with pytest.raises(GateError, match=r"term_months must be .*1 of 2 rows break this.*--without-decided"):
        decided_loans.checked(home, _with_terms(sound, [12, 1000]), REQUEST, LATER)
    with pytest.raises(GateError, match=r"2 of 2 rows|1 of 2 rows"):
        decided_loans.checked(home, sound, REQUEST, START + 15 * DAY)


def test_an_odd_decision_among_many_loans_is_set_aside_by_name(book, home):
    table = home.sources / "loans"
    table.mkdir(parents=True)
    pq.write_table(pa.table({"loan_id": [str(number) for number in range(400)]}), table / "loans.parquet")
    decided = _with_terms(book((1, "REPAID", 10, {}), (2, "REPAID", 20, {}), (2, "DEFAULTED", 30, {})), [12, 1000])
    found = decided_loans.checked(home, decided, REQUEST, LATER)
    assert found.loans["applicant_id"].to_pylist() == ["A1"]
    assert list(found.set_aside) == [decision(2).decision_id]
    assert found.set_aside[decision(2).decision_id].startswith("term_months must be")
    assert found.left_out["set aside by the gate"] == 1
    assert decided_loans.without(decided, found.set_aside) == found, "as a recorded run is made again"
    page = (home.reports / "data-docs" / f"{decided_loans.GATE}.html").read_text()
    assert decision(2).decision_id in page
    alone = book(as_of=START + 15 * DAY)
    assert decided_loans.checked(home, _with_terms(alone, [1000]), REQUEST, LATER).loans is None


def test_a_record_of_another_form_and_a_damaged_log_are_one_line(book, home, tmp_path):
    log = DecisionLog(home.decision_log_url)
    wrong = ({"v": Source(None, {})}, *({"request": Source(None, ASKED | one)} for one in ODD))
    for number, features in enumerate(wrong, 1):
        with pytest.raises(UnavailableError, match=rf"7000-8000-00000000000{number} was logged in a form .*--without"):
            book((number, "REPAID", 10, {"features": features}))
        with log.database.begin() as connection:
            connection.execute(sa.delete(outcomes))
    log.close()
    (tmp_path / "damaged.db").write_bytes(b"no database" * 100)
    damaged = Home(root=home.root, log_override=f"sqlite:///{tmp_path / 'damaged.db'}")
    with pytest.raises(UnavailableError, match=r"decision log .*damaged\.db"):
        decided_loans.read(damaged, REQUEST, as_of=LATER, loaded_by=LATER, months=6)


def test_without_a_window_a_loan_counts_once_its_term_and_90_days_are_over(book):
    told = ((1, "DEFAULTED", 40, {}), (2, "REPAID", 370, {}))
    over = datetime(START.year + 1, START.month, START.day, tzinfo=UTC) + 90 * DAY
    assert book(*told, as_of=over - DAY, months=0) == DecidedHere(None, {"not over for 90 days": 2})
    assert book(as_of=over - DAY, months=6).loans.num_rows == 2
    assert book(as_of=over + DAY, months=0).loans.num_rows == 2
