"""Acknowledged delivery: nothing is lost or counted twice when the sidecar restarts, and old or broken ones do no harm."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from peers import Acknowledger, Collector, Ledger, wait_until

import oncewatch
from oncewatch import _buffer, _transport


def report(token="t", **more):
    """Three events: start, end, call_end."""
    oncewatch.begin("default", token, **more).end()


def report_many(transport):
    """3000 events, as fast as they are written: what is written and not acknowledged is more than the buffer holds."""
    for index in range(1000):
        report(f"{index}")
        wait_until(lambda: transport._buffer.unwritten < 500, 10, lambda: f"room, have {transport.stats()}")


def settled(transport, timeout_s=10.0):
    wait_until(lambda: transport.stats()["pending"] == 0, timeout_s, lambda: f"pending 0, have {transport.stats()}")


def tokens_of(ledger):
    return Counter(event["token"] for event in ledger.judged if "token" in event)


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def sidecar(socket_path, ledger):
    server = Acknowledger(socket_path, ledger)
    yield server
    server.kill()


def test_what_is_acknowledged_is_let_go_and_then_nothing_runs(transport, sidecar, ledger):
    for index in range(50):
        report(f"{index}")
        time.sleep(0.001)
    settled(transport)
    assert transport.stats().items() >= {"sent": 150, "dropped": 0, "acknowledged": True}.items()
    assert tokens_of(ledger) == {f"{index}": 3 for index in range(50)}
    time.sleep(0.1)

    def switches():
        with open(f"/proc/self/task/{transport._thread.native_id}/status", encoding="ascii") as status:
            return [line for line in status if "ctxt_switches" in line]

    before = switches()
    time.sleep(0.5)
    assert switches() == before, "the sender woke up although nothing was to be done"


def test_sidecar_killed_again_and_again_under_load(transport, socket_path, ledger):
    """Every event is judged exactly once, wherever it was when the sidecar died."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print("seed", seed)
    stop = threading.Event()

    def work(number):
        index = 0
        while not stop.is_set():
            report(f"{number}/{index}")
            index += 1
            # Far from what the buffer holds while nobody is there, also on a busy machine.
            time.sleep(0.02)
        sent[number] = index

    sent = {}
    sidecar = Acknowledger(socket_path, ledger)
    report("first")
    settled(transport)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for _ in range(40):
        time.sleep(chance.uniform(0, 0.1))
        # What it judges from here on it cannot acknowledge any more.
        sidecar.deaf.set()
        time.sleep(chance.choice([0, 0.03]))
        sidecar.kill()
        time.sleep(chance.choice([0, 0.01, 0.1]))
        sidecar = Acknowledger(socket_path, ledger)
    stop.set()
    for worker in workers:
        worker.join()
    settled(transport)
    wanted = {f"{number}/{index}": 3 for number, count in sent.items() for index in range(count)} | {"first": 3}
    assert tokens_of(ledger) == wanted
    assert transport.stats()["dropped"] == 0
    assert len(ledger.greetings) > 20 and ledger.duplicates > 0, "nothing was sent again"
    assert len({greeting["session"] for greeting in ledger.greetings}) == 1
    order = [event["token"] for event in ledger.judged]
    for number in sent:
        mine = [int(token.partition("/")[2]) for token in order if token.startswith(f"{number}/")]
        assert mine == sorted(mine), "out of order"
    sidecar.kill()


def test_what_a_dead_sidecar_had_judged_but_not_acknowledged_is_not_judged_again(transport, socket_path, ledger):
    first = Acknowledger(socket_path, ledger)
    report("one")
    settled(transport)
    first.deaf.set()
    report("two")
    wait_until(lambda: tokens_of(ledger) == {"one": 3, "two": 3}, 5, lambda: "judged")
    assert transport.stats()["pending"] == 3
    first.kill()
    second = Acknowledger(socket_path, ledger)
    # The client finds out by itself, without another event.
    settled(transport)
    assert ledger.duplicates == 3 and [greeting["seq"] for greeting in ledger.greetings] == [1, 4]
    report("three")
    settled(transport)
    assert tokens_of(ledger) == {"one": 3, "two": 3, "three": 3}
    second.kill()


def test_sidecar_that_stays_away_is_given_up_and_the_losses_are_counted(transport, socket_path, ledger, monkeypatch):
    monkeypatch.setattr(_transport, "HOLD_S", 0.4)
    first = Acknowledger(socket_path, ledger)
    report("before")
    settled(transport)
    first.kill()
    report("lost")
    time.sleep(0.1)
    assert transport.stats().items() >= {"pending": 3, "dropped": 0}.items() and transport.accepting
    wait_until(lambda: not transport.accepting, 5, lambda: "off")
    assert transport.stats().items() >= {"pending": 0, "dropped": 3}.items()
    monkeypatch.setattr(transport, "_off_until", time.monotonic())
    second = Acknowledger(socket_path, ledger)
    report("after")
    settled(transport)
    assert tokens_of(ledger) == {"before": 3, "after": 3}
    assert [event["dropped"] for event in ledger.judged if event["type"] == "client_report"] == [3]
    assert [greeting["seq"] for greeting in ledger.greetings] == [1, 7]
    second.kill()


def test_a_sidecar_that_is_away_is_looked_for_some_ten_times_a_second(transport, socket_path, ledger, monkeypatch):
    first = Acknowledger(socket_path, ledger)
    report()
    settled(transport)
    first.kill()
    looked = []
    connect = transport._connect
    monkeypatch.setattr(transport, "_connect", lambda: looked.append(1) or connect())
    for _ in range(100):
        report()
        time.sleep(0.01)
    assert 3 < len(looked) <= 20
    second = Acknowledger(socket_path, ledger)
    settled(transport)
    assert tokens_of(ledger) == {"t": 303}
    second.kill()


def test_a_report_of_drops_is_not_lost_either(transport, socket_path, ledger):
    first = Acknowledger(socket_path, ledger)
    report("one")
    settled(transport)
    first.deaf.set()
    transport.skip()
    report("two")
    wait_until(lambda: transport._buffer.unreported == 0, 5, lambda: "the report")
    first.kill()
    ledger.positions.clear()
    ledger.judged.clear()
    second = Acknowledger(socket_path, ledger)
    settled(transport)
    assert [event["dropped"] for event in ledger.judged if event["type"] == "client_report"] == [1]
    second.kill()


def test_sidecar_that_stops_answering_costs_no_event_until_it_is_gone(transport, socket_path, ledger):
    """What is written and unanswered makes room for what is new, and counts as dropped if the connection breaks."""
    first = Acknowledger(socket_path, ledger)
    report("first")
    settled(transport)
    first.deaf.set()
    report_many(transport)
    wait_until(lambda: len(ledger.judged) == 3003, 10, lambda: f"{len(ledger.judged)} of 3003")
    stats = transport.stats()
    assert stats["dropped"] == 0 and stats["sent"] == 3
    assert 500 < stats["pending"] <= _buffer.EVENTS_MAX
    assert transport._buffer._kept_bytes <= _buffer.BYTES_MAX
    first.kill()
    second = Acknowledger(socket_path, ledger)
    settled(transport)
    dropped = transport.stats()["dropped"]
    assert dropped == 3000 - stats["pending"] and transport.stats()["sent"] == 3003 - dropped
    report("last")
    wait_until(lambda: tokens_of(ledger)["last"] == 3, 5, lambda: "the last event")
    assert [event["dropped"] for event in ledger.judged if event["type"] == "client_report"] == [dropped]
    assert len(tokens_of(ledger)) == 1002
    second.kill()


def test_an_old_sidecar_is_left_in_peace_after_its_first_silence(transport, socket_path, monkeypatch):
    monkeypatch.setattr(_transport, "ANSWER_S", 0.1)
    monkeypatch.setattr(_transport, "_LIVED_S", 0.0)
    old = Collector(socket_path)
    for index in range(30):
        report(f"{index}")
        time.sleep(0.01)
    settled(transport, 1.5)
    assert [event["token"] for event in old.events] == [f"{index}" for index in range(30) for _ in range(3)]
    assert transport.stats().items() >= {"sent": 90, "dropped": 0, "acknowledged": False}.items()
    # Its connection breaks, the sidecar stays.
    old._connections[0].close()
    wait_until(lambda: transport._sock is None or report("lost") is not None or len(old.streams) == 2, 5, lambda: "new")
    report("again")
    wait_until(lambda: b"again" in old.streams[-1], 5, lambda: "the event")
    assert len(old.streams) == 2 and len(old.greetings) == 1
    # A sidecar that came after it is asked anew, whatever it is.
    old.close()
    new = Collector(socket_path)
    wait_until(lambda: report("new") is not None or bool(new.greetings), 5, lambda: "a greeting")
    new.close()


def test_more_than_the_buffer_holds_goes_through_before_an_old_sidecar_is_known(transport, collector):
    """While nobody knows whether it will answer, nothing may be lost for that."""
    report_many(transport)
    settled(transport, 2)
    assert transport.stats().items() >= {"sent": 3000, "dropped": 0}.items()
    assert [event["token"] for event in collector.wait(3000)] == [f"{index}" for index in range(1000) for _ in range(3)]


def test_a_late_first_answer_counts(transport, collector, monkeypatch):
    monkeypatch.setattr(_transport, "ANSWER_S", 0.05)
    report("one")
    settled(transport, 2)
    collector.say(b'{"type":"ack","seq":3}\n')
    report("two")
    wait_until(lambda: transport.stats()["acknowledged"], 5, lambda: "an answer")
    report("three")
    wait_until(lambda: b"three" in collector.streams[0], 5, lambda: "the event")
    time.sleep(0.05)
    assert transport.stats()["pending"] > 0
    collector.say(b'{"type":"ack","seq":9}\n')
    settled(transport)


@pytest.fixture
def patient(monkeypatch):
    """A client that waits for a first answer for as long as a test takes."""
    monkeypatch.setattr(_transport, "ANSWER_S", 60.0)


def test_answers_in_pieces(transport, collector, patient):
    report()
    collector.wait(3)
    for byte in b'{"type":"ack","seq":2}\n{"type":"ack","seq":3':
        collector.say(bytes([byte]))
        time.sleep(0.002)
    wait_until(lambda: transport._read == 2, 5, lambda: "2")
    assert transport.stats()["pending"] > 0
    collector.say(b', "more": [1]}\n{"ty')
    settled(transport)


GARBAGE = [
    b"\xff\xfe\x00\n",
    b"\n\n\n",
    b"[" * 3000 + b"\n",
    b"9" * 5000 + b"\n",
    b'null\n3\n"ack"\n[]\n{}\n',
    b'{"type":"ack"}\n{"type":"ack","seq":null}\n{"type":"ack","seq":true}\n',
    b'{"type":"ack","seq":"3"}\n{"type":"ack","seq":3.0}\n{"type":"ack","seq":-1}\n{"type":"ack","seq":1e400}\n',
    b'{"type":"news","seq":3}\n',
    b"x" * 100_000,
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_no_answer(transport, collector, patient, garbage):
    report()
    collector.wait(3)
    collector.say(b'{"type":"ack","seq":0}\n')
    wait_until(lambda: transport.stats()["acknowledged"], 5, lambda: "an answer")
    collector.say(garbage)
    time.sleep(0.05)
    assert transport.stats()["pending"] == 3 and transport.stats()["connected"]
    assert len(transport._answer) <= 4096
    collector.say(b'\n{"type":"ack","seq":3}\n{"type":"news"}\n')
    settled(transport)


def test_an_answer_to_a_line_that_was_never_sent_is_none(transport, collector, socket_path, patient, monkeypatch):
    monkeypatch.setattr(_transport, "_LIVED_S", 0.0)
    report("one")
    collector.wait(3)
    for number in (4, 1000, 2**63, 10**30):
        collector.say(b'{"type":"ack","seq":%d}\n' % number)
    time.sleep(0.1)
    assert not transport.stats()["acknowledged"] and transport.stats()["pending"] == 3
    collector.say(b'{"type":"ack","seq":2}\n')
    wait_until(lambda: transport._read == 2, 5, lambda: "2")
    # Nor does an older one take anything back.
    collector.say(b'{"type":"ack","seq":1}\n')
    time.sleep(0.1)
    assert transport.stats()["acknowledged"] and transport.stats()["pending"] > 0
    collector.close()
    again = Collector(socket_path)
    wait_until(lambda: len(again.events) == 1, 5, lambda: "the third line")
    assert again.events[0]["type"] == "call_end" and again.greetings[0]["seq"] == 3
    again.close()


def test_answers_that_come_with_the_end_of_the_connection_count(transport, socket_path, ledger, patient):
    """An orderly restart: the sidecar answers and goes, and the client only notices when it writes."""
    old = Collector(socket_path)
    report("one")
    old.wait(3)
    old.say(b'{"type":"ack","seq":3}\n')
    old.close()
    sidecar = Acknowledger(socket_path, ledger)
    report("two")
    wait_until(lambda: tokens_of(ledger)["two"] == 3, 5, lambda: "the second")
    assert tokens_of(ledger) == {"two": 3} and ledger.greetings[0]["seq"] == 4
    sidecar.kill()


def test_switched_off(transport, collector, monkeypatch):
    monkeypatch.setenv("ONCEWATCH_ACKNOWLEDGE", "off")
    report()
    collector.wait(3)
    assert collector.greetings == [] and transport.stats().items() >= {"sent": 3, "pending": 0}.items()


def run_python(code: str) -> tuple[str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "import oncewatch, os, time\n" + code], capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, time.monotonic() - began


def test_exit_waits_for_the_last_answer_but_not_for_ever(sidecar, ledger):
    code = (
        "def waited(): print(time.monotonic() - began, oncewatch.stats()['pending'])\n"
        "oncewatch.begin('default', 'a').end()\n"
        "while oncewatch.stats()['sent'] < 3: time.sleep(0.01)\n"
        "oncewatch.begin('default', 'b').end(); began = time.monotonic()\n"
        "oncewatch.flush(); waited()"
    )
    sidecar.answer_delay_s = 0.08
    waited, pending = run_python(code)[0].split()
    assert float(waited) >= 0.07 and pending == "0"
    sidecar.answer_delay_s = 0.6
    waited, pending = run_python(code)[0].split()
    assert 0.15 < float(waited) < 0.5 and pending == "3"


def test_exit_does_not_wait_for_a_sidecar_that_never_answers(collector):
    code = (
        "oncewatch.begin('default', 'a').end(); time.sleep(0.1); began = time.monotonic()\n"
        "oncewatch.flush(); print(time.monotonic() - began, oncewatch.stats()['pending'])"
    )
    waited, pending = run_python(code)[0].split()
    assert float(waited) < 0.1 and pending == "3"
    collector.wait(3)


def test_a_forked_child_has_a_session_of_its_own(sidecar, ledger):
    run_python(
        "import warnings; warnings.simplefilter('ignore')\n"
        "oncewatch.begin('default', 'parent').end(); oncewatch.flush()\n"
        "pid = os.fork()\n"
        "oncewatch.begin('default', 'child' if pid == 0 else 'parent').end(); oncewatch.flush(2)\n"
        "if pid == 0: os._exit(0)\n"
        "os.waitpid(pid, 0)"
    )
    assert tokens_of(ledger) == {"parent": 6, "child": 3}
    assert len({greeting["session"] for greeting in ledger.greetings}) == 2
    assert sorted(ledger.positions.values()) == [3, 6] and ledger.duplicates == 0


def test_a_batch_is_cut_at_its_lines():
    batch = _buffer.Batch(11, ["a\n", "bb\n", "ccc\n", "report\n"], reported=5, size=99)
    assert (batch.first, batch.last, batch.events, batch.data) == (11, 14, 3, b"a\nbb\nccc\nreport\n")
    assert batch.cut(10) == 0 and batch.first == 11
    assert batch.cut(12) == 2
    assert (batch.first, batch.last, batch.events, batch.data) == (13, 14, 1, b"ccc\nreport\n")
    assert batch.cut(13) == 1 and (batch.events, batch.data) == (0, b"report\n")


def test_forgotten_batches_are_few_whatever_their_number(monkeypatch):
    monkeypatch.setattr(_buffer, "_FORGOTTEN_MAX", 4)
    buffer = _buffer.Buffer()
    for index in range(3000):
        assert buffer.put(Sized())
        events, size = buffer.take(1)
        buffer.keep(_buffer.Batch(index + 1, ["x\n"], 0, size))
    assert len(buffer._forgotten) == 4 and buffer.pending == _buffer.EVENTS_MAX
    # 1 to 3 are known by themselves, the rest of the 2000 only together.
    assert buffer.settle(3) == 3 and buffer.settle(1999) == 0 and buffer.settle(2001) == 1998
    assert len(buffer.reclaim()) == 999 and buffer.dropped == 0
    assert buffer.pending == 999 and not buffer.awaits_answer


def test_a_forgotten_report_is_made_again():
    buffer = _buffer.Buffer()
    buffer.count_dropped(7)
    buffer.count_reported(7)
    buffer.put(Sized())
    _, size = buffer.take(1)
    buffer.keep(_buffer.Batch(1, ["x\n", "report\n"], 7, size))
    assert all(buffer.put(Sized()) for _ in range(_buffer.EVENTS_MAX)) and buffer.pending == _buffer.EVENTS_MAX
    assert (buffer.reclaim(), buffer.dropped, buffer.unreported) == ([], 8, 8)


class Sized:
    """An event of some size."""

    size = 2


def test_the_session_is_nobody_else_s():
    one, two = _transport.Transport(), _transport.Transport()
    assert one._session != two._session and len(one._session) == 32
    assert os.environ.get("ONCEWATCH_ACKNOWLEDGE") is None and _transport.acknowledges()
