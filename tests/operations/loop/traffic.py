"""What a client of the sidecar reports, written as an application's library does."""

import itertools
import json
import threading
import time

API = "dynamodb.TransactWriteItems"
BRIEF = "loop.Brief"
IN_PROGRESS = {"outcome": "error", "error": "TransactionInProgressException"}
MISMATCH = {"outcome": "error", "error": "IdempotentParameterMismatchException"}
CANCELLED = {"outcome": "error", "error": "TransactionCanceledException"}
WROTE = {"outcome": "ok", "write_units": 2}
READ = {"outcome": "ok", "read_units": 2}
LOST = {"outcome": "no_response"}

numbers = itertools.count(1)


def name(prefix):
    """Unique within the run."""
    return f"{prefix}-{next(numbers)}"


def start(token, call, attempt=1, api=API, **more):
    return {"type": "attempt_start", "api": api, "token": token, "call": call, "attempt": attempt, **more}


def end(token, call, outcome, attempt=1, api=API, **more):
    return {"type": "attempt_end", "api": api, "token": token, "call": call, "attempt": attempt, **outcome, **more}


def request(outcome, token=None, fp=None, api=API, **more):
    """One call of one attempt."""
    token, call = token or name("t"), name("c")
    return [start(token, call, api=api, fp=fp or name("f"), **more), end(token, call, outcome, api=api)]


def healthy(count, api=API):
    return [event for _ in range(count) for event in request(WROTE, api=api)]


def unresolved(count, bad):
    """`count` calls; the last of each equal part ends without an answer. `max_attempts` ends a call."""
    events, part = [], count // bad
    for i in range(1, count + 1):
        call, token = name("c"), name("t")
        outcome = LOST if i % part == 0 else WROTE
        events.append(start(token, call, fp=name("f"), max_attempts=1))
        events.append(end(token, call, outcome, max_attempts=1))
    return events


def twice(api=API):
    """The second success reports written units: executed twice."""
    token, fp = name("t"), name("f")
    return request(WROTE, token, fp, api) + request(WROTE, token, fp, api)


def fresh_token(api=API):
    fp = name("f")
    return request(LOST, fp=fp, api=api) + request(WROTE, fp=fp, api=api)


def short_budget():
    """Four attempts, all within 5 s, and the server is still working."""
    token, call, fp, events = name("t"), name("c"), name("f"), []
    for attempt in range(1, 5):
        events.append(start(token, call, attempt, fp=fp, max_attempts=4))
        events.append(end(token, call, LOST if attempt == 1 else IN_PROGRESS, attempt, max_attempts=4))
    return events


def second_call_while_open(other=None):
    """The second sender is told that the first one is at work; the first one succeeds."""
    token, fp, first, second = name("t"), name("f"), name("c"), name("c")
    who = {"client": other} if other else {}
    return [
        start(token, first, fp=fp),
        start(token, second, fp=fp, **who),
        end(token, second, IN_PROGRESS, **who),
        end(token, first, WROTE),
    ]


def held_elsewhere():
    token, call, fp = name("t"), name("c"), name("f")
    first = [start(token, call, fp=fp), end(token, call, IN_PROGRESS)]
    return first + [start(token, call, 2, fp=fp), end(token, call, READ, 2)]


def other_parameters():
    token = name("t")
    return request(WROTE, token) + request(MISMATCH, token)


def refused_for_no_known_reason():
    return request(MISMATCH)


def other_bytes():
    token, fp = name("t"), name("f")
    return request(LOST, token, fp, fp_raw="one") + request(MISMATCH, token, fp, fp_raw="two")


def constant_token():
    """Three requests under one token, each cancelled, so that no mismatch is predicted."""
    token = name("t")
    return [event for _ in range(3) for event in request(CANCELLED, token)]


def replayed():
    token, fp = name("t"), name("f")
    return request(WROTE, token, fp) + request(READ, token, fp)


class Client:
    """One connection of one process."""

    def __init__(self, sidecar):
        self.name = f"{sidecar.pod}/1"
        self.connection = sidecar.connect()

    def send(self, events):
        lines = [json.dumps({"client": self.name, **event}) for event in events]
        self.connection.sendall(("\n".join(lines) + "\n").encode())

    def keep_sending(self, make, every, seconds, stop: threading.Event):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not stop.is_set():
            self.send(make())
            stop.wait(every)

    def close(self):
        self.connection.close()
