from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from monitoring.drift import compare
from monitoring.drift_gauges import gauges
from tests.unit.monitoring.test_drift import NORMAL, by_band, categorical, numeric

LABELS = ("feature", "against", "band")
AT = datetime(2026, 6, 1, tzinfo=UTC)


def read(data: bytes):
    return {
        (
            sample.name.removeprefix("candor_drift_"),
            *(sample.labels[label] for label in LABELS if label in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(data.decode())
        for sample in family.samples
    }


def test_a_report_is_told_in_gauges():
    report = compare(
        {**by_band(NORMAL[:2000], NORMAL[2000:]), "home": categorical(OWN=900, RENT=100)},
        {**by_band(NORMAL[:2000], NORMAL[2000:] + 1), "home": categorical(OWN=800, RENT=100, YURT=100)},
        previous={"x": numeric(NORMAL)},
    )
    found = read(gauges(report, AT))
    x, home = (next(one for one in report.features if one.feature == name) for name in ("x", "home"))
    assert found["alert",] == 1
    assert found["report_timestamp_seconds",] == AT.timestamp()
    assert found["psi", "x", "reference"] == x.psi
    assert found["ks_distance", "x", "reference"] == x.ks
    assert found["csi", "x", "reference", x.bands[1].band] == x.bands[1].csi
    assert found["status", "home", "reference"] == 2
    assert found["new_categories", "home", "reference"] == 1
    assert found["missing_change", "home", "reference"] == home.missing_change
    assert found["psi", "x", "previous"] == report.since_previous[0].psi
    assert ("ks_distance", "home", "reference") not in found


def test_too_few_rows_are_a_level_of_their_own():
    report = compare({"x": numeric(NORMAL[:50])}, {"x": numeric(NORMAL[:50])})
    found = read(gauges(report, AT))
    assert (found["status", "x", "reference"], found["alert",]) == (-1, 0)
