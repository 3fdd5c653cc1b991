import pytest

from feature_repo.errors import InputError
from monitoring.thresholds import load_thresholds


def file(folder, text, name="mine.toml"):
    path = folder / name
    path.write_text(text)
    return path


def test_the_projects_own_are_those_that_practice_has_agreed_on():
    limits = load_thresholds()
    assert (limits.defaults.psi_watch, limits.defaults.psi_alert) == (0.10, 0.25)
    assert (limits.min_samples, limits.bins) == (200, 10)
    assert limits.of("annual_income") == limits.defaults
    assert limits.of("defaulted").report_only


def test_a_file_changes_what_it_names_and_the_last_file_wins(tmp_path):
    home = file(
        tmp_path, "min_samples = 50\n[defaults]\npsi_alert = 0.3\n[features.age]\nks_alert = 0.5\n", "home.toml"
    )
    given = file(tmp_path, "min_samples = 60\n[features.age]\npsi_alert = 0.9\n")
    limits = load_thresholds(home, given)
    assert limits.min_samples == 60
    assert limits.defaults.psi_alert == 0.3
    assert limits.defaults.psi_watch == 0.10
    assert (limits.of("age").ks_alert, limits.of("age").psi_alert, limits.of("age").psi_watch) == (0.5, 0.9, 0.10)
    assert limits.of("defaulted").report_only


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("psi_alert = 0.3", "unknown field `psi_alert`"),
        ("[defaults]\npsi = 0.3", r"unknown field `psi` - at `\$.defaults`"),
        ("[features.age]\npsi_alrt = 0.3", r"unknown field `psi_alrt` - at `\$.features"),
        ("[defaults]\nks_alert = 1.5", r"<= 1.* at `\$.defaults.ks_alert`"),
        ("[features]\nage = 3", "features.age: Expected a table"),
        ("false_alarm = 0", r"\$.false_alarm"),
        ("[defaults]\npsi_watch = 0.4", "defaults: psi_watch is above psi_alert"),
        ("[features.age]\ncsi_alert = 0.05", "age: csi_watch is above csi_alert"),
        ("[defaults", "mine.toml: "),
        ("[features.age]\npsi_alert = 'much'", r"Expected `float`, got `str` - at `\$.features"),
    ],
)
def test_what_is_no_threshold_is_refused_by_file_and_name(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as refused:
        load_thresholds(file(tmp_path, text))
    assert "mine.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no thresholds at .*absent\.toml: No such file"):
        load_thresholds(tmp_path / "absent.toml")
