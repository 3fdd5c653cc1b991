"""Keys as they are kept, and as a running service looks them up."""

import json
import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import Home
from services.cli import cli
from services.scoring.door import keys as door_keys
from services.scoring.door.keys import KeyFile, KeyRing


@pytest.fixture
def home(tmp_path):
    return Home(root=tmp_path / "home")


@pytest.fixture
def ring(home, monkeypatch):
    monkeypatch.setattr(door_keys, "_LOOK_EVERY", 0.0)
    return KeyRing(KeyFile(home))


def test_a_key_is_found_and_only_its_digest_is_kept(home, ring):
    made, key = KeyFile(home).create("checkout", ["decide", "read", "decide"])
    assert made.scopes == ("decide", "read")
    assert ring.find(key.encode()) == made
    assert key.removeprefix(f"candor_{made.id}_") not in (home.root / "keys.json").read_text()
    assert stat.S_IMODE((home.root / "keys.json").stat().st_mode) == 0o600


def test_what_is_not_a_key_is_not_found(home, ring):
    _, key = KeyFile(home).create("checkout", ["decide"])
    for presented in (b"", b"candor_", key[:-1].encode(), key.encode() + b"x", key.swapcase().encode(), b"\xff" * 70):
        assert ring.find(presented) is None


def test_two_keys_differ_in_id_and_secret(home):
    (one, first), (two, second) = (KeyFile(home).create("checkout", ["decide"]) for _ in range(2))
    assert one.id != two.id
    assert first.rpartition("_")[2] != second.rpartition("_")[2]


def test_a_revoked_and_an_expired_key_say_so(home, ring):
    made, key = KeyFile(home).create("a", ["decide"])
    now = datetime.now(UTC)
    assert ring.find(key.encode()).state(now) == "active"
    KeyFile(home).revoke(made.id)
    assert ring.find(key.encode()).state(now + timedelta(seconds=1)) == "revoked"
    _, brief = KeyFile(home).create("b", ["decide"], expires_at=now + timedelta(hours=1))
    assert ring.find(brief.encode()).state(now) == "active"
    assert ring.find(brief.encode()).state(now + timedelta(hours=1)) == "expired"


def test_scopes_open_what_they_say_and_admin_all(home):
    reader, _ = KeyFile(home).create("r", ["read"])
    admin, _ = KeyFile(home).create("a", ["admin"])
    assert reader.allows("read")
    assert reader.allows("any")
    assert not reader.allows("decide")
    assert admin.allows("decide")


@pytest.mark.parametrize(
    ("name", "scopes", "expires"),
    [(" ", ["read"], None), ("a\nb", ["read"], None), ("a", [], None), ("a", ["all"], None), ("a", ["read"], -1)],
)
def test_a_key_that_makes_no_sense_is_not_made(home, name, scopes, expires):
    until = expires and datetime.now(UTC) + timedelta(seconds=expires)
    with pytest.raises(InputError):
        KeyFile(home).create(name, scopes, until)
    assert KeyFile(home).read() == []


def test_revoking_what_is_not_there_is_one_line(home):
    with pytest.raises(InputError, match="candor keys list"):
        KeyFile(home).revoke("nothing")


def test_a_damaged_file_leaves_the_keys_known_last_in_force(home, ring, caplog):
    made, key = KeyFile(home).create("checkout", ["decide"])
    assert ring.find(key.encode()) == made
    (home.root / "keys.json").write_text("[{")
    assert ring.find(key.encode()) == made
    assert "damaged" in caplog.text
    with pytest.raises(UnavailableError, match="damaged"):
        KeyFile(home).read()
    (home.root / "keys.json").unlink()
    assert ring.find(key.encode()) is None


def test_a_new_key_and_a_revocation_are_seen_within_a_second(home):
    ring = KeyRing(KeyFile(home))
    assert ring.find(b"candor_nothing") is None
    made, key = KeyFile(home).create("checkout", ["decide"])
    assert seen_within(1.0, lambda: ring.find(key.encode()) is not None)
    KeyFile(home).revoke(made.id)
    assert seen_within(1.0, lambda: ring.find(key.encode()).revoked_at is not None)


def seen_within(seconds, seen):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if seen():
            return True
        time.sleep(0.02)
    return False


def test_keys_made_at_the_same_time_are_all_kept(home):
    threads = [threading.Thread(target=KeyFile(home).create, args=(f"n{n}", ["read"])) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in KeyFile(home).read()} == {f"n{n}" for n in range(8)}


def test_the_commands_create_list_and_revoke(tmp_path):
    def run(*words):
        return CliRunner().invoke(cli, ["keys", *words], env={"CANDOR_HOME": str(tmp_path)}, catch_exceptions=False)

    made = json.loads(run("create", "--name", "checkout", "--scope", "decide", "--rate", "5", "--json").stdout)
    assert made["key"].startswith(f"candor_{made['id']}_")
    assert (made["scopes"], made["rate"], made["state"]) == (["decide"], 5.0, "active")
    plain = run("create", "--name", "ops", "--scope", "admin", "--expires", "2999-01-01")
    assert KeyRing(KeyFile(Home(root=tmp_path))).find(plain.stdout.strip().encode()).name == "ops"
    assert run("revoke", made["id"]).exit_code == 0
    listed = json.loads(run("list", "--json").stdout)["keys"]
    assert [(key["name"], key["state"]) for key in listed] == [("checkout", "revoked"), ("ops", "active")]
    assert "digest" not in listed[0]
    assert "revoked   checkout: decide" in run("list").stdout
