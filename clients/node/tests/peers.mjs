// The other ends of the client's two conversations: a sidecar that collects, a DynamoDB that follows a script.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const CLIENT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

export function temporaryDirectory(context) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'oncewatch-node-'));
  context.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export async function until(condition, what, timeoutMs = 5000) {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited ${timeoutMs} ms for ${typeof what === 'function' ? what() : what}`);
    await sleep(3);
  }
}

/** A stream socket server that keeps every byte, per connection. */
export class Collector {
  static async at(socketPath) {
    const collector = new Collector(socketPath);
    await new Promise((resolve) => collector.server.listen(socketPath, resolve));
    return collector;
  }

  constructor(socketPath) {
    this.path = socketPath;
    this.streams = [];
    this.connections = [];
    this.paused = false;
    this.server = net.createServer((connection) => {
      const index = this.streams.push(Buffer.alloc(0)) - 1;
      this.connections.push(connection);
      connection.on('error', () => {});
      connection.on('data', (data) => {
        this.streams[index] = Buffer.concat([this.streams[index], data]);
      });
      if (this.paused) connection.pause();
    });
  }

  resume() {
    this.paused = false;
    for (const connection of this.connections) connection.resume();
  }

  get events() {
    return this.streams.flatMap((stream) => {
      const lines = stream.toString().split('\n');
      return lines.slice(0, -1).map((line) => JSON.parse(line));
    });
  }

  of(type) {
    return this.events.filter((event) => event.type === type);
  }

  forget() {
    this.streams = this.streams.map(() => Buffer.alloc(0));
  }

  /** Exactly `count` events: also waits a moment for one too many. */
  async wait(count) {
    const have = () => `${count} events, have ${this.events.length}: ${JSON.stringify(this.events.slice(0, 9))}`;
    await until(() => this.events.length >= count, have);
    await sleep(20);
    assert.equal(this.events.length, count, have());
    return this.events;
  }

  async close() {
    for (const connection of this.connections) connection.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

export async function collectorFor(context, socketPath) {
  const collector = await Collector.at(socketPath);
  context.after(() => collector.close());
  return collector;
}

/** Speaks enough of DynamoDB's protocol for an SDK; answers by the script, then with plain success. */
export class DynamoStub {
  static async start(context) {
    const stub = new DynamoStub();
    await new Promise((resolve) => stub.server.listen(0, '127.0.0.1', resolve));
    stub.url = `http://127.0.0.1:${stub.server.address().port}`;
    context.after(() => {
      stub.server.closeAllConnections();
      stub.server.close();
    });
    return stub;
  }

  constructor() {
    this.script = [];
    this.requests = [];
    this.server = http.createServer((request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('error', () => {});
      request.on('end', () => {
        this.requests.push({ headers: request.headers, body: Buffer.concat(parts) });
        this.answer(this.script.shift() ?? {}, request.socket, response);
      });
    });
  }

  /** `step` is the answer of a vector in conformance/events.json, or `{ hangMs }` before one. */
  async answer(step, socket, response) {
    if (step.failure === 'timeout') return;
    if (step.hangMs) await sleep(step.hangMs);
    if (step.failure === 'reset') socket.resetAndDestroy();
    if (step.failure === 'close') socket.end();
    if (step.failure === 'reset' || step.failure === 'close' || socket.destroyed) return;
    const body = Buffer.from(step.body ?? '{}');
    const isCut = step.failure === 'truncated';
    const usual = { 'content-type': 'application/x-amz-json-1.0', 'x-amzn-requestid': `REQ${this.requests.length}` };
    response.writeHead(step.status ?? 200, {
      ...(step.headers ?? usual),
      'content-length': body.length + (isCut ? 100 : 0),
    });
    if (isCut) response.write(body, () => socket.end());
    else response.end(body);
  }
}

export function serviceError(status, code) {
  return { status, body: JSON.stringify({ __type: `com.amazonaws.dynamodb.v20120810#${code}`, message: 'scripted' }) };
}

/** Runs `code`, a module that has the client as `oncewatch`, in a process of its own. */
export function start(code, socketPath, flags = []) {
  const script = path.join(path.dirname(socketPath), 'application.mjs');
  fs.writeFileSync(script, `import * as oncewatch from ${JSON.stringify(path.join(CLIENT, 'index.mjs'))};\n${code}`);
  const child = spawn(process.execPath, [...flags, '--no-warnings', script], {
    env: { ...process.env, ONCEWATCH_SOCKET: socketPath, NODE_OPTIONS: '', NODE_TEST_CONTEXT: '' },
    cwd: CLIENT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const result = { child, stdout: '', stderr: '' };
  child.stdout.on('data', (data) => (result.stdout += data));
  child.stderr.on('data', (data) => (result.stderr += data));
  result.done = new Promise((resolve) => {
    child.on('close', (status, signal) => resolve({ ...result, status, signal }));
  });
  return result;
}

export async function run(code, socketPath, flags = []) {
  const started = start(code, socketPath, flags);
  const killer = setTimeout(() => started.child.kill('SIGKILL'), 20_000);
  const result = await started.done;
  clearTimeout(killer);
  return { ...result, stdout: started.stdout, stderr: started.stderr };
}
