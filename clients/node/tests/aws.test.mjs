// The real SDK against a scripted server: which events the sidecar gets, and that the application notices nothing.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import path from 'node:path';
import test, { after, before, beforeEach } from 'node:test';
import {
  DynamoDB,
  DynamoDBClient,
  ExecuteTransactionCommand,
  ListTablesCommand,
  TransactWriteItemsCommand,
} from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, TransactWriteCommand } from '@aws-sdk/lib-dynamodb';
import * as otel from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { fingerprint, oncewatch, stats } from '../index.mjs';
import { Collector, DynamoStub, serviceError, temporaryDirectory } from './peers.mjs';

const { transport } = createRequire(import.meta.url)('../src/transport.cjs');
const ITEMS = [{ Put: { TableName: 'orders', Item: { id: { S: 'é1' }, n: { N: '1' } } } }];

const API = 'dynamodb.TransactWriteItems';
let collector;
let dynamo;
const cleanups = [];

before(async () => {
  const context = { after: (cleanup) => cleanups.push(cleanup) };
  process.env.ONCEWATCH_SOCKET = path.join(temporaryDirectory(context), 'events.sock');
  collector = await Collector.at(process.env.ONCEWATCH_SOCKET);
  cleanups.push(() => collector.close());
  dynamo = await DynamoStub.start(context);
});
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});
beforeEach(() => {
  collector.forget();
  dynamo.script = [];
  dynamo.requests = [];
});

function settings(more = {}) {
  return {
    endpoint: dynamo.url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'x', secretAccessKey: 'y' },

    ...more,
  };
}

function makeClient(more) {
  const client = new DynamoDBClient(settings(more));
  client.middlewareStack.use(oncewatch());
  return client;
}

const write = (more) => new TransactWriteItemsCommand({ TransactItems: ITEMS, ...more });
const summary = (events) => events.map((event) => [event.type, event.attempt ?? event.attempts, event.outcome, event.error]);

test('success tells everything', async () => {
  const tables = [
    { TableName: 'a', CapacityUnits: 4, WriteCapacityUnits: 4 },
    { TableName: 'b', CapacityUnits: 2.5, ReadCapacityUnits: 0.5, WriteCapacityUnits: 2 },
  ];
  dynamo.script = [{ body: JSON.stringify({ ConsumedCapacity: tables }) }];
  const answer = await makeClient().send(write({ ClientRequestToken: 'tok-é', ReturnConsumedCapacity: 'TOTAL' }));
  assert.deepEqual(answer.ConsumedCapacity, tables);
  const [start, end, over] = await collector.wait(3);
  const { headers, body } = dynamo.requests[0];
  const { fp, fpRaw } = fingerprint(API, body, 'ClientRequestToken', ['ReturnConsumedCapacity']);
  const common = {
    api: API,
    token: 'tok-é',
    call: headers['amz-sdk-invocation-id'],
    client: `${process.env.HOSTNAME || (await import('node:os')).hostname()}/${process.pid}`,
    scope: 'eu-west-1',
  };
  const maximum = { attempt: 1, max_attempts: Number(/max=(\d+)/.exec(headers['amz-sdk-request'])[1]) };
  const { at: startAt, ...startFields } = start;
  assert.deepEqual(startFields, { type: 'attempt_start', ...common, ...maximum, fp, fp_raw: fpRaw, token_origin: 'caller' });
  const { at: endAt, duration_ms: duration, ...endFields } = end;
  const answered = { outcome: 'ok', http_status: 200, request_id: 'REQ1' };
  assert.deepEqual(endFields, { type: 'attempt_end', ...common, attempt: 1, ...answered, read_units: 0.5, write_units: 6 });
  const { at: overAt, duration_ms: callDuration, ...overFields } = over;
  assert.deepEqual(overFields, { type: 'call_end', ...common, attempts: 1, ...answered });
  assert.ok(duration > 0 && duration <= callDuration && callDuration < 5000);
  assert.ok(startAt <= endAt && endAt <= overAt && Math.abs(Date.now() / 1000 - overAt) < 5);
});

test('a token made by the SDK is read from the body', async () => {
  await makeClient().send(new ExecuteTransactionCommand({ TransactStatements: [{ Statement: 'SELECT 1' }] }));
  const [start] = await collector.wait(3);
  assert.equal(start.api, 'dynamodb.ExecuteTransaction');
  assert.equal(start.token_origin, 'sdk');
  assert.equal(start.token, JSON.parse(dynamo.requests[0].body).ClientRequestToken);
});

test('a token made by a middleware of the application is the caller\'s', async () => {
  for (const priority of ['high', 'low']) {
    collector.forget();
    const client = makeClient();
    const giveToken = (next) => (args) => next({ ...args, input: { ...args.input, ClientRequestToken: 'own' } });
    client.middlewareStack.add(giveToken, { step: 'initialize', priority });
    await client.send(write());
    const [start] = await collector.wait(3);
    assert.deepEqual([start.token, start.token_origin], ['own', 'caller']);
  }
});

for (const retryMode of ['standard', 'adaptive']) {
  test(`retries are attempts of one call, ${retryMode}`, async () => {
    dynamo.script = [serviceError(400, 'TransactionInProgressException'), serviceError(500, 'InternalServerError')];
    await makeClient({ retryMode, maxAttempts: 4 }).send(write());
    const events = await collector.wait(7);
    assert.deepEqual(summary(events), [
      ['attempt_start', 1, undefined, undefined],
      ['attempt_end', 1, 'error', 'TransactionInProgressException'],
      ['attempt_start', 2, undefined, undefined],
      ['attempt_end', 2, 'error', 'InternalServerError'],
      ['attempt_start', 3, undefined, undefined],
      ['attempt_end', 3, 'ok', undefined],
      ['call_end', 3, 'ok', undefined],
    ]);
    for (const name of ['call', 'token', 'client']) assert.equal(new Set(events.map((event) => event[name])).size, 1);
    const starts = collector.of('attempt_start');
    assert.deepEqual(starts.map((event) => event.max_attempts), [4, 4, 4]);
    assert.equal(new Set(starts.map((event) => event.fp_raw)).size, 1);
  });
}

test('a call that runs out of attempts', async () => {
  dynamo.script = [serviceError(400, 'ThrottlingException'), serviceError(400, 'ThrottlingException')];
  await assert.rejects(makeClient({ maxAttempts: 2 }).send(write()), { name: 'ThrottlingException' });
  const events = await collector.wait(5);
  assert.deepEqual(summary(events.slice(-2)), [
    ['attempt_end', 2, 'error', 'ThrottlingException'],
    ['call_end', 2, 'error', 'ThrottlingException'],
  ]);
});

test('a lost answer, then success', async () => {
  dynamo.script = [{ failure: 'timeout' }];
  // Long enough for the second attempt on a busy machine.
  await makeClient({ requestHandler: { requestTimeout: 1000, throwOnRequestTimeout: true } }).send(write());
  const events = await collector.wait(5);
  assert.deepEqual(events.map((event) => event.outcome), [undefined, 'no_response', undefined, 'ok', 'ok']);
  assert.ok(collector.of('attempt_end')[0].duration_ms >= 990);
});

test('a requestTimeout that only warns is no end of the attempt', async () => {
  dynamo.script = [{ hangMs: 400 }];
  const logger = { warn: () => {}, debug: () => {}, info: () => {}, error: () => {} };
  await makeClient({ requestHandler: { requestTimeout: 50, logger } }).send(write());
  const [, end] = await collector.wait(3);
  assert.equal(end.outcome, 'ok');
  assert.ok(end.duration_ms >= 390);
});

test('an aborted call is no response', async () => {
  dynamo.script = [{ failure: 'timeout' }];
  const abort = new AbortController();
  const sent = makeClient().send(write(), { abortSignal: abort.signal });
  setTimeout(() => abort.abort(), 50);
  await assert.rejects(sent, { name: 'AbortError' });
  assert.deepEqual(summary(await collector.wait(3)).slice(1), [
    ['attempt_end', 1, 'no_response', undefined],
    ['call_end', 1, 'no_response', undefined],
  ]);
});

test('a call that never reached the wire is silent', async () => {
  const credentials = async () => {
    throw new Error('no credentials');
  };
  await assert.rejects(makeClient({ credentials }).send(write()), /no credentials/);
  await collector.wait(0);
});

test('other operations are silent', async () => {
  dynamo.script = [{ body: '{"TableNames":[]}' }];
  assert.deepEqual((await makeClient().send(new ListTablesCommand({}))).TableNames, []);
  await collector.wait(0);
});

test('using the plugin twice reports once, with the later scope', async () => {
  const client = makeClient();
  client.middlewareStack.use(oncewatch({ scope: '123456789012/eu-west-1' }));
  await client.send(write());
  const events = await collector.wait(3);
  assert.deepEqual(new Set(events.map((event) => event.scope)), new Set(['123456789012/eu-west-1']));
});

test('the aggregated client and the document client', async () => {
  const aggregated = new DynamoDB(settings());
  aggregated.middlewareStack.use(oncewatch());
  await aggregated.transactWriteItems({ TransactItems: ITEMS });
  await collector.wait(3);
  const documents = DynamoDBDocumentClient.from(new DynamoDBClient(settings()));
  documents.middlewareStack.use(oncewatch());
  await documents.send(new TransactWriteCommand({ TransactItems: [{ Put: { TableName: 'orders', Item: { id: '1' } } }] }));
  const events = await collector.wait(6);
  assert.deepEqual(events.map((event) => event.token_origin), ['sdk', undefined, undefined, 'sdk', undefined, undefined]);
});

test('calls at the same time stay apart, also with cached handlers', async () => {
  const client = makeClient({ cacheMiddleware: true });
  await Promise.all(Array.from({ length: 40 }, (_, n) => client.send(write({ ClientRequestToken: `t${n}` }))));
  const events = await collector.wait(120);
  const byCall = Map.groupBy ? Map.groupBy(events, (event) => event.call) : groupBy(events);
  assert.equal(byCall.size, 40);
  for (const [, own] of byCall) {
    assert.deepEqual(own.map((event) => event.type), ['attempt_start', 'attempt_end', 'call_end']);
    assert.equal(new Set(own.map((event) => event.token)).size, 1);
  }
});

function groupBy(events) {
  const groups = new Map();
  for (const event of events) groups.set(event.call, [...(groups.get(event.call) ?? []), event]);
  return groups;
}

test('a middleware that drops unknown arguments costs only the end of the call', async () => {
  const client = makeClient();
  client.middlewareStack.add((next) => ({ input }) => next({ input }), { step: 'initialize', priority: 'low' });
  await client.send(write());
  assert.deepEqual(summary(await collector.wait(2)), [
    ['attempt_start', 1, undefined, undefined],
    ['attempt_end', 1, 'ok', undefined],
  ]);
});

test('the current span is the parent', async () => {
  otel.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const spanContext = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1 };
  const active = otel.trace.setSpan(otel.context.active(), otel.trace.wrapSpanContext(spanContext));
  await otel.context.with(active, () => makeClient().send(write()));
  otel.context.disable();
  const [start] = await collector.wait(3);
  assert.equal(start.traceparent, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
});

test('the sender does not hold on to the request that woke it', async () => {
  const storage = new AsyncLocalStorage();
  const seen = [];
  const write = transport.write.bind(transport);
  transport.write = () => {
    seen.push(storage.getStore());
    return write();
  };
  await storage.run('a request', () => makeClient().send(new TransactWriteItemsCommand({ TransactItems: ITEMS })));
  await collector.wait(3);
  delete transport.write;
  assert.ok(seen.length > 0);
  assert.deepEqual(new Set(seen), new Set([undefined]));
});

test('the SDK sends and returns the same with and without the plugin', async () => {
  const command = () => write({ ClientRequestToken: 'same', ReturnConsumedCapacity: 'TOTAL' });
  const plain = await new DynamoDBClient(settings()).send(command());
  const watched = await makeClient().send(command());
  await collector.wait(3);
  const [first, second] = dynamo.requests;
  assert.deepEqual(second.body, first.body);
  assert.deepEqual(Object.keys(second.headers), Object.keys(first.headers));
  assert.deepEqual(Object.keys(watched), Object.keys(plain));
  const refusal = { ...serviceError(400, 'TransactionCanceledException') };
  dynamo.script = [refusal, refusal];
  const errors = [];
  for (const client of [new DynamoDBClient(settings()), makeClient()]) {
    await client.send(command()).catch((error) => errors.push(error));
  }
  assert.equal(errors[1].constructor, errors[0].constructor);
  assert.deepEqual(Object.keys(errors[1]), Object.keys(errors[0]));
});

test('a failure inside is counted and kept from the application', async () => {
  const before = stats().failures;
  const { send } = transport;
  transport.send = () => {
    throw new Error('inside oncewatch');
  };
  const answer = await makeClient().send(write());
  transport.send = send;
  assert.equal(answer.$metadata.httpStatusCode, 200);
  assert.ok(stats().failures > before);
  assert.match(stats().lastFailure, /inside oncewatch/);
  delete transport.send;
});

test('a start that was dropped leaves its fingerprints to the end', async () => {
  const put = transport.buffer.put.bind(transport.buffer);
  transport.buffer.put = (event) => event.type !== 'attempt_start' && put(event);
  await makeClient().send(write());
  delete transport.buffer.put;
  const [end] = await collector.wait(2);
  assert.equal(end.type, 'attempt_end');
  assert.equal(end.fp.length + end.fp_raw.length, 64);
});
