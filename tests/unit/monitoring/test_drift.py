from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError
from monitoring.drift import DriftReport, compare
from monitoring.segments import BANDS, banded
from monitoring.summaries import ColumnSummary, Distribution, ks_distance, population_stability
from monitoring.thresholds import Thresholds, load_thresholds


def numeric(values, null: int = 0) -> ColumnSummary:
    points, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    cdf = np.cumsum(counts) / len(values)
    return ColumnSummary(
        n=len(values) + null, null=null, distribution=Distribution(tuple(points.tolist()), tuple(cdf.tolist()))
    )


def categorical(null: int = 0, **counts: int) -> ColumnSummary:
    return ColumnSummary(n=sum(counts.values()) + null, null=null, counts=counts)


def drift_of(reference: ColumnSummary, current: ColumnSummary, thresholds: Thresholds | None = None):
    (feature,) = compare({"x": reference}, {"x": current}, thresholds).features
    return feature


NORMAL = np.random.default_rng(7).normal(size=4000)
histograms = st.integers(2, 12).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 5000), min_size=bins, max_size=bins).map(np.array)] * 2)
)


@given(histograms)
def test_psi_is_never_negative_and_zero_on_equal_shares(pair):
    reference, current = pair
    assert population_stability(reference, current) >= 0
    assert population_stability(reference, reference) == 0


@given(histograms)
def test_psi_does_not_care_for_empty_bins_the_order_of_bins_or_of_sides_of_equal_size(pair):
    reference, current = pair
    padded = population_stability(np.append(reference, [0, 0]), np.append(current, [0, 0]))
    assert padded == pytest.approx(population_stability(reference, current))
    assert population_stability(reference[::-1], current[::-1]) == pytest.approx(padded)
    assert population_stability(current, reference) == pytest.approx(padded)


def test_psi_of_a_worked_example():
    # (0.4 - 0.5) ln(0.4 / 0.5) + (0.6 - 0.5) ln(0.6 / 0.5)
    large = population_stability(np.array([500_000, 500_000]), np.array([400_000, 600_000]))
    assert large == pytest.approx(0.1 * np.log(1.5), abs=1e-6)


@given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-5, 5), min_size=1))
def test_ks_is_the_largest_distance_of_the_two_shares_below_any_value(reference, current):
    at = np.arange(-6, 7)[:, None]
    distances = np.abs((np.array(reference) <= at).mean(axis=1) - (np.array(current) <= at).mean(axis=1))
    measured = ks_distance(numeric(reference).distribution, numeric(current).distribution)
    assert measured == pytest.approx(distances.max())


@pytest.mark.parametrize(
    "summary",
    [
        numeric(NORMAL),
        numeric(np.round(NORMAL), null=700),
        numeric(np.where(NORMAL < 1, 0, NORMAL)),
        numeric(np.zeros(500)),
        categorical(OWN=400, RENT=300, null=50),
        ColumnSummary(n=900, null=900),
    ],
    ids=["continuous", "whole numbers and nulls", "mostly zero", "constant", "categories", "no values"],
)
def test_a_population_has_not_drifted_from_itself(summary):
    feature = drift_of(summary, summary)
    assert (feature.status, feature.psi, feature.reasons) == ("ok", 0, ())
    assert sum(b.reference for b in feature.bins) == pytest.approx(1)


@pytest.mark.parametrize("rows", [300, 1000, 4000])
def test_samples_of_one_population_do_not_alert(rows):
    for seed in range(200):
        rng = np.random.default_rng(seed)
        two = [
            {
                "normal": numeric(rng.normal(size=rows)),
                "count": numeric(rng.poisson(2, rows), null=int(rng.binomial(rows, 0.1))),
                "zeros": numeric(np.where(rng.random(rows) < 0.9, 0, rng.exponential(1, rows))),
            }
            for _ in range(2)
        ]
        assert not compare(*two).alert


@pytest.mark.parametrize("shift", [1, -1])
@pytest.mark.parametrize("rows", [200, 4000])
def test_a_shift_by_one_standard_deviation_alerts(shift, rows):
    feature = drift_of(numeric(NORMAL[:rows]), numeric(NORMAL[:rows] + shift))
    assert feature.status == "alert"
    assert [reason.split()[0] for reason in feature.reasons] == ["PSI", "KS"]


def test_a_shift_by_a_third_of_one_is_watched():
    feature = drift_of(numeric(NORMAL), numeric(NORMAL + 0.36))
    assert feature.status == "watch"
    assert 0.10 <= feature.psi < 0.25


def test_a_change_that_the_bins_do_not_see_is_seen_by_the_distance():
    reference = numeric(np.repeat([1.0, 2.0], 500))
    assert drift_of(reference, numeric(np.repeat([1.4, 2.0], 500))).ks == pytest.approx(0.5)


@pytest.mark.parametrize("value", [-3.0, 0.5, 7.0])
def test_a_constant_that_changes_alerts_whichever_way_it_goes(value):
    feature = drift_of(numeric(np.zeros(500)), numeric(np.full(500, value)))
    assert feature.status == "alert"
    assert feature.ks == 1


def test_too_few_rows_are_said_to_be_too_few():
    feature = drift_of(numeric(NORMAL[:199]), numeric(NORMAL + 3))
    assert (feature.status, feature.reasons) == ("not_enough_data", ())
    assert not compare({"x": numeric(NORMAL)}, {"x": numeric(NORMAL[:50] + 3)}).alert
    assert (
        drift_of(
            numeric(NORMAL[:199]), numeric(NORMAL + 3), msgspec.structs.replace(load_thresholds(), min_samples=100)
        ).status
        == "alert"
    )


def test_too_few_values_have_no_distance_but_their_absence_counts():
    feature = drift_of(numeric(NORMAL), numeric(NORMAL[:20], null=3980))
    assert feature.ks is None
    assert feature.status == "alert"
    assert "missing values went from 0.0% to 99.5%" in feature.reasons


@pytest.mark.parametrize(("null", "status"), [(100, "ok"), (260, "watch"), (600, "alert")])
def test_missing_values_that_come_up_are_told(null, status):
    feature = drift_of(numeric(NORMAL, null=40), numeric(NORMAL, null=null))
    assert feature.status == status
    assert feature.current_missing == pytest.approx(null / (4000 + null))
    assert feature.missing_change == pytest.approx(null / (4000 + null) - 40 / 4040)


def test_a_column_that_falls_empty_alerts_and_so_does_one_that_fills():
    for reference, current in [
        (numeric(NORMAL), ColumnSummary(n=500, null=500)),
        (ColumnSummary(n=500, null=500), numeric(NORMAL)),
        (categorical(OWN=500), ColumnSummary(n=500, null=500)),
    ]:
        assert drift_of(reference, current).status == "alert"


def test_a_column_that_changes_its_kind_alerts():
    feature = drift_of(numeric(NORMAL), categorical(OWN=500))
    assert feature.status == "alert"
    assert feature.reasons == ("values were numeric and are categorical",)


def test_categories_that_change_their_shares_are_told():
    reference = categorical(OWN=5000, RENT=4000, OTHER=1000)
    assert drift_of(reference, categorical(OWN=490, RENT=400, OTHER=110)).status == "ok"
    assert drift_of(reference, categorical(OWN=200, RENT=500, OTHER=300)).status == "alert"


def test_a_new_category_alerts_unless_it_is_rare_or_the_reference_too_small_to_know():
    reference = categorical(OWN=6000, RENT=4000)
    common = drift_of(reference, categorical(OWN=600, RENT=360, YURT=40))
    assert (common.status, common.new_categories) == ("alert", ("YURT",))
    assert "4.0% of values are in categories that are new" in common.reasons
    assert drift_of(reference, categorical(OWN=600, RENT=399, YURT=1)).status == "watch"
    assert drift_of(categorical(OWN=120, RENT=80), categorical(OWN=600, RENT=380, YURT=20)).status == "watch"


def test_a_reference_that_lists_only_frequent_texts_knows_no_new_ones():
    reference = ColumnSummary(n=1000, null=0, counts={"a": 300})
    assert drift_of(reference, ColumnSummary(n=1000, null=0, counts={"a": 300, "b": 5})).new_categories == ()


def test_many_categories_are_pooled_beyond_the_most_frequent():
    many = {f"c{i:03}": 1000 - i for i in range(200)}
    feature = drift_of(categorical(**many), categorical(**many))
    assert len(feature.bins) == 21
    assert feature.bins[-1].label == "all others"


def test_columns_of_one_side_are_told_and_none_in_common_is_an_error():
    report = compare({"a": numeric(NORMAL), "b": numeric(NORMAL)}, {"b": numeric(NORMAL), "c": numeric(NORMAL)})
    assert (report.only_reference, report.only_current) == (("a",), ("c",))
    assert [feature.feature for feature in report.features] == ["b"]
    with pytest.raises(InputError, match="training and decisions have no column in common"):
        compare({"a": numeric(NORMAL)}, {}, reference_name="training", current_name="decisions")


def report() -> DriftReport:
    return compare(
        {
            "steady": numeric(NORMAL),
            "shifted": numeric(NORMAL),
            "home": categorical(OWN=700, RENT=300),
            "<script>alert(1)</script>": categorical(**{"<b>": 500}),
        },
        {
            "steady": numeric(NORMAL),
            "shifted": numeric(NORMAL + 1),
            "home": categorical(OWN=650, RENT=250, YURT=100),
            "<script>alert(1)</script>": categorical(**{"<b>": 500}),
        },
        reference_name="training & co",
        current_name="june",
    )


def test_features_come_by_falling_psi():
    found = [feature.psi for feature in report().features]
    assert found == sorted(found, reverse=True)
    assert report().features[0].feature == "shifted"
    assert report().alert


def test_the_json_holds_the_whole_report():
    assert msgspec.json.decode(report().to_json(), type=DriftReport) == report()
    assert msgspec.json.decode(report().to_json())["thresholds"]["defaults"]["psi_alert"] == 0.25


def test_the_page_needs_nothing_from_a_network_and_escapes_names():
    page = report().to_html()
    assert not re.search(r"https?:|//cdn|<script|<link|src=|@import|url\(", page)
    assert "&lt;script&gt;alert(1)" in page
    assert "training &amp; co" in page
    assert page.count("<svg") == 4
    assert page.index("shifted") < page.index("steady")
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', page)]
    assert widths
    assert max(widths) <= 250


def by_band(low, high) -> dict[str, ColumnSummary]:
    """Return a feature, and the same in two score bands."""
    return {
        "x": numeric(np.concatenate([low, high])),
        banded("x", BANDS[0]): numeric(low),
        banded("x", BANDS[3]): numeric(high),
    }


def test_a_shift_within_score_bands_alerts_where_all_decisions_together_show_none():
    low, high = NORMAL[:2000], NORMAL[2000:]
    calm = compare(by_band(low, high), by_band(low, high)).features[0]
    assert [(band.band, band.csi, band.status) for band in calm.bands] == [(BANDS[0], 0, "ok"), (BANDS[3], 0, "ok")]
    report = compare(by_band(low, low + 1), by_band(low + 1, low))
    (feature,) = report.features
    assert (feature.psi, feature.ks) == (0, 0)
    assert feature.csi == pytest.approx(1, abs=0.2)
    assert {band.status for band in feature.bands} == {"alert"}
    assert report.alert
    assert feature.reasons[0].startswith(f"CSI in {BANDS[0]} ")
    assert len(feature.reasons) == 2


def test_the_stability_in_a_band_is_that_of_the_band_alone():
    low, high = NORMAL[:2000], NORMAL[2000:]
    feature = compare(by_band(low, high), by_band(low, high + 0.5)).features[0]
    alone = drift_of(numeric(high), numeric(high + 0.5))
    assert feature.bands[1].csi == alone.psi
    assert (feature.bands[1].reference_rows, feature.bands[1].current_rows) == (2000, 2000)
    assert feature.bands[0].csi == 0


def test_a_band_with_too_few_rows_says_nothing():
    few = compare(by_band(NORMAL[:199], NORMAL), by_band(NORMAL[:199] + 3, NORMAL)).features[0]
    assert (few.bands[0].csi, few.bands[0].status) == (None, "not_enough_data")
    assert few.csi == few.bands[1].csi


def test_a_slow_shift_is_seen_against_the_reference_and_a_sudden_one_against_yesterday_too():
    training, yesterday = {"x": numeric(NORMAL)}, {"x": numeric(NORMAL + 1)}
    slow = compare(training, {"x": numeric(NORMAL + 1.1)}, previous=yesterday)
    assert (slow.features[0].status, slow.since_previous[0].status) == ("alert", "ok")
    back = compare(training, {"x": numeric(NORMAL)}, previous=yesterday, previous_name="monday")
    assert (back.features[0].status, back.since_previous[0].status) == ("ok", "alert")
    assert back.alert
    assert back.previous == "monday"
    assert compare(training, yesterday).previous is None


def test_what_is_reported_only_is_told_and_does_not_alert():
    outcome = [{"defaulted": categorical(true=100, false=900)}, {"defaulted": categorical(true=900, false=100)}]
    report = compare(*outcome)
    assert (report.features[0].status, report.features[0].report_only, report.alert) == ("alert", True, False)
    assert "shown only" in report.to_html()


def test_a_feature_may_have_limits_of_its_own():
    limits = load_thresholds()
    own = msgspec.structs.replace(limits.defaults, psi_alert=9.0, ks_alert=1.0)
    report = compare(
        {"x": numeric(NORMAL), "y": numeric(NORMAL)},
        {"x": numeric(NORMAL + 1), "y": numeric(NORMAL + 1)},
        msgspec.structs.replace(limits, features={"y": own}),
    )
    assert {feature.feature: feature.status for feature in report.features} == {"x": "alert", "y": "watch"}


def test_limits_for_a_feature_that_nobody_has_are_refused_by_name():
    limits = msgspec.structs.replace(load_thresholds(), features={"incme": load_thresholds().defaults})
    with pytest.raises(InputError, match=r"thresholds: features\.incme is in none of the profiles"):
        compare({"x": numeric(NORMAL)}, {"x": numeric(NORMAL)}, limits)


def test_what_is_real_for_one_feature_may_be_chance_among_hundreds():
    # A PSI of 0.25 and a distance of 0.22 on 240 rows each: large, and with probabilities of some 1e-4 by chance.
    moved = drift_of(numeric(NORMAL[:240]), numeric(NORMAL[:240] + 0.36))
    assert moved.psi > 0.2
    assert moved.status != "ok"
    calm = {f"f{number}": numeric(NORMAL[:240]) for number in range(500)}
    many = compare({**calm, "x": numeric(NORMAL[:240])}, {**calm, "x": numeric(NORMAL[:240] + 0.36)})
    assert not many.alert
    assert {feature.status for feature in many.features} == {"ok"}


def test_the_page_shows_bands_and_the_period_before():
    low, high = NORMAL[:2000], NORMAL[2000:]
    page = compare(
        by_band(low, high), by_band(low, high + 1), previous=by_band(low, high), previous_name="last week"
    ).to_html()
    assert "against last week" in page
    assert page.count(BANDS[3]) == 1
    assert not re.search(r"https?:|//cdn|<script|<link|src=|@import|url\(", page)
