"""Runs the client process against a server and looks at the server before and after."""

import json
import subprocess
import time
from dataclasses import dataclass


@dataclass
class Measured:
    """One run of the client. Per event, unless the name says otherwise."""

    account: dict
    cpu_us: float
    switches: float
    client_cpu_us: float
    events_per_s: float
    rss_bytes: int
    losses: str | None

    def send_us(self, quantile: str) -> float:
        """What one send took the application: p50, p99, p999 or max."""
        return self.account[f"send_{quantile}_ns"] / 1000


def load(bench, server, to: str, *, while_busy: bool = False, **options) -> Measured:
    """Sends events; `options` are the client's flags. With `while_busy` the server has other work, too: it is not
    waited for, and what it used is not the events' alone."""
    flags = [f"--{name.replace('_', '-')}" if value is True else f"--{name.replace('_', '-')}={value}"
             for name, value in options.items() if value is not None]
    client = subprocess.Popen(
        [bench.measure, "load", to, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        _expect(client, "warm")
        if not while_busy:
            server.settle()
        cpu, switches = server.cpu_ns(), server.switches()
        client.stdin.write("\n")
        account = json.loads(client.stdout.readline() or _died(client))
        server.settle()
        sent = max(account["sent"], 1)
        measured = Measured(
            account=account,
            cpu_us=(server.cpu_ns() - cpu) / 1000 / sent,
            switches=(server.switches() - switches) / sent,
            client_cpu_us=account["cpu_ns"] / 1000 / sent,
            events_per_s=sent / (account["wall_ns"] / 1e9),
            rss_bytes=server.rss_bytes(),
            losses=None if while_busy else server.losses(account),
        )
        client.stdin.write("\n")
        client.wait(30)
        return measured
    finally:
        client.kill()
        client.wait()
        client.stdin.close()
        client.stdout.close()


def _expect(client: subprocess.Popen, word: str) -> None:
    line = client.stdout.readline().strip()
    if line != word:
        raise RuntimeError(f"the client said {line!r}, not {word!r}" if line else _died(client))


def _died(client: subprocess.Popen) -> str:
    time.sleep(0.1)
    raise RuntimeError(f"the client ended with {client.poll()}")
