'use strict';

/**
 * Carries events to the sidecar without the application ever waiting.
 *
 * The hooks only append to a bounded buffer. A timer, some milliseconds after the first event, hashes, serialises and
 * writes. The socket is opened with `net`, so that the loop tells when the sidecar goes away, but written with
 * `fs.writeSync` on its descriptor: it is non-blocking, so that takes what the kernel takes at once, tells how much that
 * was, and works in the process's `exit` event, where the loop has stopped.
 */

const { AsyncResource } = require('node:async_hooks');
const { statSync, writeSync } = require('node:fs');
const net = require('node:net');
// Kept from here on: tests of applications put other clocks and timers into the globals.
const { setImmediate, setTimeout } = require('node:timers');
const { performance } = require('node:perf_hooks');
const { Buffer: EventBuffer } = require('./buffer.cjs');
const { clientName, line, reportLine } = require('./event.cjs');
const { socketPath } = require('./path.cjs');

const NEWLINE = 10;
const CONNECT_INTERVAL_MS = 5000;
const FLUSH_MS = 200;
const NAP_MS = 2;
const STALLED_NAP_MS = 20;
const BATCH_BYTES = 64 * 1024;
// So much is hashed and written before the loop gets its turn again: about a millisecond. One body may be longer.
const BATCH_EVENTS = 64;
const BATCH_BODY_BYTES = 16 * 1024;
// A connection lost sooner than this counts as nothing there, or an accept-and-close loop would be hammered.
const LIVED_MS = 1000;
const REPLACED_CHECK_MS = 1000;

const now = performance.now.bind(performance);
const EMPTY = Buffer.alloc(0);

/**
 * Sends events over the sidecar's stream socket, or counts them as dropped.
 *
 * With nothing at the socket's path it is off: events are dropped at the cost of a comparison, and the first event after
 * 5 s tries again. A lost connection is replaced at once, going on with the first line that the old one did not take
 * whole; lines that the kernel took and the sidecar never read are lost uncounted.
 */
class Transport {
  constructor() {
    this.client = clientName();
    this.failures = 0;
    this.lastFailure = undefined;
    this.sent = 0;
    this.buffer = new EventBuffer();
    this.offUntil = 0;
    this.scheduled = false;
    this.socket = undefined;
    this.connectedAt = 0;
    this.checkedAt = 0;
    this.identity = undefined;
    this.data = EMPTY;
    this.offset = 0;
    this.batchEvents = 0;
    this.reporting = 0;
    // Timers and sockets must not belong to the request, and its trace, that happens to send the first event.
    this.scope = new AsyncResource('oncewatch', { triggerAsyncId: 0 });
    this.pumpLater = () => this.guarded(() => this.pump());
    process.on('exit', () => this.guarded(() => this.flushSync(FLUSH_MS)));
  }

  /** False while a new attempt would only be dropped: nothing needs to be kept for it. */
  get accepting() {
    return !this.isOff() && !this.buffer.nearlyFull;
  }

  isOff() {
    return this.offUntil > 0 && now() < this.offUntil;
  }

  /** Queue one event; false if it was dropped (and counted). */
  send(event) {
    if (this.isOff()) {
      this.buffer.dropped += 1;
      return false;
    }
    const queued = this.buffer.put(event);
    if (!this.scheduled) this.schedule(NAP_MS);
    return queued;
  }

  /** Count an event that was not even made because `accepting` was false. */
  skip() {
    this.buffer.dropped += 1;
  }

  countFailure(error) {
    this.failures += 1;
    try {
      this.lastFailure = String(error).slice(0, 200);
    } catch {
      this.lastFailure = 'an error that has no text';
    }
  }

  stats() {
    return {
      connected: this.fd() >= 0,
      sent: this.sent,
      pending: this.buffer.pending,
      dropped: this.buffer.dropped,
      failures: this.failures,
      lastFailure: this.lastFailure,
    };
  }

  /** Wait at most `timeoutMs` until everything queued is written; true if it is. What is no finite number is 200 ms. */
  async flush(timeoutMs) {
    const deadline = now() + (Number.isFinite(timeoutMs) ? timeoutMs : FLUSH_MS);
    while (this.buffer.pending > 0) {
      this.guarded(() => this.pump());
      if (this.buffer.pending === 0) break;
      if (now() >= deadline) return false;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return true;
  }

  /** The same without the event loop: blocks the thread. */
  flushSync(timeoutMs) {
    const deadline = now() + timeoutMs;
    for (;;) {
      this.pump();
      if (this.buffer.pending === 0) return true;
      if (now() >= deadline) return false;
      Atomics.wait(SLEEPER, 0, 0, 2);
    }
  }

  guarded(work) {
    try {
      work();
    } catch (error) {
      this.countFailure(error);
      this.disconnect();
      this.turnOff();
    }
  }

  schedule(delayMs) {
    this.scheduled = true;
    this.scope.runInAsyncScope(() => {
      if (delayMs === 0) setImmediate(this.pumpLater).unref();
      else setTimeout(this.pumpLater, delayMs).unref();
    });
  }

  /** Write one batch, and come back for the rest. */
  pump() {
    this.scheduled = false;
    if (this.offset === this.data.length && !this.load()) {
      if (this.buffer.pending > 0) this.schedule(0);
      return;
    }
    // Closed already, and the news of it still to come: the next connection must not get the rest of a line.
    if (this.socket !== undefined && this.fd() < 0) this.lose(this.socket);
    if (this.fd() >= 0 && this.isReplaced()) this.disconnect();
    if (this.fd() < 0 && !this.connect()) {
      this.turnOff();
      return;
    }
    const stalled = !this.write();
    if (this.buffer.pending > 0 && !this.scheduled) this.schedule(stalled ? STALLED_NAP_MS : 0);
  }

  load() {
    let text = '';
    let bodyBytes = 0;
    while (this.batchEvents < BATCH_EVENTS && text.length < BATCH_BYTES) {
      const next = this.buffer.next?.call.body?.length ?? 0;
      if (bodyBytes > 0 && bodyBytes + next > BATCH_BODY_BYTES) break;
      bodyBytes += next;
      const event = this.buffer.take();
      if (event === undefined) break;
      const written = this.written(event);
      if (written !== '') {
        text += written;
        this.batchEvents += 1;
      }
    }
    this.reporting = this.isOff() ? 0 : this.buffer.unreported;
    if (this.reporting > 0) text += reportLine(this.client, this.reporting);
    this.data = Buffer.from(text);
    this.offset = 0;
    if (text === '') this.finishBatch();
    return text !== '';
  }

  written(event) {
    try {
      return line(event, this.client);
    } catch (error) {
      this.countFailure(error);
      this.buffer.dropped += 1;
      return '';
    }
  }

  /** False if the kernel took nothing or not everything. */
  write() {
    try {
      this.offset += writeSync(this.fd(), this.data, this.offset);
    } catch (error) {
      if (error.code === 'EAGAIN') return false;
      this.lose(this.socket);
      return true;
    }
    if (this.offset < this.data.length) return false;
    this.buffer.reported += this.reporting;
    this.sent += this.batchEvents;
    this.finishBatch();
    return true;
  }

  finishBatch() {
    this.buffer.release();
    this.data = EMPTY;
    this.offset = 0;
    this.batchEvents = 0;
    this.reporting = 0;
  }

  /** The connection's descriptor, or -1. Looked up each time: a closed socket's number is soon another file's. */
  fd() {
    return this.socket?._handle?.fd ?? -1;
  }

  connect() {
    if (this.isOff()) return false;
    const path = socketPath();
    const status = path && statSync(path, { throwIfNoEntry: false });
    if (!status?.isSocket()) return false;
    // The connection is made, or refused, before this returns; only the news of it comes later.
    const socket = this.scope.runInAsyncScope(() => net.connect({ path }));
    socket.on('error', () => {});
    socket.on('close', () => this.lose(socket));
    // The sidecar says nothing; reading is how its end is noticed.
    socket.resume();
    socket.unref();
    this.socket = socket;
    this.identity = { path, dev: status.dev, ino: status.ino };
    this.connectedAt = this.checkedAt = now();
    this.offUntil = 0;
    return this.fd() >= 0;
  }

  /** Whether another socket lies at the path; looked up once a second at most. */
  isReplaced() {
    if (now() - this.checkedAt < REPLACED_CHECK_MS) return false;
    this.checkedAt = now();
    const status = statSync(this.identity.path, { throwIfNoEntry: false });
    return status !== undefined && (status.dev !== this.identity.dev || status.ino !== this.identity.ino);
  }

  lose(socket) {
    if (socket !== this.socket) return;
    this.disconnect();
    if (now() - this.connectedAt < LIVED_MS) this.turnOff();
  }

  /** Close, and go back to the start of the line that was being written. */
  disconnect() {
    this.socket?.destroy();
    this.socket = undefined;
    this.offset = this.offset > 0 ? this.data.lastIndexOf(NEWLINE, this.offset - 1) + 1 : 0;
  }

  /** Drop and count what is queued: later, the sidecar would judge it by the wrong time. */
  turnOff() {
    this.offUntil = now() + CONNECT_INTERVAL_MS;
    let lines = this.reporting > 0 ? -1 : 0;
    for (let at = this.data.indexOf(NEWLINE, this.offset); at >= 0; at = this.data.indexOf(NEWLINE, at + 1)) lines += 1;
    const lost = Math.max(lines, 0);
    this.buffer.dropped += lost;
    this.sent += this.batchEvents - lost;
    this.finishBatch();
    this.buffer.discard();
  }
}

const SLEEPER = new Int32Array(new SharedArrayBuffer(4));

module.exports = { Transport, transport: new Transport() };
