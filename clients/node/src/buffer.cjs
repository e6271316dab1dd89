'use strict';

const EVENTS_MAX = 1000;
const BYTES_MAX = 256 * 1024;
const ATTEMPT_EVENTS = 3;
const ATTEMPT_BYTES = 2048;

/** At most 1000 events or 256 KiB that are not yet written, bodies that wait to be hashed included. */
class Buffer {
  constructor() {
    this.dropped = 0;
    this.reported = 0;
    this.bytes = 0;
    this.takenEvents = 0;
    this.takenBytes = 0;
    this.events = [];
    this.first = 0;
  }

  /** Take one event or count it as dropped: the newest is refused when full. */
  put(event) {
    if (this.pending >= EVENTS_MAX || this.bytes + this.takenBytes + event.bytes > BYTES_MAX) {
      this.dropped += 1;
      return false;
    }
    this.events.push(event);
    this.bytes += event.bytes;
    return true;
  }

  /** What `take` would give. */
  get next() {
    return this.events[this.first];
  }

  /** The oldest event, or undefined; it occupies the buffer until `release`. */
  take() {
    if (this.first === this.events.length) return undefined;
    const event = this.events[this.first];
    this.events[this.first] = undefined;
    this.first += 1;
    this.bytes -= event.bytes;
    this.takenEvents += 1;
    this.takenBytes += event.bytes;
    if (this.first === this.events.length) {
      this.events = [];
      this.first = 0;
    }
    return event;
  }

  /** What was taken is written, or given up. */
  release() {
    this.takenEvents = 0;
    this.takenBytes = 0;
  }

  /** Drop and count every event that has not been taken. */
  discard() {
    this.dropped += this.events.length - this.first;
    this.events = [];
    this.first = 0;
    this.bytes = 0;
  }

  /** Whether an attempt begun now would hardly find room for its events. */
  get nearlyFull() {
    return this.pending + ATTEMPT_EVENTS > EVENTS_MAX || this.bytes + this.takenBytes + ATTEMPT_BYTES > BYTES_MAX;
  }

  /** Events that are not yet written. */
  get pending() {
    return this.events.length - this.first + this.takenEvents;
  }

  /** Dropped events of which the sidecar does not know yet. */
  get unreported() {
    return this.dropped - this.reported;
  }
}

module.exports = { BYTES_MAX, Buffer, EVENTS_MAX };
