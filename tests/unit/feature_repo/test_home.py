from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.errors import InputError
from feature_repo.home import (
    DEFAULT_REDIS,
    DEFAULT_ROOT,
    DEFAULT_YAML,
    Home,
    HomeState,
    parse_instant,
    write_atomically,
)

AS_OF = datetime(2011, 12, 31, tzinfo=UTC)


def test_the_default_home_uses_the_literal_yaml():
    home = Home.resolve({})
    assert (home.root, home.redis, home.feature_store_yaml) == (DEFAULT_ROOT, DEFAULT_REDIS, DEFAULT_YAML)
    assert f'connection_string: "{DEFAULT_REDIS}"' in DEFAULT_YAML.read_text()


def test_another_home_or_a_given_redis_keeps_its_own_yaml(tmp_path):
    assert Home.resolve({"CANDOR_HOME": str(tmp_path)}).feature_store_yaml == tmp_path / "feature_store.yaml"
    given = Home.resolve({"CANDOR_REDIS": "redis:6379,password=secret"})
    assert given.feature_store_yaml == DEFAULT_ROOT / "feature_store.yaml"
    assert given.redis == "redis:6379,password=secret"
    assert given.safe_redis == "redis:6379"


def test_addresses_can_be_given(tmp_path):
    home = Home.resolve({"CANDOR_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "http://m:5000",
                         "CANDOR_DECISION_LOG": "postgresql://u:secret@db/candor"})  # fmt: skip
    assert home.mlflow_uri == "http://m:5000"
    assert "secret" not in home.safe_log
    assert home.safe_log == "postgresql://db/candor"


def test_the_clock_is_the_users_then_the_portfolios_then_the_walls(tmp_path):
    home = Home(root=tmp_path)
    assert abs(home.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert not home.has_clock
    home.save_state(HomeState(as_of=AS_OF, outcomes_as_of=AS_OF + timedelta(days=900)))
    assert (home.now(), home.outcomes_now()) == (AS_OF, AS_OF + timedelta(days=900))
    given = Home.resolve({"CANDOR_HOME": str(tmp_path), "CANDOR_AS_OF": "2010-06-01"})
    assert given.now() == given.outcomes_now() == datetime(2010, 6, 1, tzinfo=UTC)


def test_state_survives_and_damage_is_named(tmp_path):
    home = Home(root=tmp_path)
    state = HomeState(portfolio="berka", as_of=AS_OF, redis_port=17001)
    home.save_state(state)
    assert home.state() == state
    home.state_path.write_text("{not json")
    with pytest.raises(InputError, match="home.json is damaged"):
        home.state()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-07-01", datetime(2025, 7, 1, tzinfo=UTC)),
        ("2025-07-01T12:00:00Z", datetime(2025, 7, 1, 12, tzinfo=UTC)),
        ("2025-07-01T12:00:00+02:00", datetime(2025, 7, 1, 10, tzinfo=UTC)),
    ],
)
def test_instants(text, expected):
    assert parse_instant(text, "--to") == expected


@pytest.mark.parametrize(("text", "said"), [("2025-07-01T12:00:00", "no time zone"), ("yesterday", "not an ISO 8601")])
def test_a_doubtful_instant_is_refused_by_name(text, said):
    with pytest.raises(InputError, match=f"--to.*{said}"):
        parse_instant(text, "--to")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old"


def test_a_home_touches_nothing_until_asked(tmp_path):
    Home.resolve({"CANDOR_HOME": str(tmp_path / "new")}).now()
    assert not Path(tmp_path / "new").exists()
