"""A client process of the kill loop: uses known tokens in known ways until its standard input ends.

    load.py NAME TOKENS_PER_SECOND

Then it prints one JSON line: when each token was begun (Unix seconds), and the client's own counts.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time

import oncewatch
from oncewatch import _attempt
from scenario import API, SCENARIOS


class Raw:
    """An event without a call: if the sidecar judged it twice, it would show."""

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields
        self.size = 300

    def line(self, client: str) -> str:
        return json.dumps({**self._fields, "client": client}) + "\n"


def use(token: str, calls: list[list[dict[str, object]]]) -> None:
    for number, attempts in enumerate(calls):
        if attempts[0].get("raw"):
            base = {"api": API, "token": token}
            _attempt.transport.send(Raw({"type": "attempt_start", **base}))
            _attempt.transport.send(Raw({"type": "attempt_end", **base, "outcome": "ok"}))
            continue
        for index, step in enumerate(attempts):
            attempt = oncewatch.begin(
                API, token, body=step["body"], call=f"{token}/{number}", attempt=index + 1, max_attempts=len(attempts)
            )
            attempt.end(step["outcome"], error=step.get("error"), http_status=step.get("http_status"))
        attempt.end_call()


def main() -> None:
    name, rate = sys.argv[1], float(sys.argv[2])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    chance = random.Random(name)
    begun: list[float] = []
    # The sidecar is there; a first answer makes this client wait for it whenever it is away.
    while not oncewatch.stats()["acknowledged"]:
        if len(begun) > 100:
            sys.exit("load: the sidecar does not acknowledge anything")
        begun.append(time.time())
        use(f"{name}-{len(begun) - 1:07}", SCENARIOS[(len(begun) - 1) % len(SCENARIOS)].calls)
        time.sleep(0.1)
    print(json.dumps({"ready": True}), flush=True)
    while not ended.is_set():
        begun.append(time.time())
        use(f"{name}-{len(begun) - 1:07}", SCENARIOS[(len(begun) - 1) % len(SCENARIOS)].calls)
        time.sleep(chance.uniform(0, 2 / rate))
    flushed = oncewatch.flush(20)
    print(json.dumps({"begun": begun, "flushed": flushed, "stats": oncewatch.stats()}), flush=True)


if __name__ == "__main__":
    main()
