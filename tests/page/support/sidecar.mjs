// Real processes of oncewatch, on sockets and ports of their own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE_MS = 20_000;

/** Asks until there is an answer; fails with what was waited for. */
export async function until(what, ready, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  for (;;) {
    const value = await ready();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

class Process {
  constructor(args) {
    this.said = '';
    this.child = spawn(process.env.ONCEWATCH_BIN, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (text) => (this.said = (this.said + text).slice(-100_000)));
    this.ended = once(this.child, 'exit');
  }

  async matches(pattern) {
    return until(String(pattern), () => {
      if (this.child.exitCode !== null) throw new Error(`it ended with ${this.child.exitCode}: ${this.said}`);
      return pattern.exec(this.said);
    });
  }

  async api(path) {
    const response = await fetch(`${this.url}/api/v1/${path}`);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Ends it; how many milliseconds that took. */
  async end() {
    const begun = performance.now();
    if (this.child.exitCode === null) this.child.kill('SIGTERM');
    const killer = setTimeout(() => this.child.kill('SIGKILL'), PATIENCE_MS);
    await this.ended;
    clearTimeout(killer);
    return performance.now() - begun;
  }
}

/** `oncewatch demo`, for as long as the tests take. */
export class Demo extends Process {
  static async start(...flags) {
    const demo = new Demo(['demo', '--duration', '900s', '--admin-addr', '127.0.0.1:0', '--metrics-addr', '127.0.0.1:0', ...flags]);
    const [, url] = await demo.matches(/page +(http:\/\/[\d.:]+)\//);
    demo.url = url;
    return demo;
  }
}

/** `oncewatch run`, and a way to tell it things. */
export class Sidecar extends Process {
  static async start(...flags) {
    const directory = mkdtempSync(join(tmpdir(), 'oncewatch-page-'));
    const socket = join(directory, 'events.sock');
    const addresses = ['--admin-addr', '127.0.0.1:0', '--metrics-addr', '127.0.0.1:0'];
    const sidecar = new Sidecar(['run', '--log-format', 'json', '--socket', socket, ...addresses, ...flags]);
    Object.assign(sidecar, { directory, socket });
    const [, address] = await sidecar.matches(/"admin":"([\d.:]+)"/);
    sidecar.url = `http://${address}`;
    return sidecar;
  }

  /** A connection for events, whose end would orphan what is open on it. */
  connect() {
    const socket = net.connect(this.socket);
    return { tell: (...events) => socket.write(events.map((event) => `${JSON.stringify(event)}\n`).join('')), socket };
  }

  residentBytes() {
    const [, kib] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.child.pid}/status`, 'utf8'));
    return Number(kib) * 1024;
  }

  /** User and system time so far, in seconds. */
  cpuSeconds() {
    const fields = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async end() {
    const took = await super.end();
    rmSync(this.directory, { recursive: true, force: true });
    return took;
  }
}
