"""How it begins and ends: the terminal is given back as it was, and a sidecar may come and go."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BIN, PATIENCE_S, Sidecar, free_port, wait_for


def pid_of(terminal):
    """The process of `top` in this terminal: the child of its shell."""
    shell = terminal.flag("pane_pid")
    found = wait_for("a child of the shell", lambda: subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", shell], capture_output=True, text=True).stdout.split())
    assert found[1:3] == [BIN, "top"], found
    return int(found[0])


def as_before(terminal):
    """What `top` changes of a terminal."""
    flags = [terminal.flag(name) for name in ["alternate_on", "cursor_flag", "mouse_any_flag"]]
    return flags, terminal.result("stty -g")


@pytest.fixture
def started(demo, terminal):
    """A terminal with `top` in it, and how it was before."""
    screen = terminal()
    before = as_before(screen)
    assert before[0] == ["0", "1", "0"]
    screen.shell(f"clear; echo before; {BIN} top --admin-addr {demo}; echo exit=$?")
    screen.until("[1 Now]", "live")
    assert screen.flag("alternate_on") == "1" and screen.flag("cursor_flag") == "0"
    return screen, before


@pytest.mark.parametrize("keys", [["q"], ["C-c"], ["2", "Enter", "q"], ["2", "/", "x", "C-c"]])
def test_keys_end_it_and_give_the_terminal_back(started, keys):
    terminal, before = started
    terminal.keys(*keys)
    # What was on the screen before is there again.
    terminal.until("before", "exit=0", absent=["oncewatch ["])
    assert as_before(terminal) == before
    assert terminal.result("echo typed") == "typed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_and_give_the_terminal_back(started, number):
    terminal, before = started
    os.kill(pid_of(terminal), number)
    terminal.until("before", "exit=0", absent=["oncewatch ["])
    assert as_before(terminal) == before


def test_a_terminal_that_goes_away_ends_it(started):
    terminal, _ = started
    program = Path(f"/proc/{pid_of(terminal)}")
    terminal.close()
    wait_for("the end of top", lambda: not program.exists())


def test_it_can_be_stopped_and_continued(demo, terminal):
    screen = terminal()
    before = as_before(screen)
    screen.shell(f"clear; set -m; echo before; {BIN} top --admin-addr {demo}")
    screen.until("[1 Now]", "live")
    for stop in [lambda: screen.keys("C-z"), lambda: os.kill(pid_of(screen), signal.SIGTSTP)]:
        stop()
        screen.until("Stopped", absent=["[1 Now]"])
        assert screen.flag("alternate_on") == "0"
        screen.shell("stty -g | wc -l; fg")
        screen.until("[1 Now]", "live", "Trust: ")
        assert screen.flag("alternate_on") == "1"
        screen.keys("?")
        screen.until("this help")
        screen.keys("?")
    screen.keys("q")
    screen.until("before")
    assert as_before(screen) == before


def test_the_sidecar_may_come_go_and_come_back(tmp_path, top):
    port = free_port()
    terminal = top(f"127.0.0.1:{port}")
    terminal.until("NO ANSWER", f"No sidecar answers at 127.0.0.1:{port}:", "refused", "Trying again every second", "--admin-addr")
    sidecar = Sidecar(tmp_path, port)
    terminal.until("live", "no event has come yet.", absent=["NO ANSWER"])
    connection = sidecar.send('{"type":"attempt_start","api":"http","token":"t1","client":"a/1","call":"c1"}')
    terminal.keys("3")
    terminal.until("> ", "http", "open", "1 to 1 of 1")
    sidecar.end()
    # What was known stays; that it is old is said.
    terminal.until("NO ANSWER", "! No answer for ", "Shown: ", "http", "1 to 1 of 1")
    sidecar = Sidecar(tmp_path, port)
    terminal.until("live", "No open or unknown token", absent=["NO ANSWER", "! No answer"])
    connection.close()
    # One that hangs is one that does not answer.
    os.kill(sidecar.process.pid, signal.SIGSTOP)
    terminal.until("NO ANSWER", "no answer within 5 s")
    terminal.keys("1")
    terminal.until("[1 Now]")
    os.kill(sidecar.process.pid, signal.SIGCONT)
    terminal.until("live", absent=["NO ANSWER"])
    sidecar.end()


HOSTILE = ["\x1b[2J\x1b]0;owned\x07", "\u202eabc\u05d0\u05d1", "\u6ce8\u6587\u756a\u53f7" * 20, "<script>", "x" * 512, "a\u0301\u200b", "\U0001f1e9\U0001f1ea"]


def test_hostile_names_do_no_harm(tmp_path, top):
    port = free_port()
    sidecar = Sidecar(tmp_path, port, "--token-display=full")
    terminal = top(f"127.0.0.1:{port}")
    lines = []
    for evil in HOSTILE:
        base = {"type": "attempt_start", "api": "http" if evil == "<script>" else evil[:40], "token": evil, "scope": evil[:80]}
        lines.append(json.dumps({**base, "client": evil[:40], "call": evil[:20], "fp": "1"}))
        lines.append(json.dumps({**base, "client": "b" + evil[:40], "call": evil[:20], "fp": "2"}))
    connection = sidecar.send(*lines)
    terminal.until("live", "YES: ")
    title = terminal.flag("pane_title")
    for keys in [["2"], ["Enter"], ["2", "j", "j", "Enter"], ["3"], ["G"], ["Enter"], ["4"], ["1"]]:
        terminal.keys(*keys)
        time.sleep(0.7)
        screen = terminal.until("oncewatch ", "live", "Trust: ")
        lines = screen.split("\n")
        assert lines[0].startswith("oncewatch ") and lines[-2].startswith("Trust: "), screen
        for bad in ["\u202e", "\u05d0", "\u200b", "\u0301", "\U0001f1e9"]:
            assert bad not in screen
    terminal.keys("3")
    terminal.until("status: open or unknown", "\\u{1b}[2J", "<script>", "\u6ce8\u6587")
    assert terminal.flag("pane_title") == title, "no sequence reached the terminal"
    assert terminal.flag("alternate_on") == "1"
    connection.close()
    sidecar.end()


def run(*arguments, **more):
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **more}
    return subprocess.run([BIN, "top", *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL)


def test_without_a_terminal_it_says_what_to_use_instead():
    result = run("--admin-addr=127.0.0.1:9")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("oncewatch: top needs a terminal") and result.stderr.count("\n") == 1
    assert "--once" in result.stderr and "http://127.0.0.1:9/api/v1/summary" in result.stderr


@pytest.mark.parametrize("arguments,variables", [
    (["--admin-addr=10.0.0.1:9465"], {}),
    (["--admin-addr=nonsense"], {}),
    ([], {"ONCEWATCH_ADMIN_ADDR": "nonsense"}),
])
def test_a_bad_address_is_named(arguments, variables):
    result = run("--once", *arguments, **variables)
    assert result.returncode == 2 and "admin-addr" in result.stderr, result


def test_once_prints_a_snapshot(demo):
    for arguments, variables in [(["--admin-addr", demo], {}), ([], {"ONCEWATCH_ADMIN_ADDR": demo})]:
        result = run("--once", *arguments, **variables)
        assert (result.returncode, result.stderr) == (0, "")
        for part in ["Is anything wrong now?", "YES: writes", "critical ", "Latest findings", "Do     ", "Holder ",
                     "Tokens that are open or unknown", "Can I trust this?", "Watching since"]:
            assert part in result.stdout, part
        assert "\x1b" not in result.stdout
        assert all(len(line) <= 100 for line in result.stdout.split("\n"))


def test_once_fails_without_a_sidecar():
    port = free_port()
    result = run("--once", f"--admin-addr=127.0.0.1:{port}")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith(f"oncewatch: no sidecar answers at 127.0.0.1:{port}: ")
