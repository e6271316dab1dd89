"""The bounded queue between the application's threads and the sender."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

EVENTS_MAX = 1000
BYTES_MAX = 256 * 1024
_ATTEMPT_EVENTS = 3
_ATTEMPT_BYTES = 2048


class Batch(NamedTuple):
    """Whole lines for one write; they occupy the buffer until :meth:`Buffer.release`."""

    data: bytes
    events: int


class Buffer:
    """At most 1000 events or 256 KiB that are not yet written; the newest is refused when full.

    The lock is held for a few assignments and never during I/O.  It is
    re-entrant because a signal handler or a finalizer may report an event
    while this very thread is inside.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._taken = Batch(b"", 0)
        self._dropped = 0
        self._reported = 0
        # Locked while the sender has nothing to do but wait for work.
        self._work = threading.Lock()
        self._work.acquire()
        self._waiting = False

    def put(self, line: bytes) -> bool:
        """Take one line (with its newline) or count it as dropped; never waits for the sidecar."""
        with self._lock:
            events = len(self._lines) + self._taken.events
            if events >= EVENTS_MAX or self._bytes + len(self._taken.data) + len(line) > BYTES_MAX:
                self._dropped += 1
                return False
            self._lines.append(line)
            self._bytes += len(line)
            if self._waiting:
                self._wake()
        return True

    def count_dropped(self, events: int) -> None:
        with self._lock:
            self._dropped += events

    def take(self, bytes_max: int) -> Batch:
        """The oldest lines, at least one if there is any; only after the last batch was released."""
        with self._lock:
            lines: list[bytes] = []
            size = 0
            while self._lines and (not lines or size + len(self._lines[0]) <= bytes_max):
                line = self._lines.popleft()
                lines.append(line)
                size += len(line)
            # An interrupt between two assignments of put() can leave the count wrong; it heals here.
            self._bytes = self._bytes - size if self._lines else 0
            self._taken = Batch(b"".join(lines), len(lines))
        return self._taken

    def release(self) -> None:
        """The batch is written (or given up): its room is free."""
        with self._lock:
            self._taken = Batch(b"", 0)

    def discard(self) -> None:
        """Drop and count every line that has not been taken."""
        with self._lock:
            self._dropped += len(self._lines)
            self._lines.clear()
            self._bytes = 0

    @property
    def nearly_full(self) -> bool:
        """Whether an attempt begun now would hardly find room for its events."""
        events, size = len(self._lines) + self._taken.events, self._bytes + len(self._taken.data)
        return events + _ATTEMPT_EVENTS > EVENTS_MAX or size + _ATTEMPT_BYTES > BYTES_MAX

    @property
    def dropped(self) -> int:
        """Events dropped since the process started."""
        return self._dropped

    @property
    def unreported(self) -> int:
        """Dropped events of which the sidecar does not know yet."""
        return self._dropped - self._reported

    def count_reported(self, events: int) -> None:
        with self._lock:
            self._reported += events

    @property
    def pending(self) -> int:
        """Events that are not yet written."""
        return len(self._lines) + self._taken.events

    def wait_for_work(self, nap_s: float) -> None:
        """Nap so that events gather; with none after it, wait until one comes.

        No timer runs while the application does nothing, and no wake-up is
        paid for while the sender naps anyway.
        """
        self._work.acquire(timeout=nap_s)
        with self._lock:
            if self._lines:
                return
            self._waiting = True
        self._work.acquire()
        self._work.acquire(timeout=nap_s)

    def wake(self) -> None:
        """End a nap or a wait of the sender."""
        with self._lock:
            self._wake()

    def _wake(self) -> None:
        self._waiting = False
        try:
            self._work.release()
        except RuntimeError:
            # Already awake.
            pass
