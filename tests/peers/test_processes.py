"""Several application processes on one socket: collisions across clients, death in the middle of a call, fork."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fault_proxy import hold_answer
from support.process import wait_until

HERE = Path(__file__).parent


class Worker:
    """`worker.py` with one job."""

    def __init__(self, **job: object):
        environment = {**os.environ, "HOSTNAME": "peers-host"}
        command = [sys.executable, str(HERE / "worker.py"), json.dumps(job)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE)

    @property
    def client(self) -> str:
        return f"peers-host/{self.child.pid}"

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(5)

    def results(self) -> list[dict]:
        """The outcome of every call, when the process is done."""
        output, _ = self.child.communicate(timeout=20)
        assert self.child.returncode == 0
        return [json.loads(line) for line in output.splitlines()]

    def outcome(self) -> str:
        (result,) = self.results()
        return result["outcome"]


@pytest.fixture
def start_worker(proxy, counter) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(token: str, **job: object) -> Worker:
        started.append(Worker(endpoint=proxy.url, table=counter.table, token=token, **job))
        return started[-1]

    yield start
    for worker in started:
        if worker.child.poll() is None:
            worker.kill()
        worker.child.stdout.close()


@pytest.fixture
def token() -> str:
    return str(uuid.uuid4())


def test_two_processes_with_one_token_collide_across_clients(sidecar, proxy, counter, start_worker, token) -> None:
    held = hold_answer()
    proxy.plan({1: held})
    first = start_worker(token)
    proxy.wait_executed(1)
    second = start_worker(token)
    assert second.outcome() == "ok"
    held.released.set()
    assert first.outcome() == "ok"
    assert counter.value == 1
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "cross_client_collision": 1}, attempts={"success": 2}, calls={"applied": 2}
    )
    assert (finding["verdict"], finding["severity"]) == ("cross_client_collision", "error")
    assert finding["client"] == second.client and finding["holder"]["client"] == first.client


def test_a_process_killed_in_the_middle_of_a_call_leaves_an_orphan(
    sidecar, proxy, counter, start_worker, token
) -> None:
    proxy.plan({1: hold_answer()})
    victim = start_worker(token)
    proxy.wait_executed(1)
    sidecar.expect(verdicts={"first_use": 1})
    victim.kill()
    (finding,) = sidecar.expect(verdicts={"first_use": 1, "orphaned": 1})
    assert (finding["severity"], finding["token"], finding["client"]) == ("warning", token, victim.client)
    (entry,) = sidecar.tokens()
    assert entry["status"] == "unknown"
    # Its successor does the right thing.
    assert start_worker(token).outcome() == "ok"
    assert counter.value == 1
    sidecar.expect(verdicts={"first_use": 1, "orphaned": 1, "safe_retry": 1}, calls={"applied": 1})


def test_a_successor_with_a_fresh_token_repeats_the_work_of_the_dead(
    sidecar, proxy, counter, start_worker, token
) -> None:
    proxy.plan({1: hold_answer()})
    victim = start_worker(token)
    proxy.wait_executed(1)
    sidecar.expect(verdicts={"first_use": 1})
    victim.kill()
    sidecar.expect(verdicts={"first_use": 1, "orphaned": 1})
    fresh = str(uuid.uuid4())
    assert start_worker(fresh).outcome() == "ok"
    assert counter.value == 2
    findings = sidecar.expect(verdicts={"first_use": 2, "orphaned": 1, "fresh_token_after_unknown": 1})
    assert [(f["verdict"], f["token"]) for f in findings] == [("orphaned", token), ("fresh_token_after_unknown", fresh)]
    assert findings[1]["holder"]["client"] == victim.client


def test_a_forked_process_is_a_client_of_its_own(sidecar, proxy, counter, start_worker, token) -> None:
    """A pre-forking server: instrumented and connected before the fork, both sides call after it."""
    held = hold_answer()
    proxy.plan({2: held})
    parent = start_worker(token, fork_after=str(uuid.uuid4()))
    wait_until(lambda: len(proxy.exchanges) == 3, "both processes have sent their request")
    sidecar.expect(
        verdicts={"first_use": 2, "cross_client_collision": 1}, attempts={"success": 2}, calls={"applied": 2}
    )
    held.released.set()
    results = parent.results()
    assert [r["outcome"] for r in results] == ["ok", "ok"] and len({r["pid"] for r in results}) == 2
    assert counter.value == 2
    (finding,) = sidecar.expect(
        verdicts={"first_use": 2, "cross_client_collision": 1}, attempts={"success": 3}, calls={"applied": 3}
    )
    assert {finding["client"], finding["holder"]["client"]} == {f"peers-host/{r['pid']}" for r in results}
