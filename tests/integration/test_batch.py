"""`candor batch` from the offline store, and outcomes from a file, on a home that went the whole way."""

import asyncio
import dataclasses
import json
from datetime import timedelta

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import InputError
from monitoring.decision_log import DecisionLog
from services import batch
from services.scoring.replay import CitedModels, replay_all
from services.scoring.service import ScoringService
from training.bundle import Challenger, read_champion, write_champion

COUNT = 400


@pytest.fixture(scope="module")
def rows(finished):
    """Applicants from long ago to the latest, so that views are fresh, stale and missing; two of them nobody knows."""
    ids = duckdb.execute(
        "select applicant_id from read_parquet(?) group by 1 order by max(event_timestamp), 1",
        [finished.home.source_glob("applicant_profile")],
    ).fetchall()
    chosen = [ids[place * (len(ids) - 1) // (COUNT - 1)][0] for place in range(COUNT)]
    found = [
        {"applicant_id": name, "purchase_amount": 300.0 + 13.37 * place, "term_months": (6, 12, 36, None)[place % 4]}
        for place, name in enumerate(chosen)
    ]
    for row in found[::7]:
        row["annual_income"] = 31234.5
    found[5]["applicant_id"] = "nobody"
    found[6] = {"applicant_id": "somebody", "purchase_amount": 900.0, "credit_utilization": 0.25}
    found[7]["purchase_amount"] = -1.0
    return found


def write(path, rows):
    columns = ["applicant_id", "purchase_amount", "term_months", "annual_income", "credit_utilization"]
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), path)
    return path


def single(home, rows):
    async def run():
        service = ScoringService(home)
        found = []
        try:
            for row in rows:
                body = {name: value for name, value in row.items() if value is not None}
                try:
                    found.append(json.loads((await service.decide(json.dumps(body).encode())).body))
                except InputError as error:
                    found.append(str(error))
        finally:
            await service.close()
        return found

    return asyncio.run(run())


def of_the_case(decision):
    """What a decision says of its case, and not of the moment."""
    return {name: value for name, value in decision.items() if name not in ("decision_id", "decided_at")}


def answers(path):
    rows = pq.read_table(path).to_pylist()
    return [json.loads(row["decision"]) if row["decision"] else row["problem"] for row in rows]


@pytest.mark.parametrize(("workers", "days_later", "status"), [(1, 0, "PRESENT"), (2, 100, "STALE")])
def test_a_batch_is_what_single_decisions_through_redis_are(
    finished, rows, tmp_path, monkeypatch, workers, days_later, status
):
    home = dataclasses.replace(finished.home, as_of_override=finished.home.now() + timedelta(days=days_later))
    monkeypatch.setattr(batch, "_ALONE", 0)
    monkeypatch.setattr(batch, "_DECIDED", 150)
    monkeypatch.setattr(batch, "_JOINED", 250)
    report = batch.run(home, write(tmp_path / "in.parquet", rows), tmp_path / "out.parquet", workers)
    assert (report.rows, report.decided) == (COUNT, COUNT - 2)
    found, wanted = answers(tmp_path / "out.parquet"), single(home, rows)
    assert [one if isinstance(one, str) else of_the_case(one) for one in found] == [
        one if isinstance(one, str) else of_the_case(one) for one in wanted
    ]
    assert "'nobody' is not known" in found[5]
    assert found[7].startswith("purchase_amount")
    decisions = [one for one in found if not isinstance(one, str)]
    assert len({one["approval_recommendation"] for one in decisions}) > 1
    assert {"MISSING", status} <= {view["status"] for one in decisions for view in one["freshness"].values()}
    log = DecisionLog(home.decision_log_url)
    records = [log.get(one["decision_id"]) for one in decisions]
    through_redis = [log.get(one["decision_id"]) for one in wanted if not isinstance(one, str)]
    log.close()
    assert [record.output for record in records] == decisions
    assert [record.impacts for record in records] == [record.impacts for record in through_redis]
    assert [record.views for record in records] == [record.views for record in through_redis]
    assert all(one.identical for one in replay_all(records, CitedModels(home)))


def test_a_row_may_bring_its_instant(finished, rows, tmp_path):
    now = finished.home.now()
    chosen = [rows[-1] | {"credit_utilization": 0.2}] * 2
    table = pa.table(
        {
            "applicant_id": [row["applicant_id"] for row in chosen],
            "purchase_amount": [900.0, 900.0],
            "credit_utilization": [0.2, 0.2],
            "event_timestamp": pa.array([now, now - timedelta(days=300)], pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    assert batch.run(finished.home, tmp_path / "in.parquet", tmp_path / "out.parquet").decided == 2
    late, early = answers(tmp_path / "out.parquet")
    assert [one["as_of"][:10] for one in (late, early)] == [f"{now:%Y-%m-%d}", f"{now - timedelta(days=300):%Y-%m-%d}"]
    assert late["freshness"] != early["freshness"]


def test_a_challenger_has_its_share_of_a_batch(finished, rows, tmp_path):
    before = finished.home.champion_path.read_bytes()
    champion = read_champion(finished.home)
    challenger = Challenger(bundle=champion.bundle, version="99", run_id="r", experiment="half", share=0.5)
    write_champion(finished.home, msgspec.structs.replace(champion, challenger=challenger))
    try:
        batch.run(finished.home, write(tmp_path / "in.parquet", rows[8:108]), tmp_path / "out.parquet")
        found, wanted = answers(tmp_path / "out.parquet"), single(finished.home, rows[8:108])
    finally:
        finished.home.champion_path.write_bytes(before)
    versions = [one["model"]["version"] for one in found]
    assert 25 < versions.count("99") < 75
    assert versions == [one["model"]["version"] for one in wanted]


def test_the_command_says_how_many_and_fails_only_if_all_do(candor, rows, tmp_path):
    source, target = write(tmp_path / "in.parquet", rows[4:9]), tmp_path / "out.parquet"
    done = json.loads(candor("batch", "--input", str(source), "--output", str(target), "--json").stdout)
    assert (done["rows"], done["decided"], done["output"]) == (5, 3, str(target))
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out.parquet"}
    write(source, [rows[5]] * 3)
    none = candor("batch", "--input", str(source), "--output", str(target), ok=False)
    assert (none.returncode, "0 of 3 rows" in none.stdout) == (1, True)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"applicant_id": ["A"]}, "no column 'purchase_amount'"),
        ({"applicant_id": ["A"], "purchase_amount": [1.0], "favour": [1]}, "favour: no field of a request"),
        ({"applicant_id": ["A"], "purchase_amount": [1.0], "event_timestamp": ["now"]}, "not a timestamp"),
        (None, "no Parquet file"),
        ({}, "is not there"),
    ],
)
def test_a_file_that_will_not_do_is_told_and_nothing_written(finished, tmp_path, columns, message):
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    if columns:
        pq.write_table(pa.table(columns), source)
    elif columns is None:
        source.write_text("a,b")
    with pytest.raises(InputError, match=message):
        batch.run(finished.home, source, target)
    assert not target.exists()


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_outcomes_are_loaded_from_a_file_once(finished, candor, tmp_path, kind):
    decision = finished.decision
    given = [
        {"decision_id": decision["decision_id"], "outcome": "REPAID", "observed_at": f"2027-01-0{day}T00:00:00Z"}
        for day in (1, 2)
    ] + [{"decision_id": "nothing", "outcome": "REPAID", "observed_at": "2027-01-01T00:00:00Z"}]
    file = tmp_path / f"outcomes.{kind}"
    if kind == "csv":
        lines = [",".join(given[0]), *(",".join(row.values()) for row in given)]
        file.write_text("\n".join(lines))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(given), file)
    else:
        file.write_text("\n".join(json.dumps(row) for row in given))
    done = candor("outcomes", "load", str(file), "--json", ok=False)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["stored"] + report["known"] == 2
    assert report["refused"] == [{"row": 3, "problem": "the log does not hold this decision"}]
    assert json.loads(candor("outcomes", "load", str(file), "--json", ok=False).stdout)["known"] == 2
