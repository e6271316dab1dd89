// What one attempt costs the application, with a sidecar that reads, one that does not, and none.
//
// "hook": time in the calling code for begin and end of an attempt of a call (the SDK's middlewares add two function
// calls). "later": time per attempt that the same thread spends afterwards on hashing, serialising and writing. "SDK call":
// a TransactWriteItems by the real SDK against a server on loopback, without the plugin ("plain") and with it, in short
// turns within one process, so that both see the same noise; "added" is the median of the turns' differences of medians.
// A process of its own for each state: the client keeps its connection.

import { fork } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';

const STATES = ['up', 'stalled', 'absent'];
const HOOK_ATTEMPTS = 6000;
const HOOK_BURST = 10;
const SDK_ROUNDS = 60;
const SDK_CALLS_PER_ROUND = 20;
const WARM_UP_CALLS = 200;
const IGNORED_FIELDS = ['ReturnConsumedCapacity', 'ReturnItemCollectionMetrics'];

function bodyOf(token) {
  const update = {
    TableName: 'orders',
    Key: { id: { S: 'customer-000117' } },
    UpdateExpression: 'ADD balance :a SET #s = :s',
    ExpressionAttributeNames: { '#s': 'status' },
    ExpressionAttributeValues: { ':a': { N: '25' }, ':s': { S: 'paid' } },
  };
  const put = { TableName: 'payments', Item: { id: { S: token }, at: { N: '1790000000' }, by: { S: 'checkout' } } };
  return { TransactItems: [{ Update: update }, { Put: put }], ClientRequestToken: token };
}

const tokenOf = (n) => `6b8f7c1e-0d7e-4a53-9f8b-${String(n).padStart(12, '0')}`;

function quantiles(durationsUs) {
  const sorted = Float64Array.from(durationsUs).sort();
  return { median: sorted[sorted.length >> 1], p99: sorted[Math.floor(sorted.length * 0.99)] };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Microseconds per attempt in the calling code, and afterwards. */
async function measureHook(oncewatch, transport) {
  const calling = [];
  const later = [];
  const pump = transport.pump.bind(transport);
  transport.pump = () => {
    const { sent } = transport;
    const began = process.hrtime.bigint();
    pump();
    const attempts = (transport.sent - sent) / 2;
    if (attempts > 0) later.push(Number(process.hrtime.bigint() - began) / 1000 / attempts);
  };
  const before = oncewatch.stats();
  for (let n = 0; n < HOOK_ATTEMPTS; n += 1) {
    const token = tokenOf(n);
    const body = JSON.stringify(bodyOf(token));
    const options = { body, tokenField: 'ClientRequestToken', ignoredFields: IGNORED_FIELDS, call: token, scope: 'eu' };
    const details = { httpStatus: 200, requestId: '0123456789ABCDEF', writeUnits: 4 };
    const began = process.hrtime.bigint();
    oncewatch.begin('dynamodb.TransactWriteItems', token, options).end('ok', details);
    calling.push(Number(process.hrtime.bigint() - began) / 1000);
    // So that the buffer does not fill: an application waits for its answers, too.
    if (n % HOOK_BURST === 0) await pause(3);
  }
  delete transport.pump;
  const { sent, dropped } = oncewatch.stats();
  const counts = { sent: sent - before.sent, dropped: dropped - before.dropped };
  return { ...quantiles(calling.slice(HOOK_ATTEMPTS / 4)), later: quantiles(later).median, ...counts };
}

/** Microseconds per call of the real SDK, without and with the plugin. */
async function measureSdk(oncewatch, endpoint) {
  const { DynamoDBClient, TransactWriteItemsCommand } = await import('@aws-sdk/client-dynamodb');
  const clients = { plain: undefined, watched: undefined };
  for (const kind of Object.keys(clients)) {
    const credentials = { accessKeyId: 'x', secretAccessKey: 'y' };
    clients[kind] = new DynamoDBClient({ endpoint, region: 'eu-west-1', credentials });
  }
  clients.watched.middlewareStack.use(oncewatch.oncewatch());
  const durations = { plain: [], watched: [] };
  const call = async (kind, n) => {
    const began = process.hrtime.bigint();
    await clients[kind].send(new TransactWriteItemsCommand(bodyOf(tokenOf(n))));
    durations[kind].push(Number(process.hrtime.bigint() - began) / 1000);
  };
  let number = 0;
  for (let n = 0; n < WARM_UP_CALLS; n += 1) for (const kind of ['plain', 'watched']) await call(kind, (number += 1));
  durations.plain.length = durations.watched.length = 0;
  const added = [];
  for (let round = 0; round < SDK_ROUNDS; round += 1) {
    for (const kind of round % 2 ? ['plain', 'watched'] : ['watched', 'plain']) {
      for (let n = 0; n < SDK_CALLS_PER_ROUND; n += 1) await call(kind, (number += 1));
    }
    const medianOf = (kind) => quantiles(durations[kind].slice(-SDK_CALLS_PER_ROUND)).median;
    added.push(medianOf('watched') - medianOf('plain'));
  }
  return { plain: quantiles(durations.plain), watched: quantiles(durations.watched), added: quantiles(added).median };
}

/** The application: one state of the sidecar. */
async function measure() {
  const oncewatch = await import('../../index.mjs');
  const { transport } = createRequire(import.meta.url)('../../src/transport.cjs');
  const hook = await measureHook(oncewatch, transport);
  const sdk = await measureSdk(oncewatch, process.env.BENCH_ENDPOINT);
  process.send({ hook, sdk });
  process.disconnect();
}

/** The peers: a DynamoDB and a sidecar, in a process of their own. */
function servePeers() {
  const answer = Buffer.from('{}');
  const headers = { 'content-type': 'application/x-amz-json-1.0', 'x-amzn-requestid': 'R', 'content-length': answer.length };
  const dynamo = http.createServer((request, response) => {
    request.resume();
    request.on('end', () => response.writeHead(200, headers).end(answer));
  });
  const sidecar = net.createServer({ pauseOnConnect: process.env.BENCH_STATE === 'stalled' }, (connection) => {
    connection.on('error', () => {});
    if (process.env.BENCH_STATE === 'up') connection.resume();
  });
  dynamo.listen(0, '127.0.0.1', () => {
    const ready = () => process.send({ port: dynamo.address().port });
    if (process.env.BENCH_STATE === 'absent') ready();
    else sidecar.listen(process.env.ONCEWATCH_SOCKET, ready);
  });
  process.on('disconnect', () => process.exit(0));
}

const message = (child) => new Promise((resolve, reject) => {
  child.once('message', resolve);
  child.once('exit', (code) => reject(new Error(`a process of the benchmark ended with ${code}`)));
});

async function measureState(state, directory) {
  const script = fileURLToPath(import.meta.url);
  const env = { ...process.env, BENCH_STATE: state, ONCEWATCH_SOCKET: path.join(directory, `${state}.sock`) };
  const peers = fork(script, [], { env: { ...env, BENCH_ROLE: 'peers' } });
  const { port } = await message(peers);
  const application = fork(script, [], { env: { ...env, BENCH_ROLE: 'application', BENCH_ENDPOINT: `http://127.0.0.1:${port}` } });
  const figures = await message(application);
  peers.disconnect();
  return { state, ...figures };
}

function table(rows) {
  const lines = [
    '| sidecar | events sent / dropped | hook median | hook p99 | later, median | SDK call plain, median / p99 | with the plugin | added | hook / SDK call |',
    '|---|---|---|---|---|---|---|---|---|',
  ];
  const us = (value) => `${value.toFixed(1)} µs`;
  for (const { state, hook, sdk } of rows) {
    const pair = ({ median, p99 }) => `${median.toFixed(0)} / ${p99.toFixed(0)} µs`;
    const ratio = `${((100 * hook.median) / sdk.plain.median).toFixed(2)} %`;
    const counts = `${hook.sent} / ${hook.dropped}`;
    const hookCells = [us(hook.median), us(hook.p99), hook.sent > 0 ? us(hook.later) : '-'];
    const cells = [counts, ...hookCells, pair(sdk.plain), pair(sdk.watched), us(sdk.added), ratio];
    lines.push(`| ${state} | ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

async function main() {
  const { values } = parseArgs({ options: { json: { type: 'string' } } });
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'oncewatch-bench-'));
  try {
    const rows = [];
    for (const state of STATES) rows.push(await measureState(state, directory));
    console.log(table(rows));
    const bodyBytes = Buffer.byteLength(JSON.stringify(bodyOf(tokenOf(0))));
    console.log(`\nbody ${bodyBytes} bytes, Node.js ${process.version}, ${os.cpus().length} × ${os.cpus()[0]?.model ?? 'CPU'}`);
    const document = { language: 'node', runtime: process.version, unit: 'microseconds', body_bytes: bodyBytes, rows };
    if (values.json) fs.writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

const roles = { application: measure, peers: servePeers };
await (roles[process.env.BENCH_ROLE] ?? main)();
