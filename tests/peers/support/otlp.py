"""An OTLP/HTTP protobuf receiver: what a collector would have been sent."""

import gzip
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from .process import wait_until


def attributes(carrier) -> dict[str, object]:
    """The attributes of a span, event, link or resource as plain Python values."""
    return {pair.key: _plain(pair.value) for pair in carrier.attributes}


def _plain(value) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


@dataclass
class Received:
    """One span with the resource it came from."""

    span: Span
    resource: dict[str, object]
    scope: str

    @property
    def attributes(self) -> dict[str, object]:
        return attributes(self.span)


class OtlpReceiver:
    """Listens on loopback. `hang_s` > 0 keeps every request waiting that long: a collector that is stuck."""

    def __init__(self, hang_s: float = 0.0):
        self.hang_s = hang_s
        self.received: list[Received] = []
        self.content_types: set[str] = set()
        self.requests = 0
        self._stopping = threading.Event()
        receiver = self

        class Handler(_Handler):
            owner = receiver

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, path: str, content_type: str, body: bytes) -> int:
        self.requests += 1
        if path != "/v1/traces":
            return 404
        self._stopping.wait(self.hang_s)
        request = ExportTraceServiceRequest.FromString(body)
        self.content_types.add(content_type)
        for group in request.resource_spans:
            resource = attributes(group.resource)
            for scoped in group.scope_spans:
                self.received += [Received(span, resource, scoped.scope.name) for span in scoped.spans]
        return 200

    def wait_spans(self, count: int, timeout_s: float = 10.0, settle_s: float = 0.5) -> list[Received]:
        """Exactly `count` spans: waits for them, then a little longer, so that one too many is seen."""
        wait_until(lambda: len(self.received) >= count, f"{count} spans (received {len(self.received)})", timeout_s)
        time.sleep(settle_s)
        names = [r.span.name for r in self.received]
        assert len(names) == count, f"expected {count} spans, received {names}"
        return list(self.received)

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: OtlpReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        status = self.owner.take(self.path, self.headers.get("content-type", ""), body)
        payload = ExportTraceServiceResponse().SerializeToString()
        try:
            self.send_response_only(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
