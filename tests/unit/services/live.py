"""The application on a real socket, under the server's own configuration, in a thread of the test."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from services.scoring.server import configure


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Live:
    port: int
    _opened: list[socket.socket] = field(default_factory=list)

    def connect(self, timeout: float = 5.0) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout)
        self._opened.append(opened)
        return opened

    def send(self, raw: bytes, timeout: float = 5.0) -> bytes:
        """Send bytes, and return all that comes until the server hangs up."""
        with self.connect(timeout) as wire:
            wire.sendall(raw)
            return read_all(wire)

    def ask(self, raw: bytes, timeout: float = 5.0) -> Answer:
        """Send one request, whatever it is, and return its one answer."""
        with self.connect(timeout) as wire:
            wire.sendall(raw)
            return read_answer(wire)


@contextmanager
def serving(app: Any) -> Iterator[Live]:
    server = uvicorn.Server(configure(app))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        live = Live(listener.getsockname()[1])
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        try:
            yield live
        finally:
            for opened in live._opened:
                opened.close()
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive()


def read_all(wire: socket.socket) -> bytes:
    parts = []
    while part := wire.recv(65536):
        parts.append(part)
    return b"".join(parts)


def read_answer(wire: socket.socket) -> Answer:
    raw = b""
    while b"\r\n\r\n" not in raw:
        part = wire.recv(65536)
        if not part:
            raise ConnectionError(f"the server hung up after {raw!r}")
        raw += part
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        part = wire.recv(65536)
        if not part:
            raise ConnectionError("the server hung up within a body")
        body += part
    return Answer(int(first.split()[1]), headers, body)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return one HTTP/1.1 request; underscores in header names become hyphens."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"host": "127.0.0.1", "content-length": str(len(body)), **given}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
