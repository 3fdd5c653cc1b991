"""A scoring server in a process of its own that can be killed, and clients that remember what they were answered."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from tests.unit.services.harness import NOW


class Server:
    """Serve a home on one port, as often as it is started."""

    def __init__(self, home, workers=1, log=""):
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")},
            "CANDOR_HOME": str(home.root),
            "CANDOR_AS_OF": NOW.isoformat(),
            "CANDOR_DECISION_LOG": log,
        }
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._code = (
            "from feature_repo.home import Home; from services.scoring.server import serve; "
            f"serve(Home.resolve(), '127.0.0.1', {self.port}, {workers}, log_level='warning')"
        )
        self._process = None

    def start(self):
        """Start, and return when it answers."""
        self._process = subprocess.Popen([sys.executable, "-c", self._code], env=self._environment)
        for _ in range(600):
            try:
                if self.ask("GET", "/health/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise TimeoutError("the server does not answer")

    def kill(self):
        """End it as a power failure does."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """End it as an operator does."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def ask(self, method, path, body=None):
        """Return status and JSON of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            return _ask(connection, method, path, body)
        finally:
            connection.close()


def _ask(connection, method, path, body):
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


class Load:
    """Clients that ask one decision after the other until they are told to stop."""

    def __init__(self, server, applicants, clients=4):
        self.acknowledged = []
        self.statuses = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(server, applicants, number), daemon=True)
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Stop, and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, server, applicants, number):
        count = number
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            try:
                while not self._stop.is_set():
                    count += 1
                    body = {"applicant_id": f"APP_{count % applicants}", "purchase_amount": 100 + count % 5000}
                    status, answer = _ask(connection, "POST", "/predict", body)
                    self.statuses.append(status)
                    if status == 200:
                        self.acknowledged.append(answer["decision_id"])
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # it was killed: try the next one
            finally:
                connection.close()
