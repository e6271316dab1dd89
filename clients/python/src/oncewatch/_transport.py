"""Carries event lines to the sidecar without the application ever waiting.

The application's threads only append to a bounded buffer; one daemon thread,
started by the first event of a process, hashes, serialises and writes.
"""

from __future__ import annotations

import atexit
import os
import socket
import stat
import sys
import tempfile
import threading
import time
from typing import Any, Optional

from ._buffer import Buffer, Event
from ._event import client_name, quoted

CONNECT_INTERVAL_S = 5.0
FLUSH_S = 0.2
_NAP_S = 0.002
_BATCH_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 0.2
_WRITE_TIMEOUT_S = 1.0
# A connection lost sooner than this counts as nothing there, or an accept-and-close loop would be hammered.
_LIVED_S = 1.0
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


class Transport:
    """Sends lines over the sidecar's stream socket, or counts them as dropped.

    With nothing at the socket's path it is off: events are dropped at the cost
    of a comparison, and the first event after 5 s tries again.  A lost
    connection is replaced at once, going on with the first line that the old
    one did not take whole; lines that the kernel took and the sidecar never
    read are lost uncounted.
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
        self._batch_events = 0
        self._data = b""
        self._offset = 0
        self._reporting = 0

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
        """Wait until everything queued is written, for at most ``timeout_s``; True if it is."""
        deadline = time.monotonic() + timeout_s
        while self._buffer.pending:
            if self._thread is None or time.monotonic() >= deadline:
                return False
            self._buffer.wake()
            time.sleep(0.001)
        return True

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
            self._buffer.wait_for_work(_NAP_S)
            try:
                self._pump()
            except Exception as error:
                self.count_failure(error)
                self._disconnect()
                self._turn_off()

    def _pump(self) -> None:
        """Write everything that is queued, or turn off."""
        while self._offset < len(self._data) or self._load():
            if self._sock is not None and self._is_replaced():
                self._disconnect()
            if self._sock is None and not self._connect():
                self._turn_off()
                return
            self._write()

    def _load(self) -> bool:
        lines = []
        for event in self._buffer.take(_BATCH_BYTES):
            line = self._line(event)
            if line:
                lines.append(line)
        self._batch_events = len(lines)
        self._reporting = self._buffer.unreported
        if self._reporting and not self._is_off():
            lines.append(f'{{"type":"client_report","client":{quoted(self._client)},"dropped":{self._reporting}}}\n')
        else:
            self._reporting = 0
        self._data, self._offset = "".join(lines).encode("ascii"), 0
        if not lines:
            self._finish_batch()
        return bool(lines)

    def _line(self, event: Event) -> str:
        try:
            return event.line(self._client)
        except Exception as failure:
            self.count_failure(failure)
            self._buffer.count_dropped(1)
            return ""

    def _write(self) -> None:
        assert self._sock is not None
        try:
            self._offset += self._sock.send(memoryview(self._data)[self._offset :], _SEND_FLAGS)
        except socket.timeout:
            # The sidecar does not read; meanwhile the buffer fills and then drops.
            return
        except OSError:
            self._disconnect()
            if time.monotonic() - self._connected_at < _LIVED_S:
                self._turn_off()
            return
        if self._offset == len(self._data):
            self._buffer.count_reported(self._reporting)
            self.sent += self._batch_events
            self._finish_batch()

    def _finish_batch(self) -> None:
        self._buffer.release()
        self._batch_events, self._data, self._offset, self._reporting = 0, b"", 0, 0

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
        return True

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
        """Close, and go back to the start of the line that was being written."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._offset = self._data.rfind(b"\n", 0, self._offset) + 1

    def _turn_off(self) -> None:
        """Drop and count what is queued: later, the sidecar would judge it by the wrong time."""
        self._off_until = time.monotonic() + CONNECT_INTERVAL_S
        lines = self._data.count(b"\n", self._offset) - bool(self._reporting)
        self._buffer.count_dropped(max(lines, 0))
        self.sent += self._batch_events - max(lines, 0)
        self._finish_batch()
        self._buffer.discard()
