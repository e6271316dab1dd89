// The way to the sidecar when the sidecar is absent, slow, gone or new.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import test, { beforeEach } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { collectorFor, temporaryDirectory, until } from './peers.mjs';

const require = createRequire(import.meta.url);
const { Buffer: EventBuffer } = require('../src/buffer.cjs');
const { newCall } = require('../src/event.cjs');
const { socketPath } = require('../src/path.cjs');
const { Transport } = require('../src/transport.cjs');

let socket;
let transport;

beforeEach((context) => {
  process.env.ONCEWATCH_SOCKET = path.join(temporaryDirectory(context), 'events.sock');
  socket = process.env.ONCEWATCH_SOCKET;
  transport = new Transport();
  context.after(() => {
    transport.disconnect();
    transport.turnOff();
    assert.equal(transport.failures, 0, transport.lastFailure);
  });
});

/** Three events, as `begin` and `end` make them. */
function report(token = 't', scope = undefined) {
  const call = newCall({ api: 'default', call: 'c', token, scope, tokenOrigin: 'caller' });
  for (const type of ['attempt_start', 'attempt_end', 'call_end']) {
    transport.send({ type, call, attempt: 1, at: Date.now(), outcome: { outcome: 'ok' }, bytes: 300 });
  }
}

async function statsAre(expected) {
  const matches = () => Object.entries(expected).every(([name, value]) => transport.stats()[name] === value);
  await until(matches, () => `${JSON.stringify(expected)}, have ${JSON.stringify(transport.stats())}`);
}

test('an absent socket is off, and drops are reported later', async (context) => {
  const before = performance.now();
  report();
  await until(() => !transport.accepting, 'off');
  assert.ok(transport.offUntil >= before + 5000 && transport.offUntil <= performance.now() + 5000);
  for (let n = 0; n < 10; n += 1) report();
  await statsAre({ dropped: 33, sent: 0, connected: false });
  const collector = await collectorFor(context, socket);
  report();
  assert.equal(transport.stats().dropped, 36, 'looked again before its time');
  transport.offUntil = performance.now();
  report('after');
  await collector.wait(4);
  assert.deepEqual(collector.events.map((event) => event.token), ['after', 'after', 'after', undefined]);
  const [told] = collector.of('client_report');
  assert.deepEqual([told.dropped, told.client], [36, transport.client]);
  await statsAre({ sent: 3, connected: true });
});

test('a socket file that nobody listens at is off', async () => {
  const server = net.createServer().listen(socket);
  await new Promise((resolve) => server.on('listening', resolve));
  const { ino } = fs.statSync(socket);
  fs.linkSync(socket, `${socket}.kept`);
  await new Promise((resolve) => server.close(resolve));
  fs.renameSync(`${socket}.kept`, socket);
  assert.equal(fs.statSync(socket).ino, ino);
  report();
  await statsAre({ dropped: 3, pending: 0, connected: false });
  assert.ok(!transport.accepting);
});

test('a path that is no socket is off', async () => {
  fs.writeFileSync(socket, '');
  report();
  await statsAre({ dropped: 3, pending: 0 });
  assert.equal(fs.readFileSync(socket, 'utf8'), '');
});

test('the default paths', (context) => {
  delete process.env.ONCEWATCH_SOCKET;
  const directory = temporaryDirectory(context);
  const saved = { XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR, TMPDIR: process.env.TMPDIR };
  context.after(() => Object.entries(saved).forEach(([k, v]) => (v === undefined ? delete process.env[k] : (process.env[k] = v))));
  Object.assign(process.env, { XDG_RUNTIME_DIR: directory, TMPDIR: directory });
  assert.ok(!fs.existsSync('/run/oncewatch/events.sock'), 'this machine runs a sidecar: absence cannot be told');
  assert.equal(socketPath(), undefined);
  const own = path.join(directory, `oncewatch-${process.getuid()}`);
  fs.mkdirSync(own, { mode: 0o700 });
  assert.equal(socketPath(), path.join(own, 'events.sock'));
  fs.chmodSync(own, 0o777);
  assert.equal(socketPath(), undefined, 'others can write there');
  fs.mkdirSync(path.join(directory, 'oncewatch'));
  fs.writeFileSync(path.join(directory, 'oncewatch', 'events.sock'), '');
  assert.equal(socketPath(), path.join(directory, 'oncewatch', 'events.sock'));
});

test('a server that never reads costs drops and no time', async (context) => {
  const collector = await collectorFor(context, socket);
  collector.paused = true;
  let slowest = 0;
  for (let n = 0; n < 3000; n += 1) {
    const began = performance.now();
    report(`token-${n}`);
    slowest = Math.max(slowest, performance.now() - began);
    if (n % 20 === 0) await sleep(3);
  }
  assert.ok(slowest < 100, `the application waited ${slowest} ms`);
  const held = transport.stats();
  assert.ok(held.dropped > 1000 && held.pending <= 1000 && held.pending > 0, JSON.stringify(held));
  assert.ok(transport.buffer.bytes + transport.buffer.takenBytes <= 256 * 1024);
  let loopDelay = 0;
  for (let n = 0; n < 20; n += 1) {
    const began = performance.now();
    await sleep(10);
    loopDelay = Math.max(loopDelay, performance.now() - began);
  }
  assert.ok(loopDelay < 100, `the event loop stood still for ${loopDelay} ms`);
  const began = performance.now();
  assert.equal(await transport.flush(200), false);
  assert.equal(transport.flushSync(200), false);
  assert.ok(performance.now() - began < 800);
  collector.resume();
  await statsAre({ pending: 0 });
  report('the end');
  const { dropped } = transport.stats();
  const reported = () => collector.of('client_report').reduce((sum, event) => sum + event.dropped, 0);
  const arrived = () => collector.events.length - collector.of('client_report').length;
  await until(() => reported() === dropped && arrived() + dropped === 9003, () => `${arrived()} + ${dropped}, told ${reported()}`);
  assert.equal(collector.events[0].token, 'token-0', 'the newest are dropped, not the oldest');
});

test('the buffer holds 1000 events or 256 KiB', () => {
  const buffer = new EventBuffer();
  const fill = (bytes) => {
    let count = 0;
    while (buffer.put({ bytes })) count += 1;
    return count;
  };
  assert.equal(fill(1), 1000);
  assert.ok(buffer.nearlyFull);
  buffer.take();
  assert.equal(fill(1), 0, 'what is not written yet still occupies the buffer');
  buffer.release();
  assert.equal(fill(1), 1);
  assert.equal(buffer.dropped, 3);
  buffer.discard();
  assert.deepEqual([buffer.pending, buffer.dropped], [0, 1003]);
  assert.equal(fill(16 * 1024), 16);
  buffer.take();
  assert.equal(fill(16 * 1024), 0);
});

test('a connection closed within a line: the next one gets whole lines from that one on', async (context) => {
  const held = [];
  const first = net.createServer({ pauseOnConnect: true }, (connection) => held.push(connection)).listen(socket);
  await new Promise((resolve) => first.on('listening', resolve));
  let count = 0;
  const isCut = () => transport.offset > 0 && transport.data[transport.offset - 1] !== 10;
  while (!isCut()) {
    assert.ok(count < 5000, 'the kernel never took a part of a line');
    // The kernel takes some 40 KB at a time or nothing: the batches must be larger.
    report(`token-${String(count).padStart(5, '0')}${'x'.repeat(480)}`, 's'.repeat(250));
    count += 1;
    if (count % 20 !== 0) continue;
    await sleep(3);
    if (transport.offset > 0 || transport.data.length === 0) continue;
    readOnce(held[0]);
    await until(() => transport.offset > 0 || transport.data.length === 0, 'the kernel takes some more');
  }
  assert.equal(transport.stats().dropped, 0);
  const cut = transport.data.subarray(transport.data.lastIndexOf(10, transport.offset) + 1);
  const cutLine = cut.subarray(0, cut.indexOf(10)).toString();
  transport.connectedAt -= 2000;
  // Also takes away the socket's file.
  first.close();
  const collector = await collectorFor(context, socket);
  for (const connection of held) connection.destroy();
  await until(() => transport.stats().pending === 0, 'all written');
  await until(() => collector.events.length > 0, 'the rest has come');
  assert.equal(collector.streams.length, 1);
  assert.equal(JSON.stringify(collector.events[0]), cutLine, 'the line that was cut comes first, and whole');
  const numbers = collector.events.map((event) => Number(event.token.slice(6, 11)));
  assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
  assert.equal(numbers.at(-1), count - 1);
  assert.equal(transport.stats().dropped, 0);
});

function readOnce(connection) {
  connection.once('data', () => connection.pause());
  connection.resume();
}

test('a connection that closed within a line, before its close is told', async (context) => {
  const collector = await collectorFor(context, socket);
  report('one');
  await collector.wait(3);
  report('two');
  transport.load();
  // As if the kernel had taken one line and a part of the next.
  transport.offset = transport.data.indexOf(10) + 9;
  transport.socket.destroy();
  transport.connectedAt -= 2000;
  transport.pump();
  await collector.wait(5);
  assert.equal(collector.streams.length, 2);
  assert.deepEqual(collector.of('attempt_end').map((event) => event.token), ['one', 'two']);
});

test('flush without a usable time waits its default', async (context) => {
  const held = [];
  const server = net.createServer({ pauseOnConnect: true }, (connection) => held.push(connection)).listen(socket);
  context.after(() => server.close());
  context.after(() => held.forEach((connection) => connection.destroy()));
  await new Promise((resolve) => server.on('listening', resolve));
  for (let n = 0; n < 1000 && transport.offset === transport.data.length; n += 1) {
    report('x'.repeat(500));
    if (n % 20 === 0) transport.pump();
  }
  assert.ok(transport.stats().pending > 0, 'nothing was stalled');
  for (const timeout of [NaN, '5s', undefined, Infinity]) {
    assert.equal(await Promise.race([transport.flush(timeout), sleep(3000, 'never')]), false, String(timeout));
  }
});

test('a batch is 64 events or 16 KiB of bodies, or one longer body', async (context) => {
  const collector = await collectorFor(context, socket);
  for (let n = 0; n < 30; n += 1) report();
  transport.pump();
  assert.equal(transport.sent, 64);
  transport.pump();
  assert.equal(transport.sent, 90);
  for (const length of [7000, 7000, 7000, 30_000, 30_000, 10]) {
    const call = newCall({ api: 'default', call: 'c', token: 't', body: 'x'.repeat(length) });
    transport.send({ type: 'attempt_start', call, attempt: 1, at: Date.now(), bytes: 300 + length });
  }
  const batches = [];
  while (transport.stats().pending > 0) {
    const { sent } = transport;
    transport.pump();
    batches.push(transport.sent - sent);
  }
  assert.deepEqual(batches, [2, 1, 1, 1, 1]);
  await collector.wait(96);
});

test('bodies without a token do not stop those behind them', async (context) => {
  const collector = await collectorFor(context, socket);
  for (let n = 0; n < 3; n += 1) {
    const call = newCall({ api: 'default', call: 'c', body: 'x'.repeat(12_000), tokenField: 't' });
    transport.send({ type: 'attempt_start', call, attempt: 1, at: Date.now(), bytes: 300 });
  }
  report();
  await collector.wait(3);
});

test('a slow reader gets every line once', async (context) => {
  const collector = await collectorFor(context, socket);
  collector.paused = true;
  for (let n = 0; n < 900; n += 1) {
    report(`${n}`);
    if (n % 50 === 0) await sleep(5);
    if (n === 700) collector.resume();
  }
  await statsAre({ pending: 0 });
  const { dropped, sent } = transport.stats();
  assert.equal(sent + dropped, 2700);
  await until(() => collector.events.filter((event) => event.token).length === sent, 'everything that was sent');
  const order = collector.events.filter((event) => event.token).map((event) => Number(event.token));
  assert.deepEqual(order, [...order].sort((a, b) => a - b));
});

test('a sidecar that restarts', async (context) => {
  const first = await collectorFor(context, socket);
  report('one');
  await first.wait(3);
  transport.connectedAt -= 2000;
  await first.close();
  await statsAre({ connected: false });
  const second = await collectorFor(context, socket);
  report('two');
  assert.deepEqual(new Set((await second.wait(3)).map((event) => event.token)), new Set(['two']));
  assert.equal(transport.stats().dropped, 0);
});

test('a socket file replaced while the old server lives', async (context) => {
  const old = await collectorFor(context, socket);
  report('one');
  await old.wait(3);
  fs.renameSync(socket, `${socket}.old`);
  const renewed = await collectorFor(context, socket);
  report('within the second');
  await old.wait(6);
  transport.checkedAt -= 2000;
  report('two');
  assert.deepEqual(new Set((await renewed.wait(3)).map((event) => event.token)), new Set(['two']));
  assert.equal(old.events.length, 6);
});

test('a server that closes at once is not hammered', async () => {
  let accepted = 0;
  const server = net.createServer((connection) => {
    accepted += 1;
    connection.destroy();
  });
  server.listen(socket);
  for (let n = 0; n < 100; n += 1) {
    report();
    await sleep(4);
  }
  server.close();
  assert.ok(accepted >= 1 && accepted <= 2, `${accepted} connections`);
  assert.ok(transport.stats().dropped > 0);
});

test('a descriptor that another file got is never written to', async (context) => {
  const collector = await collectorFor(context, socket);
  report('one');
  await collector.wait(3);
  const fd = transport.fd();
  transport.socket.destroy();
  const file = path.join(path.dirname(socket), 'another');
  const opened = [];
  do opened.push(fs.openSync(file, 'a'));
  while (opened.at(-1) < fd);
  assert.ok(opened.includes(fd), 'the number was not given out again');
  transport.connectedAt -= 2000;
  report('two');
  await collector.wait(6);
  opened.forEach((each) => fs.closeSync(each));
  assert.equal(fs.readFileSync(file, 'utf8'), '');
});

test('nothing is opened or scheduled before the first event', () => {
  assert.equal(transport.socket, undefined);
  assert.equal(transport.scheduled, false);
});
