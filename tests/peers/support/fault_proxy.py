"""A loopback HTTP proxy in front of a DynamoDB endpoint that can lose what the server answered."""

import http.client
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .process import wait_until

TOKEN_OPERATIONS = ("TransactWriteItems", "ExecuteTransaction")
FORWARDED = ("content-type", "x-amz-target", "authorization", "x-amz-date", "x-amz-security-token", "host")


@dataclass
class Fault:
    """What happens to one request. The default is nothing."""

    reach_server: bool = True
    answer: bool = True
    delay_s: float = 0.0
    released: threading.Event | None = None


def drop_response() -> Fault:
    """The server executes the request; its answer never arrives (the connection is closed)."""
    return Fault(answer=False)


def reset_before_sending() -> Fault:
    """The connection is reset before the server has seen the request."""
    return Fault(reach_server=False, answer=False)


def slow_answer(delay_s: float) -> Fault:
    """The server executes at once; its answer is passed on after `delay_s` seconds."""
    return Fault(delay_s=delay_s)


def hold_answer() -> Fault:
    """The server executes at once; its answer waits for `fault.released.set()`."""
    return Fault(released=threading.Event())


@dataclass
class Exchange:
    """One request for a token-taking operation, as the proxy saw it."""

    number: int
    operation: str
    token: str | None
    invocation_id: str | None
    sdk_request: str | None
    executed: bool = False
    status: int | None = None
    answered: bool = False


class FaultProxy:
    """Counts the requests of token-taking operations from 1 and applies the fault planned for that number."""

    def __init__(self, upstream_port: int):
        self.upstream_port = upstream_port
        self.exchanges: list[Exchange] = []
        self._faults: dict[int, Fault] = {}
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def plan(self, faults: dict[int, Fault]) -> None:
        """The faults by request number."""
        self._faults = dict(faults)

    def wait_executed(self, number: int) -> None:
        """Until the server has executed request `number`, whether or not its answer was passed on."""
        wait_until(
            lambda: len(self.exchanges) >= number and self.exchanges[number - 1].executed,
            f"request {number} has reached the server",
        )

    def take(self, headers, body: bytes) -> tuple[Exchange | None, Fault]:
        operation = (headers.get("x-amz-target") or "").rpartition(".")[2]
        if operation not in TOKEN_OPERATIONS:
            return None, Fault()
        token = json.loads(body).get("ClientRequestToken")
        with self._lock:
            number = len(self.exchanges) + 1
            sdk = headers.get("amz-sdk-invocation-id"), headers.get("amz-sdk-request")
            exchange = Exchange(number, operation, token, *sdk)
            self.exchanges.append(exchange)
        return exchange, self._faults.get(number, Fault())

    def stop(self) -> None:
        for fault in self._faults.values():
            if fault.released:
                fault.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultProxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        exchange, fault = self.owner.take(self.headers, body)
        status, headers, answer = 0, [], b""
        if fault.reach_server:
            status, headers, answer = self._forward(body)
            if exchange:
                exchange.executed, exchange.status = True, status
        if fault.delay_s:
            time.sleep(fault.delay_s)
        if fault.released:
            fault.released.wait(30)
        if not fault.answer:
            self._reset()
            return
        try:
            self._reply(status, headers, answer)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            return
        if exchange:
            exchange.answered = True

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPConnection("127.0.0.1", self.owner.upstream_port, timeout=10)
        try:
            kept = {k: v for k, v in self.headers.items() if k.lower() in FORWARDED}
            server.request("POST", self.path, body, kept)
            reply = server.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            server.close()

    def _reply(self, status: int, headers: list[tuple[str, str]], answer: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _reset(self) -> None:
        # Linger 0 turns close() into a reset: the client learns at once that no answer will come.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
