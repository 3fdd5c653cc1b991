"""Drift from sketches against the same measures computed from the rows themselves."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from monitoring.drift import compare
from monitoring.profiles import merge, profile_frame, read_profile, summaries, write_profile

ROWS = 10_000
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def sample(seed: int, shift: float) -> pd.DataFrame:
    """Return ten kinds of column, moved by `shift` standard deviations or so."""
    rng = np.random.default_rng(seed)
    normal, chance = rng.normal(size=ROWS) + shift, rng.random(ROWS)
    return pd.DataFrame(
        {
            "normal": normal,
            "single_precision": normal.astype(np.float32),
            "lognormal": np.exp(10 + 0.8 * normal),
            "discrete": rng.poisson(3 + 2 * shift, ROWS),
            "few_values": np.minimum(rng.poisson(1 + shift, ROWS), 4),
            "mostly_zero": np.where(chance < 0.85 - 0.2 * shift, 0.0, rng.exponential(100, ROWS)),
            "with_nulls": np.where(chance < 0.2 + 0.1 * shift, np.nan, normal),
            "flag": chance < 0.3 + 0.1 * shift,
            "category": rng.choice(["a", "b", "c"], ROWS, p=[0.5 - 0.2 * shift, 0.3, 0.2 + 0.2 * shift]),
            "never": np.full(ROWS, np.nan),
        }
    )


def exact_psi(reference: pd.Series, current: pd.Series) -> float:
    """Return the unsmoothed PSI on deciles, or on values if there are ten or fewer, nulls apart."""
    if reference.dtype in (bool, object):
        groups = [reference.eq(value) for value in sorted(reference.unique())]
        before, after = [g.sum() for g in groups], [current.eq(v).sum() for v in sorted(reference.unique())]
    else:
        rows, later = reference.dropna().astype(float), current.dropna().astype(float)
        values = np.unique(rows)
        cuts = values if len(values) <= 10 else np.unique(np.quantile(rows, np.arange(0.1, 0.95, 0.1)))
        edges = [-np.inf, *cuts, np.inf]
        before, after = (pd.cut(side, edges).value_counts(sort=False).to_numpy() for side in (rows, later))
    before = np.append(before, reference.isna().sum()) / len(reference)
    after = np.append(after, current.isna().sum()) / len(current)
    used = (before > 0) | (after > 0)
    return float(np.sum((after[used] - before[used]) * np.log(after[used] / before[used])))


def exact_ks(reference: pd.Series, current: pd.Series) -> float:
    rows, later = (np.sort(side.dropna().astype(float)) for side in (reference, current))
    at = np.union1d(rows, later)
    below = (np.searchsorted(side, at, side="right") / len(side) for side in (rows, later))
    return float(np.max(np.abs(np.subtract(*below))))


@pytest.fixture(scope="module", params=[0.0, 0.1, 0.3, 1.0], ids=lambda shift: f"shift {shift}")
def measured(request, tmp_path_factory):
    folder, shift = tmp_path_factory.mktemp("profiles"), request.param
    frames = {"reference": sample(1, 0.0), "current": sample(2, shift)}
    for name, frame in frames.items():
        write_profile(profile_frame(frame, dataset_timestamp=MOMENT), folder / name)
    report = compare(summaries(read_profile(folder / "reference")), summaries(read_profile(folder / "current")))
    return shift, frames, {feature.feature: feature for feature in report.features}


def test_psi_is_within_a_hundredth_of_the_exact_one(measured):
    _, frames, features = measured
    for name in frames["reference"].columns.drop("never"):
        exact = exact_psi(frames["reference"][name], frames["current"][name])
        assert features[name].psi == pytest.approx(exact, abs=0.01), name


def test_ks_is_within_three_halves_of_a_hundredth_of_the_exact_one(measured):
    _, frames, features = measured
    for name in frames["reference"].columns.drop(["never", "flag", "category"]):
        exact = exact_ks(frames["reference"][name], frames["current"][name])
        assert features[name].ks == pytest.approx(exact, abs=0.015), name


def test_what_has_not_moved_is_ok_and_what_moved_by_a_standard_deviation_alerts(measured):
    shift, _, features = measured
    if shift in (0.0, 0.1):
        assert {feature.status for feature in features.values()} == {"ok"}
    if shift == 1.0:
        moved = {name for name, feature in features.items() if feature.status == "alert"}
        assert moved >= {"normal", "single_precision", "lognormal", "discrete", "few_values", "with_nulls"}
    assert features["never"].psi == 0


def test_missing_rates_are_exact(measured):
    _, frames, features = measured
    assert features["with_nulls"].reference_missing == frames["reference"]["with_nulls"].isna().mean()
    assert features["with_nulls"].current_missing == frames["current"]["with_nulls"].isna().mean()


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_at_a_hundred_thousand_rows_ks_is_within_half_a_hundredth_and_psi_within_one(shift):
    rng, rows = np.random.default_rng(11), 100_000
    reference, current = (
        pd.DataFrame({"normal": z, "lognormal": np.exp(z), "count": rng.poisson(3 + mean, rows)})
        for mean, z in ((mean, rng.normal(mean, 1, rows)) for mean in (0.0, shift))
    )
    report = compare(*(summaries(profile_frame(one, dataset_timestamp=MOMENT)) for one in (reference, current)))
    for feature in report.features:
        name = feature.feature
        assert feature.ks == pytest.approx(exact_ks(reference[name], current[name]), abs=0.005), name
        assert feature.psi == pytest.approx(exact_psi(reference[name], current[name]), abs=0.01), name


def test_thirty_days_merged_are_the_profile_of_all_their_rows():
    days = [sample(100 + day, day / 30) for day in range(30)]
    rows = pd.concat(days, ignore_index=True)
    merged, whole = (
        summaries(view)
        for view in (
            merge([profile_frame(day, dataset_timestamp=MOMENT) for day in days]),
            profile_frame(rows, dataset_timestamp=MOMENT),
        )
    )
    for name, column in whole.items():
        assert (merged[name].n, merged[name].null, merged[name].counts) == (column.n, column.null, column.counts)
        if column.distribution:
            values = np.sort(rows[name].dropna().astype(float))
            at = np.unique(values[:: len(values) // 500])
            exact = np.searchsorted(values, at, side="right") / len(values)
            # Two sketches of 4,096 have a rank error of 0.0008 each, two thirds of the time.
            assert np.abs(merged[name].distribution.at(at) - exact).max() < 0.005, name
    reference = summaries(profile_frame(sample(1, 0.0), dataset_timestamp=MOMENT))
    for one, other in zip(
        *(sorted(compare(reference, side).features, key=lambda f: f.feature) for side in (merged, whole)), strict=True
    ):
        assert one.psi == pytest.approx(other.psi, abs=0.01)
        assert (one.ks is None) == (other.ks is None)
        assert one.ks is None or one.ks == pytest.approx(other.ks, abs=0.005)
