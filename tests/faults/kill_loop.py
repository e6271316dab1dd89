"""SIGKILL to a sidecar at random moments while clients with acknowledged delivery are at work.

In the end, the sidecar is asked about every token that was used: each attempt must be known once,
with the verdict of its start and the class of its end. With `--state-dir` that holds for all of
them; `--without-memory` starts the sidecar without it, and looks only at tokens that were begun
after its last start. Exit code 1 if anything was lost, judged twice, or judged otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

from scenario import API, SCENARIOS

HERE = Path(__file__).resolve().parent
READY_S = 30
# Tokens a second of each client: its buffer holds what it uses while the sidecar is away.
RATE = 40
SHOWN_MAX = 10


class Sidecar:
    """One life."""

    def __init__(self, directory: Path, memory: bool) -> None:
        command = [os.environ["ONCEWATCH_BIN"], "run", "--socket", str(directory / "events.sock")]
        command += ["--metrics-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"]
        command += ["--token-display", "full", "--log-format", "json"]
        command += ["--state-dir", str(directory / "state")] if memory else []
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "ONCEWATCH_"))}
        self.log = (directory / "sidecar.log").open("a+", encoding="utf-8")
        self._from = self.log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=clean)

    def ready(self) -> dict[str, str]:
        """Waits for the line that says so, and returns it."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            self.log.seek(self._from)
            lines = [line for line in self.log if line.endswith("\n")]
            for line in lines:
                try:
                    fields = json.loads(line)
                except ValueError:
                    continue
                if fields.get("message") == "ready":
                    return fields
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        self.kill()
        sys.exit(f"kill_loop: the sidecar did not come up: {''.join(lines)[-2000:]}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()


class Answers:
    """The sidecar's HTTP addresses."""

    def __init__(self, ready: dict[str, str]) -> None:
        self._admin, self._metrics = ready["admin"], ready["metrics"]

    def attempts(self, token: str) -> list[tuple[int, str, str]]:
        path = f"/api/v1/tokens/{API}/{urllib.parse.quote(token, safe='')}"
        try:
            with urllib.request.urlopen(f"http://{self._admin}{path}", timeout=10) as reply:
                found = json.load(reply)["tokens"]
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return []
        attempts = [attempt for each in found for attempt in each["attempts"]]
        return [(each["number"], each.get("verdict"), each.get("class")) for each in attempts]

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        samples = (line.split(" # ")[0].rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


def start_client(name: str, directory: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "ONCEWATCH_SOCKET": str(directory / "events.sock")}
    command = [sys.executable, str(HERE / "load.py"), name, str(RATE)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def torment(sidecar: Sidecar, directory: Path, kills: int, memory: bool, chance: random.Random) -> Sidecar:
    """Kills it; sometimes before it is ready, sometimes with a while until the next one."""
    for kill in range(kills):
        if chance.random() < 0.8:
            sidecar.ready()
        time.sleep(chance.uniform(0, 0.5))
        sidecar.kill()
        time.sleep(chance.choice([0, 0, 0.05, 0.3]))
        sidecar = Sidecar(directory, memory)
        if (kill + 1) % 20 == 0:
            print(f"{kill + 1} kills", file=sys.stderr)
    return sidecar


def judge(answers: Answers, results: dict[str, dict], since: float) -> Counter[str]:
    """What became of each token."""
    verdict: Counter[str] = Counter()
    for name, result in results.items():
        for index, begun in enumerate(result["begun"]):
            if begun < since:
                continue
            token, known = f"{name}-{index:07}", SCENARIOS[index % len(SCENARIOS)].known
            got = answers.attempts(token)
            kind = "right"
            if got != known:
                kind = "lost" if len(got) < len(known) else "twice" if len(got) > len(known) else "wrong"
            verdict[kind] += 1
            if kind != "right" and verdict.total() - verdict["right"] <= SHOWN_MAX:
                print(f"{kind}: {token} is {got}, not {known}", file=sys.stderr)
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--without-memory", action="store_true")
    options = parser.parse_args()
    # Or the processes would be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("kill_loop: terminated"))
    memory, chance = not options.without_memory, random.Random(options.seed)
    print(f"seed {options.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sidecar, clients = Sidecar(directory, memory), {}
        try:
            sidecar.ready()
            clients = {f"c{number}": start_client(f"c{number}", directory) for number in range(options.clients)}
            for client in clients.values():
                if not client.stdout.readline():
                    sys.exit("kill_loop: a client ended before the sidecar had acknowledged anything")
            sidecar = torment(sidecar, directory, options.kills, memory, chance)
            answers = Answers(sidecar.ready())
            # A client that found it down tries again within 0.1 s.
            last_start = time.time() + 1
            time.sleep(4)
            results = {name: json.loads(client.communicate(timeout=60)[0]) for name, client in clients.items()}
            verdict = judge(answers, results, 0 if memory else last_start)
            metrics = answers.metrics()
        finally:
            sidecar.kill()
            for client in clients.values():
                client.kill()
                client.wait()
    stats = [result["stats"] for result in results.values()]
    totals = {key: sum(each[key] for each in stats) for key in ("sent", "dropped", "pending", "failures")}
    abandoned = sum(
        value
        for series, value in metrics.items()
        if series.startswith("oncewatch_verdicts_total") and ('"orphaned"' in series or '"stuck_in_flight"' in series)
    )
    again = metrics['oncewatch_events_rejected_total{reason="duplicate"}']
    print(
        f"{options.kills} kills, {options.clients} clients, {totals['sent']} events acknowledged, {verdict.total()} tokens"
        f" asked for: {verdict['lost']} lost, {verdict['twice']} judged twice, {verdict['wrong']} wrong;"
        f" {totals['dropped']} events dropped, {totals['pending']} pending, {totals['failures']} failures in a client;"
        f" in the last life {again:.0f} lines left out, {abandoned:.0f} orphaned or stuck (seed {options.seed})"
    )
    bad = verdict.total() - verdict["right"] + totals["dropped"] + totals["pending"] + totals["failures"] + abandoned
    return int(bad > 0 or not verdict["right"])


if __name__ == "__main__":
    sys.exit(main())
