import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from feature_repo.errors import UnavailableError
from feature_repo.portfolios.swap import undisturbed
from services.turn import only_one

HOLD = """
import sys, time
from pathlib import Path
from services.turn import only_one
with only_one(Path(sys.argv[1]), "a search", "night shift"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the turn."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_comes_second_is_told_who_is_at_it_and_what_to_do(tmp_path, holder):
    with (
        pytest.raises(UnavailableError) as told,
        only_one(tmp_path / "lock", "a search", "me", instead=", or do without"),
    ):
        raise AssertionError("two at once")
    assert str(told.value).startswith("a search is under way in this home, by night shift since 20")
    assert str(told.value).endswith(f"(process {holder.pid}): wait for it, or end it, or do without")


def test_a_killed_process_gives_its_turn_back(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    for _ in range(2):
        with only_one(tmp_path / "lock", "a search", "me"):
            pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UnavailableError, match="file/lock cannot be written"),
        only_one(tmp_path / "file" / "lock", "x", "y"),
    ):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks_is_one_line_that_names_the_file_and_what_to_do(tmp_path, monkeypatch, code):
    """As NFS answers without its lock service, which no test has."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = f"lock cannot be locked: {os.strerror(code)}; put CANDOR_HOME on a file system with locks"
    with pytest.raises(UnavailableError, match=told), only_one(tmp_path / "lock", "x", "y"):
        pass
    with pytest.raises(UnavailableError, match=told), undisturbed(tmp_path / "sources"):
        pass
