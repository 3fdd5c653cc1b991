"""Who is told: the log, the file, and webhooks on a real server of our own."""

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import socket
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from feature_repo.errors import InputError
from monitoring import alert_sinks
from monitoring.alert_sinks import deliver, make_sinks, secret_of
from monitoring.alerts import Book, Finding, Notice
from monitoring.monitor_settings import Sinks, Webhook

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
KEY = bytes(range(32))
SECRET = {"SECRET": "whsec_" + base64.b64encode(KEY).decode()}


def notice(number=0, kind="begins"):
    return Notice(
        id=f"{number:032x}",
        kind=kind,
        at=NOW,
        rule="drift",
        severity="critical",
        findings=(Finding(subject="x", value=2.0, words="x moved", since=NOW),),
        runbook="Look.",
    )


@pytest.fixture
def receiver():
    """Serve what tests tell it to answer, one status a request, and keep what it was sent."""

    class Receiver(BaseHTTPRequestHandler):
        answers: list = []
        got: list = []
        pause = 0.0

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.got.append((dict(self.headers), body))
            time.sleep(self.pause)
            status = self.answers.pop(0) if self.answers else 200
            self.send_response(status)
            self.send_header("location", "http://127.0.0.1:1/")
            self.send_header("retry-after", "3600")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    Receiver.answers, Receiver.got = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Receiver.url = f"http://127.0.0.1:{server.server_port}/hook?token=hidden"
    yield Receiver
    server.shutdown()
    server.server_close()


def sinks(url, root, **changes):
    webhook = Webhook(url=url, secret_env="SECRET", **{"attempts": 3, "timeout_seconds": 1.0} | changes)
    return make_sinks(Sinks(file="reports/alerts.jsonl", webhooks={"risk": webhook}), root, SECRET)


def book(*notices):
    return Book(waiting={name: list(notices) for name in ("log", "file", "webhook risk")})


def test_a_webhook_gets_each_notice_signed_so_that_it_can_be_checked(receiver, tmp_path):
    kept = book(notice(1), notice(2))
    assert deliver(kept, sinks(receiver.url, tmp_path), lambda: None) == {}
    assert kept.waiting["webhook risk"] == []
    for number, (headers, body) in enumerate(receiver.got, 1):
        headers = {name.lower(): value for name, value in headers.items()}
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        assert headers["webhook-id"] == f"{number:032x}"
        told = json.loads(body)
        assert (told["rule"], told["findings"][0]["words"], told["runbook"]) == ("drift", "x moved", "Look.")


def test_a_server_in_trouble_is_asked_again_a_bounded_number_of_times(receiver, tmp_path):
    receiver.answers[:] = [503, 500, 200]
    kept = book(notice())
    assert deliver(kept, sinks(receiver.url, tmp_path), lambda: None) == {}
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    receiver.got.clear()
    receiver.answers[:] = [503] * 10
    kept = book(notice(1), notice(2))
    begun = time.monotonic()
    troubles = deliver(kept, sinks(receiver.url, tmp_path), lambda: None)
    assert time.monotonic() - begun < 20  # it says to come again in an hour
    assert len(receiver.got) == 3
    assert troubles == {
        "webhook risk": "webhook risk (http://127.0.0.1) answered 503; 2 notices wait for the next cycle"
    }
    assert kept.waiting == {"log": [], "file": [], "webhook risk": [notice(1), notice(2)]}


def test_what_waited_is_told_when_the_server_is_back_with_the_same_id(receiver, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/"
    kept = book(notice(7))
    troubles = deliver(kept, sinks(nobody, tmp_path, attempts=1), lambda: None)
    assert "cannot be reached" in troubles["webhook risk"]
    assert deliver(kept, sinks(receiver.url, tmp_path), lambda: None) == {}
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [f"{7:032x}"]


def test_a_server_that_does_not_answer_is_not_waited_for(receiver, tmp_path):
    receiver.pause = 1.0
    kept = book(notice())
    troubles = deliver(kept, sinks(receiver.url, tmp_path, attempts=1, timeout_seconds=0.1), lambda: None)
    receiver.pause = 0.0
    assert "cannot be reached" in troubles["webhook risk"]
    assert kept.waiting["webhook risk"] == [notice()]


@pytest.mark.parametrize("drip", [b"x-more: 1\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_never_ends_its_answer_has_no_more_than_its_time(tmp_path, monkeypatch, drip):
    monkeypatch.setattr(alert_sinks, "PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                if not drip.startswith(b"HTTP"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    connection.sendall(drip)
                    time.sleep(0.05)

        threading.Thread(target=answer, daemon=True).start()
        kept, begun = book(notice(1), notice(2)), time.monotonic()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        troubles = deliver(kept, sinks(url, tmp_path, attempts=1), lambda: None)
        assert time.monotonic() - begun < 5
    assert "did not answer in time; 2 notices wait" in troubles["webhook risk"]


@pytest.mark.parametrize("status", [301, 307, 401, 404])
def test_redirections_are_not_followed_and_what_may_be_mended_is_kept(receiver, tmp_path, status):
    receiver.answers[:] = [status]
    kept = book(notice())
    troubles = deliver(kept, sinks(receiver.url, tmp_path), lambda: None)
    assert f"answered {status}" in troubles["webhook risk"]
    assert len(receiver.got) == 1
    assert kept.waiting["webhook risk"] == [notice()]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_notice_that_is_refused_does_not_hold_up_the_others(receiver, tmp_path, status):
    receiver.answers[:] = [status]
    kept = book(notice(1), notice(2))
    troubles = deliver(kept, sinks(receiver.url, tmp_path), lambda: None)
    assert f"refused notice {1:032x} with {status}" in troubles["webhook risk"]
    assert kept.waiting["webhook risk"] == []
    assert kept.dropped == {"webhook risk": 1}
    assert len(receiver.got) == 2


def test_no_message_holds_the_secret_or_the_path(receiver, tmp_path):
    receiver.answers[:] = [401]
    troubles = deliver(book(notice()), sinks(receiver.url, tmp_path), lambda: None)
    assert "hidden" not in str(troubles)
    assert SECRET["SECRET"] not in str(troubles)


@pytest.mark.parametrize("secret", ["", "short", "whsec_", "whsec_!!", "whsec_" + base64.b64encode(b"x" * 23).decode()])
def test_a_secret_that_is_none_is_refused_without_being_shown(secret):
    webhook = Webhook(url="https://example.com", secret_env="SECRET")
    with pytest.raises(InputError, match="sinks.webhooks.risk: put whsec_") as caught:
        secret_of("risk", webhook, {"SECRET": secret})
    assert "!!" not in str(caught.value)
    assert secret_of("risk", webhook, SECRET) == KEY


def test_the_log_and_the_file_are_told(tmp_path, caplog):
    kept = Book(waiting={"log": [notice(1)], "file": [notice(1), notice(2, "is over")]})
    saved = []
    with caplog.at_level(logging.INFO):
        assert (
            deliver(kept, make_sinks(Sinks(file="reports/alerts.jsonl"), tmp_path, {}), lambda: saved.append(1)) == {}
        )
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "critical alert drift begins: x moved" in caplog.text
    lines = [json.loads(line) for line in (tmp_path / "reports/alerts.jsonl").read_text().splitlines()]
    assert [(line["id"], line["kind"]) for line in lines] == [(f"{1:032x}", "begins"), (f"{2:032x}", "is over")]
    assert len(saved) == 2


def test_a_line_that_a_full_disk_tore_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "reports/alerts.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"id": "torn')
    deliver(
        Book(waiting={"file": [notice(1), notice(2)]}),
        make_sinks(Sinks(file="reports/alerts.jsonl"), tmp_path, {}),
        int,
    )
    torn, *whole = path.read_text().splitlines()
    assert torn == '{"id": "torn'
    assert [json.loads(line)["id"] for line in whole] == [f"{1:032x}", f"{2:032x}"]


def test_a_file_that_cannot_be_written_is_named_and_keeps_what_waits(tmp_path):
    (tmp_path / "reports").write_text("in the way")
    kept = Book(waiting={"file": [notice()]})
    troubles = deliver(kept, make_sinks(Sinks(file="reports/alerts.jsonl"), tmp_path, {}), lambda: None)
    assert "cannot be written" in troubles["file"]
    assert kept.waiting["file"] == [notice()]
