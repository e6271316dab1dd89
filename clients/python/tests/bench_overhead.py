"""What one attempt costs the application's thread: start and end with both fingerprints of a ~500-byte body.

The figure is the time of the calling thread for ``begin`` and ``end``, with a
sidecar that reads, one that does not, and none.  "busy": the thread has been
running, as it has when an SDK has just serialised a request (a pause after each
10 attempts keeps the buffer from filling).  "idle": it wakes from a sleep for
each attempt, and pays for cold caches and for waking the sender.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "src"))

import oncewatch  # noqa: E402

ATTEMPTS = 4000
PACES = (("busy", 10, 0.01), ("idle", 1, 0.002))
IGNORED = ("ReturnConsumedCapacity", "ReturnItemCollectionMetrics")
API = "dynamodb.TransactWriteItems"


def body_of(token: str) -> bytes:
    update = {
        "TableName": "orders",
        "Key": {"id": {"S": "customer-000117"}},
        "UpdateExpression": "ADD balance :a SET #s = :s",
        "ExpressionAttributeNames": {"#s": "status"},
        "ExpressionAttributeValues": {":a": {"N": "25"}, ":s": {"S": "paid"}},
    }
    put = {"TableName": "payments", "Item": {"id": {"S": token}, "at": {"N": "1790000000"}, "by": {"S": "checkout"}}}
    items = [{"Update": update}, {"Put": put}]
    return json.dumps({"TransactItems": items, "ClientRequestToken": token}).encode()


def serve(listener: socket.socket, reads: bool) -> None:
    connection, _ = listener.accept()
    while reads and connection.recv(65536):
        time.sleep(0.002)
    time.sleep(60)


def measure(state: str, pace: str, attempts_between_pauses: int, pause_s: float) -> None:
    durations = []
    before = oncewatch.stats()
    for index in range(ATTEMPTS):
        token = f"6b8f7c1e-0d7e-4a53-9f8b-{index:012}"
        body = body_of(token)
        began = time.perf_counter_ns()
        attempt = oncewatch.begin(
            API, token, body=body, token_field="ClientRequestToken", ignored_fields=IGNORED, call=token, scope="eu"
        )
        attempt.end("ok", http_status=200, request_id="0123456789ABCDEF", write_units=4.0)
        durations.append(time.perf_counter_ns() - began)
        if index % attempts_between_pauses == 0:
            time.sleep(pause_s)
    durations.sort()
    stats = oncewatch.stats()
    print(
        f"{state:8}{pace:5} median {statistics.median(durations):7.0f} ns/attempt"
        f"  p99 {durations[len(durations) * 99 // 100]:7} ns  max {durations[-1]:8} ns"
        f"  sent {stats['sent'] - before['sent']:5} dropped {stats['dropped'] - before['dropped']:5}"
        f"  body {len(body)} bytes"
    )


def run(state: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "events.sock")
        os.environ["ONCEWATCH_SOCKET"] = path
        server = None
        if state != "absent":
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen()
            server = multiprocessing.get_context("fork").Process(target=serve, args=(listener, state == "up"))
            server.start()
        for pace in PACES:
            measure(state, *pace)
        if server is not None:
            server.terminate()
            server.join()


if __name__ == "__main__":
    # A process of its own for each state: the client keeps its connection.
    for each in ("up", "stalled", "absent"):
        child = multiprocessing.get_context("spawn").Process(target=run, args=(each,))
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(f"{each}: exit code {child.exitcode}")
