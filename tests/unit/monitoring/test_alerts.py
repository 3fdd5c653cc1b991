"""Rules, what is told and when, and the settings they come from."""

from datetime import UTC, datetime, timedelta

import pytest

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from monitoring.alert_gauges import gauges
from monitoring.alerts import FORGOTTEN, MOST_KEPT, Book, read_book, update, write_book
from monitoring.monitor_settings import AlertSettings, Rule, load_settings
from monitoring.readings import Reading

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTINGS = AlertSettings(remind_hours=48, quiet_hours=3)
RULES = {
    "moved": Rule(reading="drift", at_least=2, severity="critical", runbook="Look."),
    "low": Rule(reading="ratio_high", at_most=0.8, severity="warning", runbook="Think."),
    "off": Rule(reading="drift", at_least=1, severity="warning", runbook="Wait.", enabled=False),
}


def drift(subject, value=2.0):
    return Reading("drift", subject, value, f"{subject} moved")


def told(book, at, *readings, rules=RULES, sinks=("log",)):
    """Return kind, rule and subjects of what is told."""
    notices = update(book, readings, rules, SETTINGS, sinks, at)
    return [(one.kind, one.rule, [finding.subject for finding in one.findings]) for one in notices]


def test_an_alert_is_told_once_however_long_it_goes_on_until_it_is_time_to_remind():
    book = Book()
    assert told(book, NOW, drift("x")) == [("begins", "moved", ["x"])]
    for hours in (1, 2, 47):
        assert told(book, NOW + hours * HOUR, drift("x")) == []
    assert told(book, NOW + 48 * HOUR, drift("x")) == [("goes on", "moved", ["x"])]
    assert told(book, NOW + 49 * HOUR, drift("x")) == []
    assert book.alerts["moved/x"].since == NOW


def test_what_one_rule_finds_in_a_cycle_is_one_notice_and_what_comes_later_another():
    book = Book()
    assert told(book, NOW, drift("x"), drift("y")) == [("begins", "moved", ["x", "y"])]
    assert told(book, NOW + HOUR, drift("x"), drift("y"), drift("z")) == [("begins", "moved", ["z"])]


def test_an_alert_that_comes_and_goes_is_told_once_and_is_over_after_quiet_hours():
    book = Book()
    told(book, NOW, drift("x"))
    assert told(book, NOW + HOUR, drift("x", 0.0)) == []
    assert told(book, NOW + 3 * HOUR, drift("x")) == []
    assert told(book, NOW + 4 * HOUR, drift("x", 0.0)) == []
    assert told(book, NOW + 6.9 * HOUR, drift("x", 0.0)) == []
    assert told(book, NOW + 7 * HOUR, drift("x", 0.0)) == [("is over", "moved", ["x"])]
    assert book.alerts == {}
    assert told(book, NOW + 8 * HOUR, drift("x")) == [("begins", "moved", ["x"])]


def test_what_could_not_be_read_is_not_over():
    book = Book()
    told(book, NOW, drift("x"))
    for hours in range(1, 30):
        assert told(book, NOW + hours * HOUR) == []
    assert told(book, NOW + 30 * HOUR, drift("x", 0.0)) == []
    assert told(book, NOW + 31 * HOUR) == []
    assert told(book, NOW + 40 * HOUR, drift("x", 0.0)) == []
    assert told(book, NOW + 43 * HOUR, drift("x", 0.0)) == [("is over", "moved", ["x"])]


def test_what_is_never_read_again_is_forgotten():
    book = Book()
    told(book, NOW, drift("gone"))
    assert told(book, NOW + FORGOTTEN - HOUR) == []
    assert told(book, NOW + FORGOTTEN) == [("is over", "moved", ["gone"])]


def test_a_clock_that_was_set_back_neither_ends_nor_keeps_an_alert():
    book = Book()
    told(book, NOW + 1000 * HOUR, drift("x"))
    assert told(book, NOW, drift("x", 0.0)) == []
    assert told(book, NOW + 3 * HOUR, drift("x", 0.0)) == [("is over", "moved", ["x"])]


def test_a_rule_that_is_no_longer_enabled_ends_its_alerts():
    book = Book()
    told(book, NOW, drift("x"))
    off = {"moved": Rule(reading="drift", at_least=2, severity="critical", runbook="Look.", enabled=False)}
    told(book, NOW + HOUR, drift("x"), rules=off)
    assert told(book, NOW + 4 * HOUR, drift("x"), rules=off) == [("is over", "moved", ["x"])]


@pytest.mark.parametrize(("value", "is_met"), [(0.81, False), (0.8, True), (0.1, True)])
def test_a_rule_may_ask_for_at_most(value, is_met):
    assert bool(told(Book(), NOW, Reading("ratio_high", "all", value, "few"))) is is_met


@pytest.mark.parametrize(("value", "is_met"), [(1.0, False), (2.0, True), (float("nan"), False)])
def test_a_rule_may_ask_for_at_least_and_a_disabled_one_asks_for_nothing(value, is_met):
    assert bool(told(Book(), NOW, drift("x", value))) is is_met


def test_a_notice_has_the_runbook_what_was_found_and_an_id_of_its_own():
    book = Book()
    (first,) = update(book, [drift("x")], RULES, SETTINGS, ["log"], NOW)
    (second,) = update(book, [drift("x"), drift("y")], RULES, SETTINGS, ["log"], NOW + HOUR)
    (third,) = update(book, [drift("z")], RULES, SETTINGS, ["log"], NOW + HOUR)
    assert len({first.id, second.id, third.id}) == 3
    assert first.line() == "critical alert moved begins: x moved. What to do: Look."
    many = update(Book(), [drift(f"x{n}") for n in range(9)], RULES, SETTINGS, ["log"], NOW)[0]
    assert "x2 moved; and 6 more" in many.line()


def test_what_a_sink_has_not_taken_is_kept_up_to_a_limit_and_what_is_dropped_is_counted():
    book = Book()
    for n in range(MOST_KEPT + 5):
        told(book, NOW + n * HOUR, drift(f"x{n}"), sinks=("log", "hook"))
        book.waiting["log"].clear()
    assert len(book.waiting["hook"]) == MOST_KEPT
    kinds = [one.kind for one in book.waiting["hook"]]
    assert book.dropped == {"hook": MOST_KEPT + 5 + forgotten(MOST_KEPT + 5) - MOST_KEPT}
    assert kinds.count("begins") > kinds.count("is over") > 0


def forgotten(hours):
    """Return how many alerts that are each met for one hour are forgotten within so many hours."""
    return sum(hours - 1 - n >= FORGOTTEN / HOUR for n in range(hours))


def test_a_sink_that_was_taken_out_of_the_settings_is_forgotten():
    book = Book()
    told(book, NOW, drift("x"), sinks=("log", "hook"))
    told(book, NOW, sinks=("log",))
    assert set(book.waiting) == {"log"}


def test_the_book_is_kept_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "alerts.json"
    assert read_book(path) == Book()
    book = Book()
    told(book, NOW, drift("x"))
    write_book(path, book)
    assert read_book(path) == book
    for damage in (b'{"alerts": 3}', b"\xff\xfe", b""):
        path.write_bytes(damage)
        with pytest.raises(InputError, match="alerts.json is damaged"):
            read_book(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnavailableError, match="alerts.json cannot be read: Is a directory"):
        read_book(path)


def test_gauges_name_what_goes_on():
    book = Book()
    told(book, NOW, drift("x"), drift("y"))
    told(book, NOW + HOUR, drift("x"), drift("y", 0.0))
    text = gauges(list(book.alerts.values()), ["drift"], NOW + HOUR).decode()
    assert 'candor_alert{rule="moved",severity="critical",subject="x"} 1.0' in text
    assert 'candor_alert{rule="moved",severity="critical",subject="y"} 0.0' in text
    assert "candor_monitor_failed_steps 1.0" in text


def test_the_projects_settings_are_sound_and_a_home_changes_what_it_names(tmp_path):
    home = Home(tmp_path)
    ours = load_settings(home)
    assert {"drift", "silence", "monitor"} <= ours.rules.keys()
    (tmp_path / "monitor.toml").write_text(
        "[rules.drift]\nenabled = false\n[rules.own]\nreading = 'drift'\nat_least = 1\nseverity = 'warning'\n"
        "runbook = 'Look.'\n[sinks.webhooks.risk]\nurl = 'https://hooks.example.com/x'\nsecret_env = 'SECRET'\n"
    )
    own = load_settings(home)
    assert not own.rules["drift"].enabled
    assert own.rules["drift"].runbook == ours.rules["drift"].runbook
    assert own.rules["own"].at_least == 1
    assert own.sinks.webhooks["risk"].attempts == 4
    assert own.period == ours.period


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rules.drift]\nat_laest = 1", "unknown field `at_laest`"),
        ("[rules.drift]\nreading = 'drfit'", "Invalid enum value 'drfit'"),
        ("[rules.drift]\nat_most = 1", "rules.drift: give one of at_least and at_most"),
        ("[rules.drift]\nat_least = nan", "rules.drift.at_least|at_least"),
        ("[rules.new]\nreading = 'drift'\nat_least = 1\nseverity = 'critical'\nrunbook = ''", "length >= 1"),
        ("[period]\ndays = [7, 1]", "do not increase"),
        ("[period]\ndays = [29]", "<= 28"),
        ("[sinks.webhooks.a]\nurl = 'http://example.com'\nsecret_env = 'S'", "write https://host/path"),
        ("[sinks.webhooks.a]\nurl = 'https://u:p@example.com'\nsecret_env = 'S'", "no user or password"),
        ("[sinks.webhooks.a]\nurl = 'https://[x'\nsecret_env = 'S'", "is no URL"),
        ("[sinks.webhooks.a]\nurl = 'nowhere'\nsecret_env = 'S'", "write https://host/path"),
        ("rules = 3", "Expected `object`"),
        ("[rules", "monitor.toml"),
    ],
)
def test_a_mistake_in_the_settings_is_named(tmp_path, text, message):
    (tmp_path / "monitor.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_settings(Home(tmp_path))
