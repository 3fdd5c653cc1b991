from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from whylogs.core import DatasetProfile, DatasetProfileView, DatasetSchema, MetricConfig, datatypes

from feature_repo.errors import InputError
from monitoring.banding import profile_scored
from monitoring.plain_columns import plain_values
from monitoring.profiles import (
    ProfileBuilder,
    beside,
    from_bytes,
    merge,
    profile_frame,
    read_profile,
    renamed,
    summaries,
    to_bytes,
    write_profile,
)
from monitoring.segments import BANDS, PD, banded

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


def frame(rows: int = 1000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "income": np.where(rng.random(rows) < 0.2, np.nan, rng.lognormal(10, 0.5, rows)),
            "inquiries": rng.poisson(2, rows),
            "verified": rng.random(rows) < 0.3,
            "home": rng.choice(["OWN", "RENT", None], rows),
        }
    )


def profiled(values: object, name: str = "x"):
    return summaries(profile_frame(pd.DataFrame({name: values}), dataset_timestamp=JANUARY))[name]


def test_texts_are_profiled_although_numpy_has_lost_the_name_that_whylogs_reads():
    assert not hasattr(np, "unicode_")
    assert datatypes.np.unicode_ is np.str_
    assert datatypes.np.issubdtype is np.issubdtype
    assert datatypes.String.match(np.str_)
    assert profiled(["OWN", "RENT", "OWN"]).counts == {"OWN": 2, "RENT": 1}


def test_nothing_is_sent_home():
    assert os.environ["WHYLOGS_NO_ANALYTICS"]


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 2, 2, 3], dtype=np.int8),
        np.array([1, 2, 2, 3], dtype=np.uint64),
        np.array([1, 2, 2, 3], dtype=np.float32),
        np.array([1, 2, 2, 3], dtype=np.float64),
        np.array([1, 2, 2, 3], dtype=object),
        pd.array([1, 2, 2, 3], dtype="Int64"),
        pd.array([1, 2, 2, 3], dtype="Float32"),
        [np.float32(1), np.int64(2), 2, 3.0],
        [Decimal(1), Decimal(2), Decimal(2), Decimal(3)],
        pd.Categorical([1, 2, 2, 3]),
    ],
    ids=lambda values: str(getattr(values, "dtype", type(values[0]).__name__)),
)
def test_the_type_of_a_number_does_not_matter(values):
    summary = profiled(values)
    assert (summary.n, summary.null, summary.kind) == (4, 0, "numeric")
    assert summary.distribution.points == (1.0, 2.0, 3.0)
    assert summary.distribution.cdf == (0.25, 0.75, 1.0)


@pytest.mark.parametrize(
    "values",
    [
        np.array([True, False, True]),
        np.array([True, False, True], dtype=object),
        pd.array([True, False, True], dtype="boolean"),
        ["true", "false", "true"],
        pd.Categorical(["true", "false", "true"]),
        pd.array(["true", "false", "true"], dtype="string"),
    ],
    ids=lambda values: str(getattr(values, "dtype", "list")),
)
def test_booleans_and_categories_are_texts(values):
    assert profiled(values).counts == {"true": 2, "false": 1}


@pytest.mark.parametrize(
    "values",
    [
        [1.0, None, np.nan, 2.0],
        pd.array([1, None, None, 2], dtype="Int64"),
        np.array([1.0, None, pd.NA, 2.0], dtype=object),
        [1.0, np.inf, -np.inf, 2.0],
        ["a", None, np.nan, "b"],
        pd.array(["a", None, None, "b"], dtype="string"),
        pd.array([True, None, None, False], dtype="boolean"),
        pd.Categorical(["a", None, None, "b"]),
    ],
)
def test_nulls_of_every_kind_are_counted(values):
    summary = profiled(values)
    assert (summary.n, summary.null, summary.present) == (4, 2, 2)


@pytest.mark.parametrize("values", [[None] * 3, [np.nan] * 3, pd.array([None] * 3, dtype="string")])
def test_a_column_without_values_is_empty_and_no_error(values):
    summary = profiled(values)
    assert (summary.n, summary.null, summary.kind, summary.counts) == (3, 3, "empty", {})


def test_the_distribution_is_that_of_the_rows():
    values = frame()["income"]
    distribution = profiled(values).distribution
    rows = np.sort(values.dropna())
    assert distribution.at(rows) == pytest.approx(np.arange(1, len(rows) + 1) / len(rows), abs=0.003)


def test_a_profile_comes_back_from_a_file_that_nobody_may_write(tmp_path):
    view = profile_frame(frame(), dataset_timestamp=JANUARY)
    path = tmp_path / "new" / "p.bin"
    write_profile(view, path)
    path.chmod(stat.S_IRUSR)
    back = read_profile(path)
    assert summaries(back) == summaries(view)
    assert back.dataset_timestamp == JANUARY
    assert [p.name for p in path.parent.iterdir()] == ["p.bin"]


def test_other_whylogs_programs_can_read_the_file(tmp_path):
    path = tmp_path / "p.bin"
    write_profile(profile_frame(frame(), dataset_timestamp=JANUARY), path)
    table = DatasetProfileView.read(str(path)).to_pandas()
    assert table.loc["income", "counts/n"] == 1000
    assert table.loc["income", "counts/null"] == frame()["income"].isna().sum()


def test_the_bytes_are_those_that_whylogs_writes():
    view = profile_frame(frame(), dataset_timestamp=JANUARY)
    ours, theirs = DatasetProfileView.deserialize(to_bytes(view)), DatasetProfileView.deserialize(view.serialize())
    assert len(to_bytes(view)) == len(view.serialize())
    assert ours.to_pandas().to_json() == theirs.to_pandas().to_json()
    assert ours.creation_timestamp == theirs.creation_timestamp


def test_only_the_columns_asked_for_are_profiled():
    view = profile_frame(frame(), ["home", "income"], dataset_timestamp=JANUARY)
    assert list(summaries(view)) == ["home", "income"]


def test_the_moment_of_the_data_is_kept_in_utc():
    local = JANUARY.astimezone(timezone(timedelta(hours=9)))
    assert profile_frame(frame(), dataset_timestamp=local).dataset_timestamp == JANUARY
    before = datetime.now(UTC)
    assert before <= profile_frame(frame()).dataset_timestamp <= datetime.now(UTC)
    with pytest.raises(ValueError, match="time zone"):
        profile_frame(frame(), dataset_timestamp=datetime(2026, 1, 1))


def test_merged_profiles_describe_all_their_rows():
    days = [frame(500, seed) for seed in range(4)]
    merged = summaries(merge([profile_frame(day, dataset_timestamp=JANUARY) for day in days]))
    whole = summaries(profile_frame(pd.concat(days, ignore_index=True), dataset_timestamp=JANUARY))
    for name in whole:
        assert (merged[name].n, merged[name].null) == (whole[name].n, whole[name].null)
        assert merged[name].counts == whole[name].counts
    points = np.array(whole["income"].distribution.points)
    assert merged["income"].distribution.at(points) == pytest.approx(whole["income"].distribution.at(points), abs=0.01)
    with pytest.raises(ValueError, match="no profiles"):
        merge([])


@pytest.mark.parametrize("part", ["nothing", "text", "half", "header", "one byte short"])
def test_a_file_that_is_not_a_profile_is_an_input_error(part, tmp_path):
    path = tmp_path / "p.bin"
    write_profile(profile_frame(frame(), dataset_timestamp=JANUARY), path)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "nothing": b"",
            "text": b"feature,psi\n",
            "half": whole[: len(whole) // 2],
            "header": whole[:200],
            "one byte short": whole[:-1],
        }[part]
    )
    with pytest.raises(InputError, match=r"p\.bin is not a whylogs profile"):
        read_profile(path)


def test_an_absent_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_profile(tmp_path / "absent.bin")


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (frame().head(0), "no rows"),
        (pd.DataFrame({"when": pd.date_range("2026-01-01", periods=3, tz="UTC")}), "'when' holds datetime64"),
        (pd.DataFrame({"mixed": ["a", 1, 2.0]}), "'mixed' holds mixed"),
    ],
)
def test_what_cannot_be_profiled_is_named(spoiled, message):
    with pytest.raises(InputError, match=message):
        profile_frame(spoiled, dataset_timestamp=JANUARY)
    with pytest.raises(InputError, match="'absent'"):
        profile_frame(frame(), ["income", "absent"], dataset_timestamp=JANUARY)


def stock(values: pd.DataFrame) -> pd.DataFrame:
    """Return what whylogs says of a frame that it profiles all by itself."""
    schema = DatasetSchema(default_configs=MetricConfig(kll_k_large=4096))
    profile = DatasetProfile(schema=schema, dataset_timestamp=JANUARY)
    profile.track(pandas=values)
    return profile.view().to_pandas()


def test_a_profile_says_what_whylogs_own_way_says():
    values = frame(3000).assign(verified=lambda f: f["verified"].map({True: "true", False: "false"}))
    values["inquiries"] = values["inquiries"].astype(float)
    ours, theirs = profile_frame(values, dataset_timestamp=JANUARY).to_pandas(), stock(values)
    assert set(ours.index) == set(theirs.index)
    assert set(ours.columns) == set(theirs.columns)
    for column in theirs.columns.drop(["counts/nan", "frequent_items/frequent_strings", "type"]):
        assert ours[column].dropna().to_dict() == pytest.approx(theirs[column].dropna().to_dict(), rel=1e-9), column
    for name in ("home", "verified"):
        items = [{i.value: i.est for i in side.loc[name, "frequent_items/frequent_strings"]} for side in (ours, theirs)]
        assert items[0] == items[1]


def test_many_merged_at_once_are_what_whylogs_merges_two_by_two():
    parts = [profile_frame(frame(rows, rows), dataset_timestamp=JANUARY) for rows in (1, 700, 40)]
    ours, theirs = merge(parts), parts[0].merge(parts[1]).merge(parts[2])
    ours, theirs = ours.to_pandas().sort_index(), theirs.to_pandas().sort_index()
    for column in theirs.columns.drop(["frequent_items/frequent_strings", "type"]):
        assert ours[column].dropna().to_dict() == pytest.approx(theirs[column].dropna().to_dict(), rel=1e-9), column


def test_merging_leaves_the_parts_as_they_are():
    parts = [profile_frame(frame(100, seed), dataset_timestamp=JANUARY) for seed in range(3)]
    before = [summaries(part) for part in parts]
    merge(parts)
    assert [summaries(part) for part in parts] == before


def test_rows_may_come_in_portions_some_of_them_without_any_value():
    builder = ProfileBuilder(JANUARY)
    builder.track({"x": plain_values([1.0, 2.0]), "t": plain_values(["a", None])})
    builder.track({"x": plain_values([None, None]), "t": plain_values([None, None])})
    builder.track({"x": plain_values([3.0]), "t": plain_values(["a"]), "late": plain_values([True])})
    found = summaries(from_bytes(to_bytes(builder.view()), "here"))
    assert (found["x"].n, found["x"].null, found["x"].distribution.points) == (5, 2, (1.0, 2.0, 3.0))
    assert (found["t"].n, found["t"].null, found["t"].counts) == (5, 3, {"a": 2})
    assert (found["late"].n, found["late"].counts) == (1, {"true": 1})


def test_a_text_among_numbers_counts_as_missing():
    builder = ProfileBuilder(JANUARY)
    builder.track({"x": plain_values([1.0, 2.0])})
    builder.track({"x": plain_values([3.0, "three", None])})
    summary = summaries(builder.view())["x"]
    assert (summary.n, summary.null, summary.kind) == (5, 3, "numeric")


def test_values_of_several_kinds_are_texts():
    assert plain_values([1.5, "a", True, None]).tolist() == ["1.5", "a", "true", None]
    assert plain_values([True, None]).tolist() == ["true", None]
    assert plain_values(["94110", None]).tolist() == ["94110", None]
    assert np.array_equal(plain_values([1.0, None]), [1.0, np.nan], equal_nan=True)


def test_columns_may_be_renamed_and_put_beside_others():
    view = profile_frame(frame(), dataset_timestamp=JANUARY)
    both = beside([renamed(view, {"home": "a"}), renamed(view, {"income": "b", "absent": "c"})])
    assert {name: summary.n for name, summary in summaries(both).items()} == {"a": 1000, "b": 1000}


def test_scored_rows_are_profiled_by_score_band_too():
    values = frame().assign(**{PD: np.linspace(0, 1, 1000), "defaulted": False})
    values.loc[:9, PD] = np.nan
    found = summaries(profile_scored(values, dataset_timestamp=JANUARY))
    assert found["income"].n == 1000
    assert {name for name in found if "[" in name} == {
        banded(name, band) for name in ("income", "inquiries", "verified", "home") for band in BANDS
    }
    edges = [0, 0.05, 0.10, 0.20, 1]
    for low, high, band in zip(edges, edges[1:], BANDS, strict=False):
        rows = values[(values[PD] > low) & (values[PD] <= high)]
        assert found[banded("income", band)].n == len(rows)
        assert found[banded("home", band)].counts == rows["home"].value_counts().to_dict()


def test_rows_without_a_score_have_no_bands():
    assert not [name for name in summaries(profile_scored(frame(), dataset_timestamp=JANUARY)) if "[" in name]
