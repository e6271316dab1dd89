// The API for everything that is not the AWS SDK, and the limits of the wire protocol.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import test, { after, before, beforeEach } from 'node:test';
import { begin, fingerprint, stats } from '../index.mjs';
import { Collector, temporaryDirectory, until } from './peers.mjs';

const require = createRequire(import.meta.url);
const { clientName } = require('../src/event.cjs');
const { transport } = require('../src/transport.cjs');
const LIMITS = { api: 128, token: 512, call: 64, fp: 64, fp_raw: 64, scope: 256, error: 128, request_id: 128, client: 128 };
const LINE_BYTES_MAX = 16 * 1024;
let collector;
let cleanup;

before(async () => {
  process.env.ONCEWATCH_SOCKET = path.join(temporaryDirectory({ after: (work) => (cleanup = work) }), 'events.sock');
  collector = await Collector.at(process.env.ONCEWATCH_SOCKET);
});
after(async () => {
  await collector.close();
  cleanup();
});
beforeEach(() => collector.forget());

test('one attempt is a call of its own', async () => {
  const attempt = begin('stripe', 'key-1', { body: '{"amount":1}', scope: 'acct_1' });
  attempt.end('ok', { httpStatus: 200, requestId: 'req_1' });
  attempt.end('error');
  attempt.endCall();
  const [start, end, over] = await collector.wait(3);
  assert.equal(start.fp, fingerprint('stripe', '{"amount":1}').fp);
  assert.deepEqual([start.attempt, start.token_origin, start.scope, start.api], [1, 'caller', 'acct_1', 'stripe']);
  assert.deepEqual([end.outcome, end.http_status, end.request_id], ['ok', 200, 'req_1']);
  assert.equal(new Set([start.call, end.call, over.call]).size, 1);
  assert.deepEqual([over.type, over.attempts], ['call_end', 1]);
});

test('several attempts of one call', async () => {
  const common = { call: 'c1', fp: 'f'.repeat(32), maxAttempts: 3 };
  begin('stripe', 'key', common).end('no_response');
  const second = begin('stripe', 'key', { ...common, attempt: 2 });
  second.end('error', { error: 'idempotency_error', httpStatus: 400 });
  second.endCall();
  second.endCall();
  const events = await collector.wait(5);
  assert.deepEqual(events.map(({ type, attempt, attempts }) => [type, attempt ?? attempts]), [
    ['attempt_start', 1],
    ['attempt_end', 1],
    ['attempt_start', 2],
    ['attempt_end', 2],
    ['call_end', 2],
  ]);
  assert.deepEqual([events[4].outcome, events[4].error, events[2].max_attempts], ['error', 'idempotency_error', 3]);
});

test('an end of the call without an end of the attempt is no response', async () => {
  begin('http', 'key', { call: 'c' }).endCall();
  assert.deepEqual((await collector.wait(3)).map((event) => event.outcome), [undefined, 'no_response', 'no_response']);
});

test('an error without code and status still makes a valid event', async () => {
  begin('http', 'key').end('error', { error: '' });
  begin('http', 'key').end('nonsense');
  await collector.wait(6);
  const ends = collector.of('attempt_end').map((event) => [event.outcome, event.error]);
  assert.deepEqual(ends, [['error', 'UnknownError'], ['no_response', undefined]]);
});

test('the body is hashed as it was at the beginning', async () => {
  const body = Buffer.from('{"amount":1}');
  const attempt = begin('stripe', 'key', { body });
  body.fill(0x20);
  attempt.end();
  assert.equal((await collector.wait(3))[0].fp, fingerprint('stripe', '{"amount":1}').fp);
});

test('a body that would fill the buffer is hashed at once', async () => {
  const body = JSON.stringify({ text: 'x'.repeat(300_000), key: 'k' });
  begin('stripe', 'key', { body, tokenField: 'key' }).end();
  const [start] = await collector.wait(3);
  assert.equal(start.fp, undefined);
  assert.equal(start.fp_raw, fingerprint('stripe', body, 'key').fpRaw);
});

/** What waits after `work`, in events and in the bytes that the buffer counts; nothing is written meanwhile. */
function waitingAfter(work) {
  const { buffer } = transport;
  const before = [buffer.events.length, buffer.bytes];
  work();
  return { events: buffer.events.slice(before[0]), bytes: buffer.bytes - before[1] };
}

test('a body of 32 KiB waits and counts, a longer one is hashed at once', async () => {
  for (const [length, isWaiting] of [[32 * 1024, true], [32 * 1024 + 1, false]]) {
    const { events, bytes } = waitingAfter(() => begin('stripe', 'key', { body: 'x'.repeat(length) }).end());
    assert.equal(events[0].call.body !== undefined, isWaiting);
    assert.ok(isWaiting ? bytes > length : bytes < 2048, `${bytes} bytes counted`);
    assert.ok(bytes < length + 2048, 'the body counts once');
  }
  await collector.wait(6);
});

test('waiting bodies fill the 256 KiB', async () => {
  const before = stats().dropped;
  const { events } = waitingAfter(() => {
    for (let n = 0; n < 20; n += 1) begin('stripe', `key-${n}`, { body: 'x'.repeat(30_000) });
  });
  assert.equal(events.length, 8);
  assert.equal(stats().dropped - before, 12);
  await collector.wait(9);
});

test('the body of a start that was refused counts for the end that keeps it', async () => {
  const { buffer } = transport;
  const put = buffer.put.bind(buffer);
  const countedFor = (refused) => {
    buffer.put = (event) => !refused.includes(event.type) && put(event);
    const { events, bytes } = waitingAfter(() => begin('stripe', 'key', { body: 'x'.repeat(20_000) }).end());
    delete buffer.put;
    assert.equal(events.length, 3 - refused.length);
    return bytes;
  };
  for (const refused of [['attempt_start'], ['attempt_start', 'attempt_end']]) {
    const bytes = countedFor(refused);
    assert.ok(bytes > 20_000 && bytes < 22_000, `${bytes} bytes counted without ${refused}`);
  }
  await collector.wait(3);
});

test('texts of an answer wait within their limits', async () => {
  const long = 'é'.repeat(100_000);
  const { events, bytes } = waitingAfter(() => {
    begin('stripe', 'key', { traceparent: long }).end(long, { error: long, requestId: long });
  });
  const [start, end] = events;
  for (const text of [start.traceparent, end.outcome.error, end.outcome.requestId]) assert.equal(text, 'é'.repeat(64));
  assert.equal(end.outcome.outcome, 'no_response');
  assert.ok(bytes < 2048, `${bytes} bytes counted`);
  await collector.wait(3);
});

for (const unit of ['x', 'é', '\u{1f600}', '\x01', '\ud800']) {
  test(`every limit holds for ${JSON.stringify(unit)}`, async () => {
    const long = unit.repeat(5000);
    const options = { fp: long, fpRaw: long, call: long, scope: long, traceparent: long, maxAttempts: 2 ** 80 };
    const { client } = transport;
    process.env.HOSTNAME = long.replaceAll('\ud800', '\ufffd').slice(0, 400);
    transport.client = unit === '\x01' ? client : clientName();
    begin(long, long, options).end('error', {
      error: long,
      requestId: long,
      httpStatus: 2 ** 80,
      readUnits: NaN,
      writeUnits: Infinity,
    });
    const events = await collector.wait(2);
    transport.client = client;
    delete process.env.HOSTNAME;
    for (const line of Buffer.concat(collector.streams).toString().split('\n')) {
      assert.ok(Buffer.byteLength(line) <= LINE_BYTES_MAX);
      assert.doesNotMatch(line, /\\ud[89a-f]/);
    }
    for (const event of events) {
      for (const [name, limit] of Object.entries(LIMITS)) {
        if (!(name in event)) continue;
        const bytes = Buffer.byteLength(event[name]);
        assert.ok(bytes > 0 && bytes <= limit, `${name}: ${bytes}`);
      }
      for (const name of ['max_attempts', 'read_units', 'write_units', 'http_status']) assert.ok(!(name in event), name);
    }
  });
}

test('long tokens that begin alike stay apart, one at the limit stays whole', async () => {
  for (const last of 'ab') begin('default', 'x'.repeat(600) + last).end();
  begin('default', 'y'.repeat(512)).end();
  const tokens = new Set((await collector.wait(9)).map((event) => event.token));
  assert.deepEqual([...tokens].map((token) => token.length), [512, 512, 512]);
  assert.ok(tokens.has('y'.repeat(512)));
});

test('wrong types are counted and not thrown', async () => {
  const before = stats();
  for (const wrong of [undefined, null, 7, {}, Symbol('t')]) begin('default', wrong).end();
  begin('default', 't', null).end();
  begin(undefined, 't').end();
  assert.equal(stats().failures - before.failures, 7);
  assert.equal(stats().dropped - before.dropped, 21);
  begin('default', 't', { attempt: 'one', maxAttempts: 'two', fp: '', scope: 5 }).end('ok', {
    httpStatus: '200',
    writeUnits: '3',
    requestId: 7,
  });
  await until(() => collector.of('attempt_end').length === 1, 'the end');
  const [start] = collector.of('attempt_start');
  assert.deepEqual([start.attempt, 'max_attempts' in start, 'fp' in start, 'scope' in start], [1, false, false, false]);
  const [end] = collector.of('attempt_end');
  for (const name of ['http_status', 'write_units', 'request_id']) assert.ok(!(name in end), name);
  await until(() => collector.of('client_report').some((event) => event.dropped >= 21), 'the drops are reported');
});

test('a failure that has no text is counted and not thrown', () => {
  const before = stats().failures;
  const thrown = {
    get call() {
      throw Object.create(null);
    },
    get error() {
      throw Object.create(null);
    },
  };
  begin('default', 't', thrown).end();
  begin('default', 't').end('error', thrown);
  assert.equal(stats().failures - before, 2);
});

test('a body that is no body is counted and not thrown', async () => {
  const before = stats().failures;
  begin('default', 't', { body: 5 }).end();
  assert.equal(stats().failures - before, 1);
});

test('the client is host and process', () => {
  process.env.HOSTNAME = `orders-${'x'.repeat(300)}`;
  const name = clientName();
  delete process.env.HOSTNAME;
  assert.ok(name.startsWith('orders-') && name.endsWith(`/${process.pid}`) && name.length === 128);
  assert.equal(clientName(), `${require('node:os').hostname()}/${process.pid}`);
});

test('CommonJS and ESM share one instance', async () => {
  const common = require('../index.cjs');
  assert.equal(common.begin, begin);
  assert.equal(common.oncewatch, (await import('../index.mjs')).oncewatch);
});
