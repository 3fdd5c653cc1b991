import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from training.bundle import Champion
from training.promotion_gate import GateLine
from training.promotion_record import (
    Entry,
    append,
    begin,
    champions,
    end,
    now,
    past_champions,
    read_record,
    record_path,
    signed,
    under_way,
)


@pytest.fixture
def home(tmp_path):
    return Home(root=tmp_path / "a home")


def champion(version):
    return Champion(bundle=f"sha256:{version}", version=version, run_id=f"run {version}")


def entry(version, previous=None, action="promote", outcome="done", **more):
    whom = {"version": version, "run_id": f"run {version}", "bundle": f"sha256:{version}"} | more
    before = champion(previous) if previous else None
    return Entry(at=now(), action=action, outcome=outcome, previous=before, by="ops", **whom)


def versions(entries):
    return [one.version for one in champions(entries)]


def test_what_is_appended_is_read_again_and_what_stood_before_stays(home):
    line = GateLine("oot_auc", 0.71, 0.6, True, 'a "note"\nof two lines')
    first = entry("1", why="Überprüfung", gate="sha256:0", lines=(line, GateLine("champion", None, None, True)))
    append(home, first)
    before = record_path(home).read_bytes()
    second = entry("2", "1", outcome="refused")
    append(home, second)
    assert read_record(home) == [first, second]
    assert record_path(home).read_bytes().startswith(before)
    assert record_path(home).read_bytes().count(b"\n") == 2


def test_a_home_without_a_record_has_none(home):
    assert read_record(home) == []
    assert under_way(home) is None


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_last_line_that_was_torn_never_counted_and_the_next_takes_its_place(home, kept):
    first, second = entry("1"), entry("2", "1")
    append(home, first)
    whole = record_path(home).read_bytes()
    append(home, second)
    torn = record_path(home).read_bytes()[len(whole) :][:kept]
    record_path(home).write_bytes(whole + torn)
    assert read_record(home) == [first]
    append(home, second)
    assert read_record(home) == [first, second]


def test_a_damaged_line_in_the_middle_is_named_not_skipped(home):
    for version in ("1", "2", "3"):
        append(home, entry(version))
    lines = record_path(home).read_bytes().splitlines(keepends=True)
    record_path(home).write_bytes(lines[0] + b'{"at": 1}\n' + lines[2])
    with pytest.raises(UnavailableError, match="line 2 is damaged"):
        read_record(home)


def test_a_record_that_cannot_be_written_is_said_in_one_line(home):
    record_path(home).mkdir(parents=True)
    with pytest.raises(UnavailableError, match=r"promotions\.jsonl cannot be written"):
        append(home, entry("1"))
    with pytest.raises(UnavailableError, match=r"promotions\.jsonl cannot be read"):
        read_record(home)


def test_what_was_begun_is_under_way_until_its_line_is_there(home):
    begun = entry("1")
    begin(home, begun)
    assert under_way(home) == begun
    append(home, begun)  # killed before the note is taken away
    assert under_way(home) is None
    later = entry("2", "1")
    begin(home, later)
    end(home, later)
    assert under_way(home) is None
    assert read_record(home) == [begun, later]


def test_a_rollback_takes_off_what_came_after_its_target():
    way = [entry("1"), entry("2", "1"), entry("3", "2")]
    assert versions(way) == ["1", "2", "3"]
    way.append(entry("2", "3", action="rollback"))
    assert versions(way) == ["1", "2"]
    assert versions([*way, entry("1", "2", action="rollback")]) == ["1"]
    assert versions([*way, entry("4", "2")]) == ["1", "2", "4"]
    assert versions([*way, entry("3", "2", action="rollback")]) == ["1", "2", "3"]  # the way back of the way back


def test_refused_cut_off_and_challenges_change_nothing():
    way = [entry("1"), entry("2", "1", outcome="refused"), entry("3", "1", outcome="cut off")]
    way += [entry("4", "1", action="challenge"), entry("4", "1", action="stop")]
    assert versions(way) == ["1"]
    assert list(past_champions(way, None)) == ["1"]


def test_a_champion_from_before_the_record_can_be_gone_back_to():
    assert versions([entry("8", "7")]) == ["7", "8"]
    assert versions([entry("8", "7"), entry("9", "elsewhere")]) == ["7", "8", "elsewhere", "9"]


def test_the_same_bundle_under_another_version_is_no_step_back():
    again = entry("2", "1", bundle="sha256:1")
    assert versions([entry("1"), again]) == ["2"]


def test_a_challenger_of_the_past_does_not_come_back():
    challenged = msgspec.json.decode(
        b'{"bundle":"sha256:1","version":"1","run_id":"r","challenger":'
        b'{"bundle":"b","version":"5","run_id":"r","experiment":"x","share":0.5}}',
        type=Champion,
    )
    way = [msgspec.structs.replace(entry("2"), previous=challenged)]
    assert champions(way)[0] == msgspec.structs.replace(challenged, challenger=None)
    assert past_champions(way, challenged)["1"].challenger is None


@given(st.lists(st.one_of(st.integers(1, 4), st.just(0)), max_size=12))
def test_rollbacks_alone_always_end_at_the_first_champion(steps):
    """0 is a rollback to the one before, any other number a promotion; a stack kept by hand says the same."""
    way, stack = [], []
    for step in steps:
        current = stack[-1] if stack else None
        if step and str(step) != current:
            way.append(entry(str(step), current))
            stack.append(str(step))
        elif not step and len(stack) > 1:
            stack.pop()
            way.append(entry(stack[-1], current, action="rollback"))
        assert versions(way) == stack


def test_who_signs_is_the_user_of_the_machine_or_whoever_is_named(monkeypatch):
    monkeypatch.setenv("LOGNAME", "ana")
    assert signed("", "") == ("ana", "")
    assert signed(" Ana Ramos ", " because ") == ("Ana Ramos", "because")


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31m", "a\udcff", "x" * 1001])
def test_a_text_that_would_spoil_the_record_is_refused_by_name(text):
    with pytest.raises(InputError, match="--by"):
        signed(text, "")
    with pytest.raises(InputError, match="--why"):
        signed("", text)


def test_a_user_without_a_name_is_a_number(monkeypatch):
    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert signed("", "")[0].startswith("uid ")
