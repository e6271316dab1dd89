"""What one attempt costs the application's thread: start and end with both fingerprints of a ~500-byte body.

The figure is the time of the calling thread for ``begin`` and ``end``, with a
sidecar that reads, one that does not, and none.  "busy": the thread has been
running, as it has when an SDK has just serialised a request (a pause after each
10 attempts keeps the buffer from filling).  "idle": it wakes from a sleep for
each attempt, and pays for cold caches and for waking the sender.

"SDK call": a TransactWriteItems by boto3 against a server on loopback, without
the client ("plain") and with it, in short turns; "added" is the median of the
turns' differences of medians.  ``--json FILE`` also writes the figures there.
Needs boto3: use the environment that ``tests/run`` makes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "src"))

import boto3  # noqa: E402
from peers import DynamoStub  # noqa: E402

import oncewatch  # noqa: E402

ATTEMPTS = 4000
TURNS = 30
CALLS_PER_TURN = 20
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
    """Reads as a sidecar does, and acknowledges if it is asked to."""
    connection, _ = listener.accept()
    lines, greeted = 0, False
    while reads:
        data = connection.recv(65536)
        if not data:
            break
        greeted = greeted or data.startswith(b'{"type":"hello"')
        lines += data.count(b"\n")
        if greeted:
            connection.sendall(b'{"type":"ack","seq":%d}\n' % (lines - 1))
        time.sleep(0.002)
    time.sleep(60)


def quantiles(durations_ns: list[int]) -> dict[str, float]:
    ordered = sorted(durations_ns)
    return {"median": statistics.median(ordered) / 1000, "p99": ordered[len(ordered) * 99 // 100] / 1000}


def measure_hook(attempts_between_pauses: int, pause_s: float) -> dict[str, float]:
    """Microseconds of the calling thread for one attempt."""
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
    after = oncewatch.stats()
    return {**quantiles(durations), **{name: after[name] - before[name] for name in ("sent", "dropped")}}


def serve_dynamo(ports: multiprocessing.Queue[str]) -> None:
    ports.put(DynamoStub().url)
    time.sleep(600)


def measure_sdk(endpoint: str) -> dict[str, object]:
    """Microseconds of a boto3 call, without and with the client."""
    credentials = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "eu-west-1"}
    clients = {kind: boto3.client("dynamodb", endpoint_url=endpoint, **credentials) for kind in ("plain", "watched")}
    oncewatch.instrument(clients["watched"])
    durations: dict[str, list[int]] = {kind: [] for kind in clients}
    added = []
    for turn in range(-2, TURNS):
        medians = {}
        for kind in sorted(clients, reverse=bool(turn % 2)):
            taken = []
            for _ in range(CALLS_PER_TURN):
                request = json.loads(body_of("x"))
                del request["ClientRequestToken"]
                began = time.perf_counter_ns()
                clients[kind].transact_write_items(**request)
                taken.append(time.perf_counter_ns() - began)
            medians[kind] = statistics.median(taken)
            # The first turns warm up.
            durations[kind] += taken if turn >= 0 else []
        added += [medians["watched"] - medians["plain"]] if turn >= 0 else []
    return {"added": statistics.median(added) / 1000, **{kind: quantiles(each) for kind, each in durations.items()}}


def run(state: str, results: multiprocessing.Queue[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "events.sock")
        os.environ["ONCEWATCH_SOCKET"] = path
        fork = multiprocessing.get_context("fork")
        ports = fork.Queue()
        servers = [fork.Process(target=serve_dynamo, args=(ports,))]
        if state != "absent":
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen()
            servers.append(fork.Process(target=serve, args=(listener, state == "up")))
        for server in servers:
            server.start()
        row: dict[str, object] = {"state": state}
        for pace, attempts_between_pauses, pause_s in PACES:
            row[pace] = measure_hook(attempts_between_pauses, pause_s)
        row["sdk"] = measure_sdk(ports.get())
        for server in servers:
            server.terminate()
            server.join()
    results.put(row)


def table(rows: list[dict[str, object]]) -> str:
    lines = ["| sidecar | busy median / p99 | idle median / p99 | SDK call plain | with the client | added |", "|---" * 6 + "|"]
    for row in rows:
        sdk = row["sdk"]
        pairs = [f"{each['median']:.1f} / {each['p99']:.0f} µs" for each in (row["busy"], row["idle"], sdk["plain"], sdk["watched"])]
        lines.append(f"| {row['state']} | {' | '.join(pairs)} | {sdk['added']:.0f} µs |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows = []
    # A process of its own for each state: the client keeps its connection.
    for state in ("up", "stalled", "absent"):
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        child = context.Process(target=run, args=(state, results))
        child.start()
        rows.append(results.get(timeout=300))
        child.join()
    print(table(rows))
    if arguments.json:
        body_bytes = len(body_of(f"6b8f7c1e-0d7e-4a53-9f8b-{0:012}"))
        document = {"language": "python", "runtime": sys.version, "unit": "microseconds", "body_bytes": body_bytes, "rows": rows}
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)


if __name__ == "__main__":
    main()
