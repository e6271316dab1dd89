"""A terminal (tmux, with a server of its own) and the sidecars that are looked at."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

BIN = os.environ["ONCEWATCH_BIN"]
PATIENCE_S = 20


def wait_for(what, ready):
    """Asks until `ready` gives something true, and returns it."""
    end = time.monotonic() + PATIENCE_S
    while True:
        value = ready()
        if value:
            return value
        assert time.monotonic() < end, f"waited in vain for {what() if callable(what) else what}"
        time.sleep(0.05)


class Terminal:
    """A shell in tmux. It has its own server, so that no other one is touched."""

    PROMPT = "ready$ "

    def __init__(self, directory, columns=80, rows=24, **variables):
        self.socket = directory / "tmux"
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        shell = f"PS1='{self.PROMPT}' bash --norc --noprofile"
        size = ["-x", str(columns), "-y", str(rows)]
        command = ["tmux", "-u", "-S", str(self.socket), "-f", "/dev/null", "new-session", "-d", *size, shell]
        subprocess.run(command, env=environment, check=True, timeout=PATIENCE_S)
        wait_for("the shell", lambda: self.lines()[0] == self.PROMPT.strip())
        self.shell("".join(f"export {name}='{value}'; " for name, value in variables.items()) + "stty -echo; PS1=; clear")
        time.sleep(0.2)

    def tmux(self, *arguments):
        command = ["tmux", "-u", "-S", str(self.socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout

    def lines(self):
        """The rows as they are shown, without blanks at their ends."""
        return [line.rstrip() for line in self.tmux("capture-pane", "-p").split("\n")[:-1]]

    def screen(self):
        return "\n".join(self.lines())

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def text(self, text):
        self.tmux("send-keys", "-l", text)

    def shell(self, line):
        self.text(line)
        self.keys("Enter")

    def flag(self, name):
        return self.tmux("display-message", "-p", f"#{{{name}}}").strip()

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def until(self, *parts, absent=()):
        """The screen, once all parts are on it and none of `absent`."""
        def ready():
            screen = self.screen()
            if not all(p in screen for p in parts) or any(p in screen for p in absent):
                return None
            # A frame that is being written is not what a reader sees.
            time.sleep(0.1)
            return screen if screen == self.screen() else None
        return wait_for(lambda: f"{parts} without {absent} on\n{self.screen()}", ready)

    def result(self, line):
        """Runs a line in the shell and returns what it printed."""
        self.shell(f"clear; {line}; echo END")
        return self.until("END").split("END")[0].strip()

    def close(self):
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], capture_output=True, timeout=PATIENCE_S)


class Program:
    """A sidecar; its output is read all the time, so that it never waits for us."""

    made = []

    def __init__(self, directory, *arguments):
        Program.made.append(self)
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(directory)}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        self.process = subprocess.Popen([BIN, *arguments], env=environment, text=True, **output)
        self.output = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.output += line

    def matches(self, pattern):
        return wait_for(lambda: f"{pattern} in {self.output}", lambda: re.search(pattern, self.output))

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)
        self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Sidecar(Program):
    """`oncewatch run` at a port that stays the same when another one takes its place."""

    def __init__(self, directory, port, *flags):
        self.socket = Path(directory) / "events.sock"
        addresses = [f"--admin-addr=127.0.0.1:{port}", "--metrics-addr=127.0.0.1:0"]
        super().__init__(directory, "run", "--log-format=json", f"--socket={self.socket}", *addresses, *flags)
        self.matches('"message":"ready"')

    def send(self, *lines):
        sender = socket.socket(socket.AF_UNIX)
        sender.connect(str(self.socket))
        sender.sendall("".join(f"{line}\n" for line in lines).encode())
        return sender


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The address of a demo that has shown every verdict."""
    directory = tmp_path_factory.mktemp("demo")
    ports = ["--admin-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"]
    program = Program(directory, "demo", "--duration=900s", *ports)
    address = program.matches(r"page +http://([\d.:]+)/")[1]
    # Each verdict gets a line when it first appears; the worst one is the last thing to wait for.
    for verdict in ["double_execution", "fresh_token_after_unknown", "stuck_in_flight", "hard_coded_token"]:
        wait_for_long(program, verdict)
    yield address
    program.end()


def wait_for_long(program, text):
    end = time.monotonic() + 60
    while text not in program.output:
        assert time.monotonic() < end, f"no {text} in {program.output}"
        time.sleep(0.2)


@pytest.fixture
def terminal(tmp_path):
    """Makes terminals of any size and environment."""
    made = []

    def make(*arguments, **variables):
        directory = tmp_path / f"terminal{len(made)}"
        directory.mkdir()
        made.append(Terminal(directory, *arguments, **variables))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def top(terminal):
    """Starts `oncewatch top` in a new terminal; its first screen is there."""
    def make(address, *size, flags="", **variables):
        screen = terminal(*size, **variables)
        screen.shell(f"{BIN} top --admin-addr {address} {flags}; echo exit=$?")
        screen.until("Now]")
        return screen

    return make


@pytest.fixture(autouse=True, scope="session")
def nothing_stays():
    """Ends the sidecars that a failed test left."""
    yield
    for program in Program.made:
        program.end()
