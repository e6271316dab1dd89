"""The bounded queue between the application's threads and the sender."""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

EVENTS_MAX = 1000
BYTES_MAX = 256 * 1024
_ATTEMPT_EVENTS = 3
_ATTEMPT_BYTES = 2048


class Event(Protocol):
    """One event, not yet written as a line; ``size`` is what it counts for, in bytes, a body to be hashed included."""

    size: int

    def line(self, client: str) -> str: ...


class Buffer:
    """At most 1000 events or 256 KiB that are not yet written; the newest is refused when full.

    What :meth:`take` gave out occupies it until :meth:`release`.

    The lock is held for a few assignments and never during I/O.  It is
    re-entrant because a signal handler or a finalizer may report an event
    while this very thread is inside.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._taken_events = 0
        self._taken_bytes = 0
        self._dropped = 0
        self._reported = 0
        # Locked while the sender has nothing to do but wait for work.
        self._work = threading.Lock()
        self._work.acquire()
        self._waiting = False

    def put(self, event: Event) -> bool:
        """Take one event or count it as dropped; never waits for the sidecar."""
        with self._lock:
            pending = len(self._events) + self._taken_events
            if pending >= EVENTS_MAX or self._bytes + self._taken_bytes + event.size > BYTES_MAX:
                self._dropped += 1
                return False
            self._events.append(event)
            self._bytes += event.size
            if self._waiting:
                self._wake()
        return True

    def count_dropped(self, events: int) -> None:
        with self._lock:
            self._dropped += events

    def take(self, bytes_max: int) -> list[Event]:
        """The oldest events, at least one if there is any; only after those before were released."""
        with self._lock:
            events: list[Event] = []
            size = 0
            while self._events and (not events or size + self._events[0].size <= bytes_max):
                event = self._events.popleft()
                events.append(event)
                size += event.size
            # An interrupt between two assignments of put() can leave the count wrong; it heals here.
            self._bytes = self._bytes - size if self._events else 0
            self._taken_events, self._taken_bytes = len(events), size
        return events

    def release(self) -> None:
        """What was taken is written (or given up): its room is free."""
        with self._lock:
            self._taken_events = self._taken_bytes = 0

    def discard(self) -> None:
        """Drop and count every event that has not been taken."""
        with self._lock:
            self._dropped += len(self._events)
            self._events.clear()
            self._bytes = 0

    @property
    def nearly_full(self) -> bool:
        """Whether an attempt begun now would hardly find room for its events."""
        events, size = len(self._events) + self._taken_events, self._bytes + self._taken_bytes
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
        return len(self._events) + self._taken_events

    def wait_for_work(self, nap_s: float) -> None:
        """Nap so that events gather; with none after it, wait until one comes.

        No timer runs while the application does nothing, and no wake-up is
        paid for while the sender naps anyway.
        """
        self._work.acquire(timeout=nap_s)
        with self._lock:
            if self._events:
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
