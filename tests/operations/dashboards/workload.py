"""Client events that reach every finding, every class of answer and every reason of refusal.

A cycle takes about four seconds, because the API profile that it uses has short limits (`PROFILES`).
Everything goes through the sidecar's real stream socket.
"""

import json
import secrets
import socket
import threading
import time

API = "shop.PlaceOrder"
PROFILES = f"""
[profiles."{API}"]
extends = "dynamodb.TransactWriteItems"
window = "2s"
lease = "1s"
retention = "2s"
recovery_delay = "1s"
capacity = 64
"""

# The API with its real window, and when its repeats come.
SLOW_API = "dynamodb.TransactWriteItems"
SLOW_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 20.0)

IN_PROGRESS = "TransactionInProgressException"
MISMATCH = "IdempotentParameterMismatchException"


class Client:
    """One stream connection, and a name."""

    def __init__(self, path, name):
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def close(self):
        self._socket.close()

    def raw(self, data):
        self._socket.sendall(data)

    def send(self, kind, **fields):
        trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        event = {"type": kind, "api": API, "client": self.name, "traceparent": trace, **fields}
        self.raw(json.dumps(event).encode() + b"\n")

    def start(self, token, call, attempt=1, **fields):
        self.send("attempt_start", token=token, call=call, attempt=attempt, **fields)

    def end(self, token, call, outcome, attempt=1, **fields):
        self.send("attempt_end", token=token, call=call, attempt=attempt, outcome=outcome,
                  **{"duration_ms": 20 + secrets.randbelow(200), **fields})

    def error(self, token, call, code, attempt=1, **fields):
        self.end(token, call, "error", attempt, error=code, **fields)


def names():
    """A fresh token and call id."""
    return f"t{secrets.token_hex(8)}", f"c{secrets.token_hex(8)}"


def ordinary(client, count):
    """Work as it should be."""
    for _ in range(count):
        token, call = names()
        client.start(token, call, fp=token)
        client.end(token, call, "ok", write_units=2)


def answers(client):
    for code in ("ThrottlingException", "ValidationException", "InternalServerError", "TransactionCanceledException"):
        token, call = names()
        client.start(token, call, fp=token, max_attempts=1)
        client.error(token, call, code)
        if code == "TransactionCanceledException":
            client.start(token, call + "b", fp=token)
            client.error(token, call + "b", code)
            client.start(token, call + "c", fp="changed")
            client.end(token, call + "c", "ok")


def retries(client):
    token, call = names()
    client.start(token, call, fp=token, max_attempts=3)
    client.end(token, call, "no_response")
    client.start(token, call, 2, fp=token, max_attempts=3)
    client.error(token, call, IN_PROGRESS, 2)
    client.start(token, call, 3, fp=token, max_attempts=3)
    client.error(token, call, IN_PROGRESS, 3)
    client.start(token, call + "b", fp=token)
    client.end(token, call + "b", "ok")
    client.start(token, call + "c", fp=token)
    client.end(token, call + "c", "ok", write_units=2)
    token, call = names()
    client.start(token, call, fp=token)
    client.error(token, call, IN_PROGRESS)
    client.end(token, call, "no_response")


def sharing(client, other):
    token, call = names()
    client.start(token, call, fp=token)
    client.start(token, call + "b", fp=token)
    # Connections are read independently: the other's start must arrive before the ends.
    time.sleep(0.05)
    other.start(token, call + "c", fp=token)
    time.sleep(0.05)
    for who, name in ((client, call), (client, call + "b"), (other, call + "c")):
        who.end(token, name, "ok")
    token, call = names()
    for number in range(3):
        client.start(token, f"{call}{number}", fp=f"{token}{number}")
        client.end(token, f"{call}{number}", "ok")
    client.start("", call, fp="empty")


def mismatches(client):
    token, call = names()
    client.start(token, call, fp=token, fp_raw="one")
    client.end(token, call, "ok")
    client.start(token, call + "b", fp=token, fp_raw="two")
    client.error(token, call + "b", MISMATCH)
    token, call = names()
    client.start(token, call, fp=token)
    client.error(token, call, MISMATCH)


def lost(client, path):
    first, call = names()
    client.start(first, call, fp=first, max_attempts=1)
    client.end(first, call, "no_response")
    client.start(names()[0], call + "b", fp=first)
    leaving = Client(path, "leaving/1")
    leaving.start(names()[0], call + "c", fp="left")
    time.sleep(0.05)
    leaving.close()


def overflow(client):
    """More than the sidecar remembers: tokens, open attempts of one token, calls of one token."""
    token, call = names()
    for number in range(10):
        client.start(token, f"{call}{number}", fp=token)
    ordinary(client, 90)


def refused(client):
    token, call = names()
    client.raw(b"not json\n")
    client.raw(b'{"type":"attempt_start","token":"' + b"x" * 20_000 + b'"}\n')
    client.raw(b'{"v":9,"type":"attempt_start","api":"a","token":"t"}\n')
    client.raw(b'{"type":"guess","api":"a","token":"t"}\n')
    client.raw(b'{"type":"attempt_start","api":"a"}\n')
    client.raw(b'{"type":"attempt_start","api":"a","token":7}\n')
    client.start(token, call, fp=token, at=1.0)
    client.start(token, call, fp=token)
    client.send("attempt_end", token=token, call=call, outcome="ok", traceparent="broken")
    client.send("call_end", token=token, call=call, outcome="ok")
    client.send("client_report", dropped=3)


def late(client):
    """Reuse at the edge of the window and after it; something is left open past its lease."""
    edge, call = names()
    client.start(edge, call, fp=edge)
    stuck, stuck_call = names()
    client.start(stuck, stuck_call, fp=stuck)
    time.sleep(0.9)
    client.end(edge, call, "ok")
    recycled, recycled_call = names()
    client.start(recycled, recycled_call, fp=recycled)
    client.end(recycled, recycled_call, "ok")
    time.sleep(1.4)
    client.start(edge, call + "b", fp=edge)
    client.end(edge, call + "b", "ok")
    time.sleep(1.2)
    client.start(recycled, recycled_call + "b", fp="another")
    client.end(recycled, recycled_call + "b", "ok")
    client.start(edge, call + "c", fp=edge)
    client.end(edge, call + "c", "ok", write_units=2)


def misuse(client, other, path):
    for part in (answers, retries, mismatches, refused):
        part(client)
    sharing(client, other)
    lost(client, path)
    late(client)


class Traffic:
    """Cycles of misuse amid ordinary work, until stopped."""

    def __init__(self, path, *, pause=0.5, rest=0.0, flood=True):
        self._path = path
        self._pause = pause
        self._rest = rest
        self._flood = flood
        self._stopped = threading.Event()
        self._failures = []
        self._threads = [threading.Thread(target=self._guarded, args=(part,), daemon=True)
                         for part in (self._misuse, self._ordinary)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=30)
        if self._failures:
            raise self._failures[0]

    def _guarded(self, part):
        try:
            part()
        except Exception as error:  # Reported by whoever waits for the traffic.
            self._failures.append(error)

    def _misuse(self):
        client, other = Client(self._path, "worker-1/7"), Client(self._path, "worker-2/7")
        while not self._stopped.is_set():
            misuse(client, other, self._path)
            if self._flood:
                overflow(client)
            self._stopped.wait(self._rest)

    def _ordinary(self):
        """Sound work, some of it with a retry or a replay that takes its time."""
        client = Client(self._path, "web-1/1")
        due = []
        while not self._stopped.wait(self._pause):
            ordinary(client, 5)
            token, call = names()
            client.start(token, call, fp=token, api=SLOW_API)
            client.end(token, call, secrets.choice(("ok", "no_response")), api=SLOW_API)
            due.append((time.monotonic() + secrets.choice(SLOW_SECONDS), token, call))
            now = time.monotonic()
            for _, token, call in (one for one in due if one[0] <= now):
                client.start(token, call + "b", fp=token, api=SLOW_API)
                client.end(token, call + "b", "ok", api=SLOW_API)
            due = [one for one in due if one[0] > now]
