"""The other ends of the client's two conversations: a sidecar that collects, a DynamoDB that follows a script."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Optional


class Collector:
    """A stream socket server that keeps every event, per connection, and every byte.

    It is a sidecar of the time before acknowledgements: a greeting is of an
    unknown type to it, and it answers nothing but what a test makes it
    :meth:`say`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.streams: list[bytes] = []
        self.paused = threading.Event()
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                index = len(self.streams)
                self.streams.append(b"")
                self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection, index), daemon=True).start()

    def _read(self, connection: socket.socket, index: int) -> None:
        while True:
            while self.paused.is_set():
                time.sleep(0.005)
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.streams[index] += data

    @property
    def events(self) -> list[dict[str, Any]]:
        with self._lock:
            whole = [stream[: stream.rfind(b"\n") + 1] for stream in self.streams]
        lines = [json.loads(line) for stream in whole for line in stream.splitlines()]
        return [line for line in lines if line["type"] != "hello"]

    @property
    def greetings(self) -> list[dict[str, Any]]:
        """The first line of each connection, if it is a greeting."""
        with self._lock:
            first = [json.loads(stream.splitlines()[0]) for stream in self.streams if b"\n" in stream]
        return [line for line in first if line["type"] == "hello"]

    def say(self, text: bytes, connection: int = -1) -> None:
        """On a connection, by default the latest."""
        wait_until(lambda: bool(self._connections), 5.0, lambda: "a connection")
        self._connections[connection].sendall(text)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def wait(self, count: int, timeout_s: float = 5.0) -> list[dict[str, Any]]:
        """Exactly ``count`` events: also waits a moment for one too many."""
        wait_until(lambda: len(self.events) >= count, timeout_s, lambda: f"{count} events, have {self.events}")
        time.sleep(0.02)
        assert len(self.events) == count, self.events
        return self.events

    def close(self, unlink: bool = True) -> None:
        try:
            # A thread blocked in accept() keeps a closed listener alive.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        if unlink and os.path.exists(self.path):
            os.unlink(self.path)


class Ledger:
    """What a sidecar with a memory on disk knows, whichever of its lives wrote it down."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.positions: dict[str, int] = {}
        self.judged: list[dict[str, Any]] = []
        self.duplicates = 0
        self.greetings: list[dict[str, Any]] = []


class Acknowledger:
    """One life of a sidecar that acknowledges; :meth:`kill` ends it between any two steps."""

    def __init__(self, path: str, ledger: Ledger) -> None:
        self.ledger = ledger
        self.deaf = threading.Event()
        self.answer_delay_s = 0.0
        self._dead = False
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(path):
            os.unlink(path)
        self._listener.bind(path)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        rest, session, number = b"", "", 0
        while True:
            try:
                data = connection.recv(3000)
            except OSError:
                return
            *lines, rest = (rest + data).split(b"\n")
            if not data:
                return
            with self.ledger.lock:
                for line in map(json.loads, lines):
                    if self._dead:
                        return
                    if line["type"] == "hello":
                        assert not session, "a greeting in the middle"
                        session, number = line["session"], line["seq"]
                        self.ledger.greetings.append(line)
                        read = self.ledger.positions.get(session, 0)
                        self.ledger.positions[session] = max(read, number - 1)
                        continue
                    if number > self.ledger.positions[session]:
                        self.ledger.judged.append(line)
                        self.ledger.positions[session] = number
                    else:
                        self.ledger.duplicates += 1
                    number += 1
                answer = json.dumps({"type": "ack", "seq": self.ledger.positions[session]}) + "\n"
            if lines and not self.deaf.is_set():
                time.sleep(self.answer_delay_s)
                try:
                    connection.sendall(answer.encode())
                except OSError:
                    return

    def kill(self) -> None:
        """What the kernel holds is lost; what is judged stays."""
        with self.ledger.lock:
            self._dead = True
        for end in (self._listener, *self._connections):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def wait_until(condition: Callable[[], bool], timeout_s: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what()}"
        time.sleep(0.005)


class Step:
    """What the scripted server does with one request.

    ``failure`` is one of the shared vectors: ``reset``, ``close``, ``timeout`` or ``truncated``.
    """

    def __init__(
        self, status: int = 200, body: Any = None, *, hang_s: float = 0, reset: bool = False, failure: str = ""
    ) -> None:
        self.status, self.hang_s = status, 2.5 if failure == "timeout" else hang_s
        self.failure = "reset" if reset else failure
        self.body = (body if isinstance(body, str) else json.dumps(body or {})).encode()
        self.headers: Optional[dict[str, str]] = None

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Step:
        """The ``answer`` of a vector in ``conformance/events.json``."""
        step = cls(answer.get("status", 200), answer.get("body", ""), failure=answer.get("failure", ""))
        step.headers = answer.get("headers")
        return step


def ok(**body: Any) -> Step:
    return Step(200, body)


def error(status: int, code: str) -> Step:
    return Step(status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "scripted"})


class DynamoStub:
    """Speaks enough of DynamoDB's protocol for an SDK; answers by the script, then with plain success."""

    def __init__(self) -> None:
        self.script: list[Step] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One segment for head and body, or each answer waits for an acknowledgement.
            wbufsize = 65536

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.requests.append((dict(self.headers), body))
                step = stub.script.pop(0) if stub.script else ok()
                time.sleep(step.hang_s)
                if step.failure in ("reset", "close"):
                    linger = struct.pack("ii", step.failure == "reset", 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.close_connection = True
                    return
                self.send_response_only(step.status)
                headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-RequestId": f"REQ{len(stub.requests)}"}
                for name, value in (headers if step.headers is None else step.headers).items():
                    self.send_header(name, value)
                self.close_connection = step.failure == "truncated"
                self.send_header("Content-Length", str(len(step.body) + self.close_connection * 100))
                self.end_headers()
                self.wfile.write(step.body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that gave up before the answer is part of the script."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
