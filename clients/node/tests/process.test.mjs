// The client in processes that end in every way, in threads, and in children.

import assert from 'node:assert/strict';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { CLIENT, collectorFor, run, temporaryDirectory, until } from './peers.mjs';

async function setUp(context) {
  const socket = path.join(temporaryDirectory(context), 'events.sock');
  return { socket, collector: await collectorFor(context, socket) };
}

const REPORT = 'for (let i = 0; i < 250; i += 1) oncewatch.begin("default", String(i), { body: "{}" }).end();\n';
const EXPECTED = Array.from({ length: 750 }, (_, index) => String(Math.floor(index / 3)));

for (const [how, code, status] of [
  ['the loop is empty', '', 0],
  ['process.exit', 'process.exit(3);', 3],
  ['an uncaught exception', 'throw new Error("the application");', 1],
  ['an unhandled rejection', 'Promise.reject(new Error("the application"));', 1],
  ['process.exit in a handler of SIGTERM', 'process.once("SIGTERM", () => process.exit(7)); process.kill(process.pid, "SIGTERM"); setTimeout(() => {}, 5000);', 7],
]) {
  test(`everything is flushed at the end: ${how}`, async (context) => {
    const { socket, collector } = await setUp(context);
    const done = await run(REPORT + code, socket);
    assert.equal(done.status, status, done.stderr);
    await until(() => collector.events.length >= 750, () => `750 events, have ${collector.events.length}`);
    assert.deepEqual(collector.events.map((event) => event.token), EXPECTED);
  });
}

test('a connected, idle client does not keep the process alive', async (context) => {
  const { socket, collector } = await setUp(context);
  const began = Date.now();
  const code = 'oncewatch.begin("default", "t").end(); setTimeout(() => console.log(oncewatch.stats().connected), 100);';
  const done = await run(code, socket);
  assert.deepEqual([done.status, done.stdout, done.stderr], [0, 'true\n', '']);
  assert.ok(Date.now() - began < 5000);
  await collector.wait(3);
});

test('the end is not held up by a stalled sidecar', async (context) => {
  const { socket, collector } = await setUp(context);
  collector.paused = true;
  const code = `
    for (let n = 0; n < 3000; n += 1) {
      oncewatch.begin('default', 'x'.repeat(500)).end();
      if (n % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 4));
    }
    const ended = performance.now();
    process.on('exit', () => console.log(performance.now() - ended, oncewatch.stats().pending));
  `;
  const done = await run(code, socket);
  const [waited, pending] = done.stdout.split(' ').map(Number);
  assert.ok(pending > 0, 'nothing was stalled');
  assert.ok(waited > 150 && waited < 600, `${waited} ms`);
});

test('flush waits for what can be written', async (context) => {
  const { socket, collector } = await setUp(context);
  const code = `${REPORT} console.log(await oncewatch.flush(), oncewatch.stats().pending); process.kill(process.pid, 'SIGKILL');`;
  const done = await run(code, socket);
  assert.deepEqual([done.stdout, done.signal], ['true 0\n', 'SIGKILL']);
  await collector.wait(750);
});

test('without a sidecar the process ends and says nothing', async (context) => {
  const socket = path.join(temporaryDirectory(context), 'events.sock');
  const code = `${REPORT} process.on('exit', () => console.log(oncewatch.stats().dropped));`;
  const done = await run(code, socket);
  assert.deepEqual([done.status, done.stdout, done.stderr], [0, '750\n', '']);
});

test('a dead connection is no SIGPIPE and no error event', async (context) => {
  const socket = path.join(temporaryDirectory(context), 'events.sock');
  const server = net.createServer((connection) => setTimeout(() => connection.destroy(), 20)).listen(socket);
  await new Promise((resolve) => server.on('listening', resolve));
  const code = `
    process.on('SIGPIPE', () => console.log('SIGPIPE'));
    for (let n = 0; n < 40; n += 1) {
      oncewatch.begin('default', 't').end();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    console.log('alive', oncewatch.stats().failures);
  `;
  const done = await run(code, socket);
  server.close();
  assert.deepEqual([done.status, done.stdout.split('\n').at(-2), done.stderr], [0, 'alive 0', '']);
});

test('worker threads report for the same client over connections of their own', async (context) => {
  const { socket, collector } = await setUp(context);
  const code = `
    import { Worker } from 'node:worker_threads';
    const source = ${JSON.stringify(`require(${JSON.stringify(path.join(CLIENT, 'index.cjs'))}).begin('default', String(require('node:worker_threads').threadId)).end()`)};
    oncewatch.begin('default', 'main').end();
    const workers = Array.from({ length: 4 }, () => new Worker(source, { eval: true }));
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on('exit', resolve))));
  `;
  const done = await run(code, socket);
  assert.deepEqual([done.status, done.stderr], [0, '']);
  const events = await collector.wait(15);
  assert.deepEqual([...new Set(events.map((event) => event.token))].sort(), ['1', '2', '3', '4', 'main']);
  assert.equal(new Set(events.map((event) => event.client)).size, 1);
  assert.equal(collector.streams.length, 5);
});

test('forked children and cluster workers are clients of their own', async (context) => {
  const { socket, collector } = await setUp(context);
  const code = `
    import cluster from 'node:cluster';
    import { fork } from 'node:child_process';
    oncewatch.begin('default', 'parent').end();
    const script = ${JSON.stringify(path.join(CLIENT, 'tests', 'child.cjs'))};
    cluster.setupPrimary({ exec: script });
    const children = [fork(script), cluster.fork().process];
    await Promise.all(children.map((child) => new Promise((resolve) => child.on('exit', resolve))));
    console.log(JSON.stringify([process.pid, ...children.map((child) => child.pid)]));
  `;
  const done = await run(code, socket);
  assert.deepEqual([done.status, done.stderr], [0, '']);
  const events = await collector.wait(9);
  const pids = (token) => new Set(events.filter((event) => event.token === token).map((event) => Number(event.client.split('/').at(-1))));
  const [parent, ...children] = JSON.parse(done.stdout);
  assert.deepEqual([pids('parent'), pids('child')], [new Set([parent]), new Set(children)]);
  assert.equal(collector.streams.length, 3);
});

test('a child does not inherit the connection', async (context) => {
  const { socket, collector } = await setUp(context);
  const code = `
    import { spawn } from 'node:child_process';
    oncewatch.begin('default', 't').end();
    await oncewatch.flush();
    spawn('sleep', ['5'], { stdio: 'ignore', detached: true }).unref();
  `;
  const ended = new Promise((resolve) => collector.server.on('connection', (connection) => connection.on('end', resolve)));
  const began = Date.now();
  await run(code, socket);
  await ended;
  assert.ok(Date.now() - began < 4500, 'the sidecar saw the end of the client only with its child');
});
