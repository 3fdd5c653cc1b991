from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.home import Home
from services.window import of_known_applicants

DECIDED = datetime(2026, 1, 1, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")


def keep(home, table, **rows):
    """Write a source table of one row an applicant: when it was true, and when it was known."""
    place = home.sources / table / "2025"
    place.mkdir(parents=True)
    event, created = (pa.array([DECIDED + timedelta(days=row[at]) for row in rows.values()], INSTANT) for at in (0, 1))
    columns = {"applicant_id": pa.array(rows, pa.string()), "event_timestamp": event, "created_timestamp": created}
    pq.write_table(pa.table(columns), place / "part.parquet")


def test_loans_of_applicants_of_whom_nothing_was_known_do_not_move_the_window(tmp_path):
    home = Home(root=tmp_path)
    keep(home, "bureau", known=(-9, -8), later=(1, 1), told_later=(-9, 1))
    keep(home, "cashflow", both=(0, 0), later=(2, 2))
    names = ["told_later", "known", "nobody", "both", "later"]
    loans = pa.table(
        {
            "loan_id": [str(number) for number in range(len(names))],
            "applicant_id": names,
            "event_timestamp": pa.array([DECIDED] * len(names), INSTANT),
            "defaulted": [True, False, True, False, True],
        }
    )
    found = of_known_applicants(home, ["bureau", "cashflow"], loans)
    assert found.equals(loans.take([1, 3]).combine_chunks())
    assert of_known_applicants(home, ["bureau"], found.slice(0, 0)).schema == loans.schema
