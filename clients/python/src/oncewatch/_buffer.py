"""The bounded memory between the application's threads and the sidecar."""

from __future__ import annotations

import threading
from collections import deque
from typing import Optional, Protocol

EVENTS_MAX = 1000
BYTES_MAX = 256 * 1024
_ATTEMPT_EVENTS = 3
_ATTEMPT_BYTES = 2048
# What is only remembered of forgotten batches is small, but must not grow without end either.
_FORGOTTEN_MAX = 256


class Event(Protocol):
    """One event, not yet written as a line; ``size`` is what it counts for, in bytes, a body to be hashed included."""

    size: int

    def line(self, client: str) -> str: ...


class Batch:
    """Lines in the form in which they are sent, numbered from ``first`` to ``last``; ``reported`` is what a report of
    drops at their end accounts for."""

    __slots__ = ("data", "events", "first", "last", "reported", "size")

    def __init__(self, first: int, lines: list[str], reported: int, size: int) -> None:
        self.data = "".join(lines).encode("ascii")
        self.first, self.last = first, first + len(lines) - 1
        self.events, self.reported = len(lines) - bool(reported), reported
        self.size = size

    def cut(self, number: int) -> int:
        """Drop the lines up to ``number``, not all of them; returns how many events that were."""
        offset = 0
        for _ in range(number - self.first + 1):
            offset = self.data.index(b"\n", offset) + 1
        events = max(number - self.first + 1, 0)
        self.data, self.first, self.events = self.data[offset:], self.first + events, self.events - events
        return events


class Buffer:
    """At most 1000 events or 256 KiB whose way to the sidecar is not over; the newest is refused when full.

    An event waits here until :meth:`take` gives it out; what was taken occupies
    the buffer until it is released, or kept for the case that the connection
    breaks before the sidecar has read it.  Kept batches are the first to go
    when room is needed: they are most probably there already, and if not, they
    are counted as dropped in the end.

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
        self._kept: deque[Batch] = deque()
        self._kept_events = 0
        self._kept_bytes = 0
        # Number of the last line, events and reported drops of each batch.
        self._forgotten: deque[tuple[int, int, int]] = deque()
        self._moving = False
        self._dropped = 0
        self._reported = 0
        # Locked while the sender has nothing to do but wait for work.
        self._work = threading.Lock()
        self._work.acquire()
        self._waiting = False

    def put(self, event: Event) -> bool:
        """Take one event or count it as dropped; never waits for the sidecar."""
        with self._lock:
            pending = len(self._events) + self._taken_events + self._kept_events
            size = self._bytes + self._taken_bytes + self._kept_bytes + event.size
            if (pending >= EVENTS_MAX or size > BYTES_MAX) and not self._make_room(event.size):
                self._dropped += 1
                return False
            self._events.append(event)
            self._bytes += event.size
            if self._waiting:
                self._wake()
        return True

    def _make_room(self, size: int) -> bool:
        """Forget kept batches, the oldest first."""
        # A finalizer may have interrupted the sender right where it handles them.
        while self._kept and not self._moving:
            batch = self._unkeep()
            known = (batch.last, batch.events, batch.reported)
            if len(self._forgotten) == _FORGOTTEN_MAX:
                _, events, reported = self._forgotten.pop()
                known = (batch.last, batch.events + events, batch.reported + reported)
            self._forgotten.append(known)
            pending = len(self._events) + self._taken_events + self._kept_events
            if pending < EVENTS_MAX and self._bytes + self._taken_bytes + self._kept_bytes + size <= BYTES_MAX:
                return True
        return False

    def _unkeep(self) -> Batch:
        batch = self._kept.popleft()
        self._kept_events = self._kept_events - batch.events if self._kept else 0
        self._kept_bytes = self._kept_bytes - batch.size if self._kept else 0
        return batch

    def count_dropped(self, events: int) -> None:
        with self._lock:
            self._dropped += events

    def take(self, bytes_max: int) -> tuple[list[Event], int]:
        """The oldest events, at least one if there is any, and their size."""
        with self._lock:
            events: list[Event] = []
            size = 0
            while self._events and (not events or size + self._events[0].size <= bytes_max):
                event = self._events.popleft()
                events.append(event)
                size += event.size
            # An interrupt between two assignments of put() can leave the count wrong; it heals here.
            self._bytes = self._bytes - size if self._events else 0
            self._taken_events += len(events)
            self._taken_bytes += size
        return events, size

    def release(self, events: int, size: int) -> None:
        """What was taken is with the sidecar (or given up): its room is free."""
        with self._lock:
            self._taken_events -= events
            self._taken_bytes -= size

    def keep(self, batch: Batch) -> None:
        """What was taken is written, but the sidecar has not said yet that it has read it."""
        with self._lock:
            self._moving = True
            self.release(batch.events, batch.size)
            batch.size = len(batch.data)
            self._kept.append(batch)
            self._kept_events += batch.events
            self._kept_bytes += batch.size
            self._moving = False

    def settle(self, number: Optional[int]) -> int:
        """The sidecar has read the lines up to ``number`` (``None``: all); returns how many kept events that frees."""
        settled = 0
        with self._lock:
            self._moving = True
            while self._forgotten and (number is None or self._forgotten[0][0] <= number):
                settled += self._forgotten.popleft()[1]
            while self._kept and (number is None or self._kept[0].last <= number):
                settled += self._unkeep().events
            self._moving = False
        return settled

    def reclaim(self) -> list[Batch]:
        """The kept batches, to be sent again; those that were forgotten are lost."""
        with self._lock:
            self._moving = True
            while self._forgotten:
                _, events, reported = self._forgotten.popleft()
                self._dropped += events
                self._reported -= reported
            batches = []
            while self._kept:
                batch = self._unkeep()
                self._taken_events += batch.events
                self._taken_bytes += batch.size
                batches.append(batch)
            self._moving = False
        return batches

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
    def unwritten(self) -> int:
        return len(self._events) + self._taken_events

    @property
    def pending(self) -> int:
        """Events that are not yet written, or kept."""
        return self.unwritten + self._kept_events

    @property
    def awaits_answer(self) -> bool:
        """Whether anything is written of which the sidecar has not said yet that it has read it."""
        return bool(self._kept or self._forgotten)

    def nap(self, nap_s: float) -> None:
        """Let events gather; only :meth:`wake` ends it early."""
        self._work.acquire(timeout=nap_s)

    def wait_for_work(self, nap_s: float, patience_s: Optional[float]) -> None:
        """Wait until an event comes, for at most ``patience_s`` (``None``: for ever), and let more of them gather.

        No timer runs while the application does nothing, and no wake-up is
        paid for while the sender naps anyway.
        """
        with self._lock:
            if self._events:
                return
            self._waiting = True
        if self._work.acquire(timeout=-1 if patience_s is None else patience_s):
            self._work.acquire(timeout=nap_s)
        else:
            with self._lock:
                self._waiting = False

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
