"""A PostgreSQL server for tests, where its programs are installed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


def _programs():
    on_path = shutil.which("initdb")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(on_path).parent if on_path else places[-1].parent if places else None


class Postgres:
    """A server of our own in a folder of its own; as root it runs as the user that PostgreSQL was installed with."""

    def __init__(self, programs, folder):
        self._programs, self.data = programs, folder / "data"
        self._user = {"user": "postgres"} if os.geteuid() == 0 else {}
        if self._user:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", self.data, "-U", "candor", "--auth=trust", "--no-sync")
        self.url = f"postgresql+psycopg://candor@127.0.0.1:{self.port}/postgres"

    def _run(self, program, *words):
        subprocess.run(
            [self._programs / program, *words], check=True, capture_output=True, timeout=60, cwd="/", **self._user
        )

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.data}"
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.data / "log", "-o", options, "start")

    def stop(self):
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")


@contextmanager
def a_postgres():
    """Give a running server; the test is skipped where there can be none."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    if os.geteuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    with tempfile.TemporaryDirectory(prefix="candor-pg-") as folder:
        server = Postgres(programs, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
