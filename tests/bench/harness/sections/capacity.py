"""Resident memory of a full sidecar by its capacity: the table in deploy/README.md."""

import json
import socket
import uuid

from ..sidecar import Sidecar

APIS = ("dynamodb.TransactWriteItems", "dynamodb.ExecuteTransaction")
CAPACITIES = (4096, 16384, 65536)
# More tokens than there is room for, so that each table is surely full.
OVERFLOW = 1.1
MIB = 1 << 20


def run(bench) -> None:
    with Sidecar(bench, capacity=CAPACITIES[0]) as sidecar:
        sidecar.settle()
        bench.report.add("capacity", "nothing remembered", sidecar.rss_bytes() / MIB, "MiB")
    for capacity in bench.pick(CAPACITIES, CAPACITIES[:2]):
        for calls in (1, 8):
            rss = full(bench, capacity, calls)
            plural = "s" if calls > 1 else ""
            bench.report.add("capacity", f"{capacity} tokens of each of 2 APIs, {calls} call{plural} per token", rss / MIB, "MiB")


def full(bench, capacity: int, calls: int) -> int:
    """Memory when both tables are full of tokens that had so many calls each."""
    # The most a token is remembered by: eight calls of clients with long names.
    clients = [f"{'orders-' * 15}{number}/4711" if calls > 1 else "orders-7f9c/4711" for number in range(3)]
    with Sidecar(bench, capacity=capacity) as sidecar, socket.socket(socket.AF_UNIX) as stream:
        stream.connect(sidecar.stream.removeprefix("unix:"))
        sent = 0
        for number in range(int(capacity * OVERFLOW)):
            lines = [line for api in APIS for line in token(api, number, calls, clients)]
            stream.sendall("".join(lines).encode())
            sent += len(lines)
        sidecar.settle()
        bench.check(f"capacity {capacity}", sidecar.losses({"sent": sent, "sent_warming": 0, "refused": 0}))
        return sidecar.rss_bytes()


def token(api: str, number: int, calls: int, clients: list[str]):
    """The events of one token: its first call succeeds, the others are replays."""
    about = {"api": api, "token": str(uuid.UUID(int=number)), "fp": f"{number:032x}", "fp_raw": f"{number + 1:032x}"}
    for call in range(calls):
        one = about | {"call": str(uuid.UUID(int=number << 4 | call)), "attempt": 1, "client": clients[call % len(clients)]}
        yield json.dumps({"type": "attempt_start"} | one) + "\n"
        yield json.dumps({"type": "attempt_end", "outcome": "ok", "duration_ms": 12.5} | one) + "\n"
