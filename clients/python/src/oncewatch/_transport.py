"""Carries event lines to the sidecar without the application ever waiting.

The application's threads only append to a bounded buffer; one daemon thread,
started by the first event of a process, hashes, serialises and writes.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import stat
import sys
import tempfile
import threading
import time
from collections import deque
from typing import Any, Optional

from ._buffer import Batch, Buffer, Event
from ._event import client_name, quoted

CONNECT_INTERVAL_S = 5.0
FLUSH_S = 0.2
# How long a sidecar that has acknowledged lines may be away: Kubernetes restarts it at once, then after 10 s.
HOLD_S = 15.0
# How long one that may be too old for acknowledgements has for its first.
ANSWER_S = 0.5
_NAP_S = 0.002
_BATCH_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 0.2
_WRITE_TIMEOUT_S = 1.0
# A connection lost sooner than this counts as nothing there, or an accept-and-close loop would be hammered.
_LIVED_S = 1.0
_PAUSE_FIRST_S = 0.02
_PAUSE_LAST_S = 0.1
_PATIENCE_FIRST_S = 0.005
_PATIENCE_LAST_S = 1.0
_ANSWER_BYTES = 4096
# A process does not wait longer than this at its end for a sidecar that has never answered.
_FLUSH_ANSWER_S = 0.05
# An application may have set SIGPIPE back to its default, which ends the process.
_SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)


def socket_path() -> Optional[str]:
    """``ONCEWATCH_SOCKET``, else the first default of the sidecar that exists; ``None`` if none does."""
    configured = os.environ.get("ONCEWATCH_SOCKET")
    if configured:
        return configured
    candidates = ["/run/oncewatch/events.sock"]
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if runtime_dir:
        candidates.append(os.path.join(runtime_dir, "oncewatch", "events.sock"))
    for candidate in candidates:
        if os.path.exists(candidate):
            return candidate
    return _private_temporary_path()


def _private_temporary_path() -> Optional[str]:
    """Anybody can create a directory in the temporary one: only this user's own may receive tokens."""
    directory = os.path.join(tempfile.gettempdir(), f"oncewatch-{os.getuid()}")
    try:
        status = os.lstat(directory)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        return None
    return os.path.join(directory, "events.sock")


def acknowledges() -> bool:
    """Whether the sidecar is asked for acknowledgements: unless ``ONCEWATCH_ACKNOWLEDGE`` says no."""
    return os.environ.get("ONCEWATCH_ACKNOWLEDGE", "").strip().lower() not in ("0", "off", "no", "false")


class Transport:
    """Sends lines over the sidecar's stream socket, or counts them as dropped.

    With nothing at the socket's path it is off: events are dropped at the cost
    of a comparison, and the first event after 5 s tries again.  A lost
    connection is replaced at once.

    The sidecar is asked to acknowledge what it has read; what it has not is
    sent again on the next connection, and a sidecar that has acknowledged
    lines may be away for 15 s before anything is dropped.  One that does not
    answer is spoken to without: then the next connection goes on with the first
    line that the lost one did not take whole, and lines that the kernel took
    and the sidecar never read are lost uncounted.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.last_failure: Optional[str] = None
        self._reset()
        atexit.register(self.flush)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _reset(self) -> None:
        self.sent = 0
        self._buffer = Buffer()
        self._thread: Optional[threading.Thread] = None
        self._starting = threading.Lock()
        self._client = client_name()
        self._off_until = 0.0
        self._sock: Optional[socket.socket] = None
        self._connected_at = 0.0
        self._checked_at = 0.0
        self._identity: Optional[tuple[str, int, int]] = None
        # What is to be written: the rest of the greeting, then the batches, the first one from the offset on.
        self._greeting = b""
        self._outgoing: deque[Batch] = deque()
        self._offset = 0
        self._session = os.urandom(16).hex()
        self._next_number = 1
        self._written = 0
        # The sidecar's answers on this connection: the begin of a line, and the highest number so far.
        self._answer = b""
        self._answered = False
        self._answer_due = 0.0
        self._read = 0
        # The last sidecar answered; the socket of one that did not, as far as its file tells.
        self._trusted = False
        self._silent: Optional[tuple[int, int, int]] = None
        self._hold_until = 0.0
        self._pause_s = 0.0
        self._patience_s = _PATIENCE_FIRST_S

    def _after_fork(self) -> None:
        """The parent's thread is not here, and its locks may be held for ever; its connection stays its own."""
        inherited = self._sock
        self._reset()
        if inherited is not None:
            inherited.close()

    @property
    def client(self) -> str:
        return self._client

    @property
    def accepting(self) -> bool:
        """False while a new attempt would only be dropped: nothing needs to be computed for it."""
        return not self._is_off() and not self._buffer.nearly_full

    def _is_off(self) -> bool:
        return self._off_until > 0 and time.monotonic() < self._off_until

    def send(self, event: Event) -> bool:
        """Queue one event; False if it was dropped (and counted)."""
        if self._is_off():
            self._buffer.count_dropped(1)
            return False
        queued = self._buffer.put(event)
        if self._thread is None:
            self._start()
        return queued

    def skip(self) -> None:
        """Count an event that was not even made because :attr:`accepting` was false."""
        self._buffer.count_dropped(1)

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until everything queued is written, and acknowledged by a sidecar that does so; True if it is.

        For at most ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while self._is_busy():
            if self._thread is None or time.monotonic() >= deadline:
                return False
            self._buffer.wake()
            time.sleep(0.001)
        return True

    def _is_busy(self) -> bool:
        if self._buffer.unwritten or self._answered:
            return self._buffer.pending > 0
        young = time.monotonic() - self._connected_at < _FLUSH_ANSWER_S
        return self._buffer.pending > 0 and (young or self._trusted)

    def count_failure(self, error: BaseException) -> None:
        """An error inside this library, kept from the application."""
        self.failures += 1
        try:
            self.last_failure = repr(error)[:200]
        except Exception:
            self.last_failure = "an error that has no text"

    def stats(self) -> dict[str, Any]:
        return {
            "connected": self._sock is not None,
            "acknowledged": self._answered,
            "sent": self.sent,
            "pending": self._buffer.pending,
            "dropped": self._buffer.dropped,
            "failures": self.failures,
            "last_failure": self.last_failure,
        }

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="oncewatch", daemon=True)
            thread.start()
            self._thread = thread
            # Processes of multiprocessing end without running atexit.
            util = sys.modules.get("multiprocessing.util")
            if util is not None:
                util.Finalize(None, self.flush, exitpriority=10)
        except RuntimeError as error:
            # No more threads, or the interpreter is going away.
            self.count_failure(error)
            self._turn_off()
        finally:
            self._starting.release()

    def _run(self) -> None:
        while True:
            try:
                self._rest()
                self._pump()
            except Exception as error:
                self.count_failure(error)
                self._disconnect()
                self._turn_off()

    def _rest(self) -> None:
        if self._outgoing:
            # For a sidecar that is expected back.
            self._buffer.nap(self._pause_s)
            return
        self._buffer.nap(_NAP_S)
        if not self._listen() or self._outgoing:
            return
        patience_s = None
        if self._buffer.awaits_answer:
            patience_s = self._patience_s
            self._patience_s = min(2 * patience_s, _PATIENCE_LAST_S)
        self._buffer.wait_for_work(_NAP_S, patience_s)

    def _pump(self) -> None:
        """Write everything that is queued, or wait for the sidecar to come back, or turn off."""
        while self._outgoing or self._load():
            if self._sock is not None and self._is_replaced():
                self._disconnect()
            if self._sock is None and not self._connect():
                self._hold_or_turn_off()
                return
            if not self._write() or (self._outgoing and not self._listen()):
                return

    def _load(self) -> bool:
        events, size = self._buffer.take(_BATCH_BYTES)
        lines = [line for line in map(self._line, events) if line]
        self._buffer.release(len(events) - len(lines), 0 if lines else size)
        reported = 0 if self._is_off() else self._buffer.unreported
        if reported:
            lines.append(f'{{"type":"client_report","client":{quoted(self._client)},"dropped":{reported}}}\n')
            self._buffer.count_reported(reported)
        if not lines:
            return False
        self._outgoing.append(Batch(self._next_number, lines, reported, size if len(lines) > bool(reported) else 0))
        self._next_number += len(lines)
        return True

    def _line(self, event: Event) -> str:
        try:
            return event.line(self._client)
        except Exception as failure:
            self.count_failure(failure)
            self._buffer.count_dropped(1)
            return ""

    def _write(self) -> bool:
        """One write; false if the connection is lost and nothing more is to be done for now."""
        assert self._sock is not None
        batch = self._outgoing[0]
        data = memoryview(batch.data)[self._offset :]
        try:
            taken = self._sock.send(self._greeting + data if self._greeting else data, _SEND_FLAGS)
        except socket.timeout:
            # The sidecar does not read; meanwhile the buffer fills and then drops.
            return True
        except OSError:
            return self._lose()
        greeted = min(taken, len(self._greeting))
        self._greeting = self._greeting[greeted:]
        self._offset += taken - greeted
        if self._offset == len(batch.data):
            self._outgoing.popleft()
            self._offset = 0
            self._written = max(self._written, batch.last)
            self._patience_s = _PATIENCE_FIRST_S
            if self._keeps():
                self._buffer.keep(batch)
            else:
                self._buffer.release(batch.events, batch.size)
                self.sent += batch.events
        return True

    def _keeps(self) -> bool:
        """Whether what is written on this connection is kept until the sidecar says that it has read it."""
        return self._answered or (self._answer_due > 0 and time.monotonic() < self._answer_due)

    def _listen(self) -> bool:
        """Take what the sidecar has acknowledged, without waiting; false if the connection is lost, as for a write."""
        if self._sock is None or self._answer_due == 0:
            return True
        if not self._take_answers():
            return self._lose()
        if not self._keeps() and self._buffer.awaits_answer:
            # Too old for a greeting: it has rejected that and read everything else.
            self._silent, self._trusted = self._socket_file(), False
            self.sent += self._buffer.settle(None)
        return True

    def _take_answers(self) -> bool:
        """False if no more will come."""
        assert self._sock is not None
        while True:
            try:
                # Not recv(), which would wait for as long as a write may.
                data = os.read(self._sock.fileno(), _ANSWER_BYTES)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                return False
            if not data:
                return False
            whole, newline, rest = (self._answer + data).rpartition(b"\n")
            # What is no answer must not be collected either.
            self._answer = rest[:_ANSWER_BYTES]
            if newline:
                self._settle(whole)
            if len(data) < _ANSWER_BYTES:
                return True

    def _settle(self, answers: bytes) -> None:
        """Each acknowledgement includes those before it: only the last one counts."""
        for answer in reversed(answers.split(b"\n")):
            number = acknowledged(answer)
            if number is None or number > self._last_sent():
                continue
            self._answered = self._trusted = True
            self._silent = None
            if number > self._read:
                self._read, self._patience_s = number, _PATIENCE_FIRST_S
                self._hold_until = self._pause_s = 0.0
                self.sent += self._buffer.settle(number)
            return

    def _last_sent(self) -> int:
        """Number of the last line that the kernel took whole."""
        if not self._offset:
            return self._written
        batch = self._outgoing[0]
        return max(self._written, batch.first - 1 + batch.data.count(b"\n", 0, self._offset))

    def _lose(self) -> bool:
        """The connection broke; true if another one may be made at once."""
        lived = time.monotonic() - self._connected_at >= _LIVED_S
        self._disconnect()
        if not lived:
            self._hold_or_turn_off()
        return lived

    def _connect(self) -> bool:
        if self._is_off():
            return False
        path = socket_path()
        if path is None:
            return False
        connection = None
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_CONNECT_TIMEOUT_S)
            connection.connect(path)
            connection.settimeout(_WRITE_TIMEOUT_S)
            status = os.stat(path)
        except OSError:
            if connection is not None:
                connection.close()
            return False
        self._sock = connection
        self._identity = (path, status.st_dev, status.st_ino)
        self._connected_at = self._checked_at = time.monotonic()
        self._off_until = 0.0
        if acknowledges() and self._socket_file() != self._silent:
            first = self._outgoing[0].first
            self._greeting = b'{"type":"hello","session":"%s","seq":%d}\n' % (self._session.encode(), first)
            self._answer_due = self._connected_at + (HOLD_S if self._trusted else ANSWER_S)
        return True

    def _socket_file(self) -> Optional[tuple[int, int, int]]:
        """Another one for each sidecar that has listened at the path, even if it got the same inode."""
        try:
            status = os.stat(self._identity[0]) if self._identity else None
        except OSError:
            return None
        return (status.st_dev, status.st_ino, status.st_mtime_ns) if status else None

    def _is_replaced(self) -> bool:
        """Whether another socket lies at the path; looked up once a second at most."""
        now = time.monotonic()
        if now - self._checked_at < 1.0 or self._identity is None:
            return False
        self._checked_at = now
        try:
            status = os.stat(self._identity[0])
        except OSError:
            return False
        return (status.st_dev, status.st_ino) != self._identity[1:]

    def _disconnect(self) -> None:
        """Close, and go back to the first line that the sidecar may not have read."""
        if self._sock is None:
            return
        if self._answer_due > 0:
            self._take_answers()
        if not self._keeps():
            # What the kernel took whole counts as read.
            self._read = max(self._read, self._last_sent())
            self.sent += self._buffer.settle(None)
        self._written = max(self._written, self._last_sent())
        self._sock.close()
        self._sock = None
        self._greeting = self._answer = b""
        self._answered, self._answer_due, self._offset = False, 0.0, 0
        self._outgoing.extendleft(reversed(self._buffer.reclaim()))
        if self._outgoing:
            events = self._outgoing[0].cut(self._read)
            self._buffer.release(events, 0)
            self.sent += events

    def _hold_or_turn_off(self) -> None:
        """Keep everything for a while for a sidecar that was there and acknowledged; give up on another one."""
        now = time.monotonic()
        if self._trusted and self._hold_until == 0:
            self._hold_until = now + HOLD_S
        if now < self._hold_until:
            self._pause_s = min(max(2 * self._pause_s, _PAUSE_FIRST_S), _PAUSE_LAST_S)
        else:
            self._turn_off()

    def _turn_off(self) -> None:
        """Drop and count what is queued: later, the sidecar would judge it by the wrong time."""
        self._off_until = time.monotonic() + CONNECT_INTERVAL_S
        self._trusted, self._hold_until, self._pause_s = False, 0.0, 0.0
        while self._outgoing:
            batch = self._outgoing.popleft()
            self._buffer.release(batch.events, batch.size)
            self._buffer.count_dropped(batch.events)
            self._buffer.count_reported(-batch.reported)
        self._buffer.discard()


def acknowledged(line: bytes) -> Optional[int]:
    """The number in an acknowledgement; ``None`` for any other line."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or answer.get("type") != "ack":
        return None
    number = answer.get("seq")
    return number if type(number) is int and number >= 0 else None
