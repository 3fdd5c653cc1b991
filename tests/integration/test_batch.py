"""`candor batch` from the offline store, and outcomes from a file, on a home that went the whole way."""

import asyncio
import dataclasses
import decimal
import json
import resource
from datetime import timedelta

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import InputError, UnavailableError
from monitoring.decision_log import DecisionLog
from services import batch, batch_input
from services.batch_worker import Row
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
    rows = pq.read_table(path, columns=["decision", "problem"]).to_pylist()
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


def instants(*ticks, unit="us"):
    return pa.array(ticks, pa.int64()).cast(pa.timestamp(unit, "UTC"))


def ticks(instant):
    return int(instant.timestamp()) * 10**6


def dated(path, rows, times):
    """Write rows with their instants."""
    ids, amounts = [row["applicant_id"] for row in rows], [900.0] * len(rows)
    pq.write_table(pa.table({"applicant_id": ids, "purchase_amount": amounts, "event_timestamp": times}), path)
    return path


def not_text():
    """One string that is not UTF-8, as another program may write it."""
    return pa.array([b"A\xff"], pa.binary()).view(pa.string())


@pytest.mark.parametrize("workers", [1, 2])
def test_an_instant_that_will_not_do_is_a_problem_of_its_row(finished, rows, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(batch, "_ALONE", 0)
    monkeypatch.setattr(batch, "_DECIDED", 2)
    now = ticks(finished.home.now())
    times = instants(now, None, 2**62, -(2**62), now, None)
    source = dated(tmp_path / "in.parquet", [rows[-1]] * 6, times)
    report = batch.run(finished.home, source, tmp_path / "out.parquet", workers)
    assert (report.rows, report.decided) == (6, 2)
    first, null, late, early, fifth, last = answers(tmp_path / "out.parquet")
    assert of_the_case(first) == of_the_case(fifth)
    assert null == last == "event_timestamp: is null"
    assert late == early == "event_timestamp: is not in the years 2 to 9998"
    assert pq.read_table(tmp_path / "out.parquet")["event_timestamp"].cast(pa.int64()).to_pylist()[2] == 2**62


def test_not_one_instant_is_there(finished, rows, tmp_path):
    source = dated(tmp_path / "in.parquet", [rows[-1]] * 2, instants(None, None))
    assert batch.run(finished.home, source, tmp_path / "out.parquet").failed
    assert answers(tmp_path / "out.parquet") == ["event_timestamp: is null"] * 2


def test_the_first_and_the_last_instant_that_will_do(finished, rows, tmp_path):
    first, end = ticks(batch_input.FIRST), ticks(batch_input.END)
    source = dated(tmp_path / "in.parquet", [rows[-1]] * 4, instants(first - 1, first, end - 1, end))
    batch.run(finished.home, source, tmp_path / "out.parquet")
    before, earliest, latest, after = answers(tmp_path / "out.parquet")
    assert before == after == "event_timestamp: is not in the years 2 to 9998"
    assert "is not known" in earliest
    assert latest["as_of"].startswith("9998-12-31T23:59:59.999999")


def test_nanoseconds_are_left_out_and_seconds_are_taken(finished, rows, tmp_path):
    now = ticks(finished.home.now())
    for unit, given in (("ns", now * 1000 + 1), ("ms", now // 1000), ("us", now)):
        dated(tmp_path / f"{unit}.parquet", [rows[-1]], instants(given, unit=unit))
        batch.run(finished.home, tmp_path / f"{unit}.parquet", tmp_path / f"{unit}-out.parquet")
    found = [of_the_case(answers(tmp_path / f"{unit}-out.parquet")[0]) for unit in ("ns", "ms", "us")]
    assert found[0] == found[1] == found[2]


def test_other_types_of_one_value_are_decided_alike(finished, rows, tmp_path):
    chosen = rows[8:58]
    amounts = [decimal.Decimal(f"{row['purchase_amount']:.2f}") for row in chosen]
    terms = [row["term_months"] for row in chosen]
    ids = [row["applicant_id"] for row in chosen]
    plain = {"applicant_id": ids, "purchase_amount": [float(one) for one in amounts], "term_months": terms}
    other = {
        "applicant_id": pa.array([one.encode() for one in ids], pa.binary()),
        "purchase_amount": pa.array(amounts, pa.decimal128(12, 2)),
        "term_months": pa.array(terms, pa.float64()).cast(pa.decimal128(5, 1)),
    }
    categories = other | {"applicant_id": pa.array(ids).dictionary_encode()}
    for name, columns in (("plain", plain), ("other", other), ("categories", categories)):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        report = batch.run(finished.home, tmp_path / f"{name}.parquet", tmp_path / f"{name}-out.parquet")
        assert report.decided == len(chosen)
    first, *more = (
        [of_the_case(one) for one in answers(tmp_path / f"{name}-out.parquet")]
        for name in ("plain", "other", "categories")
    )
    assert more == [first, first]


def test_what_json_has_no_word_for_is_refused_by_row(finished, rows, tmp_path):
    columns = {"applicant_id": [rows[-1]["applicant_id"]], "purchase_amount": instants(1, unit="ns")}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    assert batch.run(finished.home, tmp_path / "in.parquet", tmp_path / "out.parquet").failed
    assert answers(tmp_path / "out.parquet") == ["purchase_amount: Expected `float`, got `str`"]


def test_an_applicant_who_is_null_is_refused_by_row(finished, rows, tmp_path):
    source = write(tmp_path / "in.parquet", [rows[-1], rows[-1] | {"applicant_id": None}])
    assert batch.run(finished.home, source, tmp_path / "out.parquet").decided == 1
    assert "applicant_id" in answers(tmp_path / "out.parquet")[1]


def test_two_columns_of_one_name_are_told(finished, tmp_path):
    columns = [pa.array(["A"]), pa.array([1.0]), pa.array([2.0])]
    table = pa.Table.from_arrays(columns, names=["applicant_id", "purchase_amount", "purchase_amount"])
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InputError, match="in.parquet has more than one column 'purchase_amount'"):
        batch.run(finished.home, tmp_path / "in.parquet", tmp_path / "out.parquet")


def counted(home):
    log = DecisionLog(home.decision_log_url)
    try:
        return log.count(None, None)
    finally:
        log.close()


@pytest.mark.parametrize("damage", [b"\xff" * 40, None])
def test_a_damaged_page_is_the_inputs_fault_and_what_was_decided_stays(finished, rows, tmp_path, monkeypatch, damage):
    """The page's header, or, where the writer left checksums, one byte of its values."""
    monkeypatch.setattr(batch, "_JOINED", 50)
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table = pa.table({name: [row[name] for row in rows[8:108]] for name in ("applicant_id", "purchase_amount")})
    pq.write_table(table, source, row_group_size=50, use_dictionary=False, write_page_checksum=True, compression="none")
    found = pq.ParquetFile(source).metadata.row_group(1).column(1)
    content = bytearray(source.read_bytes())
    if damage:
        content[found.data_page_offset : found.data_page_offset + len(damage)] = damage
    else:
        content[found.data_page_offset + found.total_compressed_size - 1] ^= 1
    source.write_bytes(content)
    target.write_text("as it was")
    before = counted(finished.home)
    with pytest.raises(InputError, match="in.parquet cannot be read"):
        batch.run(finished.home, source, target)
    assert counted(finished.home) == before + 50
    assert target.read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out.parquet"}


def test_an_output_that_cannot_be_written_is_the_outputs_fault(finished, rows, tmp_path):
    source = write(tmp_path / "in.parquet", rows[8:18])
    with pytest.raises(UnavailableError, match="out.parquet cannot be written: No such file"):
        batch.run(finished.home, source, tmp_path / "nowhere" / "out.parquet")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnavailableError, match="folder cannot be written: Is a directory"):
        batch.run(finished.home, source, tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "folder"}


@pytest.mark.parametrize("most", [0, 1000])
def test_a_full_disk_leaves_no_part_of_the_output(tmp_path, most):
    target, schema = tmp_path / "out.parquet", pa.schema([("purchase_amount", pa.float64()), *batch._ANSWER])
    given = pa.table({"purchase_amount": [float(number) for number in range(5000)]})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with (
            pytest.raises(UnavailableError, match="out.parquet cannot be written"),
            batch._writer(target, schema) as put,
        ):
            put(given, [Row({}, problem="p")] * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"applicant_id": ["A"]}, "no column 'purchase_amount'"),
        ({"applicant_id": ["A"], "purchase_amount": [1.0], "favour": [1]}, "favour: no field of a request"),
        ({"applicant_id": ["A"], "purchase_amount": [1.0], "event_timestamp": ["now"]}, "not a timestamp"),
        ({"applicant_id": [["A"]], "purchase_amount": [1.0]}, "in.parquet: column 'applicant_id' cannot be read"),
        ({"applicant_id": [b"A\xff"], "purchase_amount": [1.0]}, "in.parquet: column 'applicant_id' .* not UTF-8"),
        (
            {"applicant_id": not_text(), "purchase_amount": [1.0]},
            "in.parquet: column 'applicant_id' holds text that is not UTF-8",
        ),
        (
            {"applicant_id": ["A"], "purchase_amount": [1.0], "home_ownership": not_text()},
            "in.parquet: column 'home_ownership' holds text that is not UTF-8",
        ),
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
