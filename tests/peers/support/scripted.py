"""A scripted HTTP stub for answers that no DynamoDB emulator gives.

No emulator that can be installed emits TransactionInProgressException. What a test of it shows is therefore the
SDK, the client and the sidecar against the documented wire answer, not against a server that is really busy.
"""

import json
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAMESPACE = "com.amazonaws.dynamodb.v20120810#"


@dataclass
class Answer:
    """One scripted answer; `delay_s` seconds pass before it."""

    status: int
    body: dict
    delay_s: float = 0.0


def ok() -> Answer:
    return Answer(200, {})


def error(code: str, message: str, status: int = 400, delay_s: float = 0.0) -> Answer:
    return Answer(status, {"__type": NAMESPACE + code, "message": message}, delay_s)


def in_progress(delay_s: float = 0.0) -> Answer:
    return error(
        "TransactionInProgressException", "Transaction from previous request is still in progress", delay_s=delay_s
    )


def silence(seconds: float) -> Answer:
    """No answer for `seconds`: longer than the client's read timeout, it is a request that was never answered."""
    return Answer(200, {}, seconds)


class ScriptedDynamo:
    """Gives its answers in order, one per request; a request too many is an error of the test."""

    def __init__(self) -> None:
        self.requests: list[dict] = []
        self._script: list[Answer] = []
        self._lock = threading.Lock()
        stub = self

        class Handler(_Handler):
            owner = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def script(self, *answers: Answer) -> None:
        self._script = list(answers)

    def next(self, request: dict) -> Answer:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        if number > len(self._script):
            return error("ValidationException", f"the script has no answer to request {number}")
        return self._script[number - 1]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def assert_used_up(self) -> None:
        assert len(self.requests) == len(self._script), f"{len(self.requests)} requests for {len(self._script)} answers"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ScriptedDynamo

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = self.owner.next(body)
        time.sleep(answer.delay_s)
        payload = json.dumps(answer.body).encode()
        try:
            self.send_response_only(answer.status)
            self.send_header("content-type", "application/x-amz-json-1.0")
            self.send_header("x-amzn-requestid", uuid.uuid4().hex.upper())
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
