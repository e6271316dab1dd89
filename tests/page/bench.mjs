// Ingest throughput with ten open pages and with none, in pairs, so that a busy machine slows both.
//
//   tests/page/run bench [pairs]
//
// The pages are played by this process: ten streams that are read, and for each the questions that a page asks while
// findings arrive. Chromium itself would compete for the processor, which on a user's machine it does not.

import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Sidecar, until } from './support/sidecar.mjs';

const PAGES = 10;
const EVENTS = 400_000;
const API = 'dynamodb.TransactWriteItems';
const pairs = Number(process.argv[2] ?? 5);

/** Healthy calls, and one in a thousand that two clients hold at a time: pages have something to show. */
function workload(round) {
  const lines = [];
  for (let i = 0; lines.length < EVENTS; i += 1) {
    const call = { api: API, token: `${round}-${String(i).padStart(30, '0')}`, call: `c${i}`, client: `bench/${i % 8}`, fp: `f${i}` };
    lines.push({ type: 'attempt_start', ...call });
    if (i % 1000 === 0) lines.push({ type: 'attempt_start', ...call, client: 'other/1' });
    lines.push({ type: 'attempt_end', ...call, outcome: 'ok', duration_ms: 7, write_units: 4 });
  }
  return Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

/** One open page, which asks for tokens in every fifth second; a function that closes it. */
function open(url, first) {
  let isOpen = true;
  const stream = get(`${url}/api/v1/stream`, (response) => response.resume());
  stream.on('error', () => {});
  const ask = async (path) => {
    const response = await fetch(`${url}/api/v1/${path}`);
    return response.json();
  };
  (async () => {
    let token;
    for (let second = first; isOpen; second += 1) {
      await ask('summary').catch(() => {});
      if (second % 5 === 0) {
        const { tokens } = await ask('tokens?status=undecided&limit=20').catch(() => ({ tokens: [] }));
        token ??= tokens[0]?.token;
        if (token) await ask(`tokens/${encodeURIComponent(API)}/${token}`).catch(() => {});
      }
      await sleep(1000);
    }
  })();
  return () => {
    isOpen = false;
    stream.destroy();
  };
}

/** Events a second, and microseconds of processor time an event. */
async function measure(pages, round) {
  const sidecar = await Sidecar.start('--capacity', '65536');
  const sent = workload(round);
  const closers = Array.from({ length: pages }, (_, i) => open(sidecar.url, i));
  await sleep(500);
  const { socket } = sidecar.connect();
  const counted = async () => Object.values((await sidecar.api('summary')).events).reduce((a, b) => a + b, 0);
  const cpu = sidecar.cpuSeconds();
  const begun = performance.now();
  socket.write(sent);
  await until('all events', async () => (await counted()) >= EVENTS, 60_000);
  const seconds = (performance.now() - begun) / 1000;
  const used = sidecar.cpuSeconds() - cpu;
  closers.forEach((close) => close());
  socket.destroy();
  await sidecar.end();
  return { rate: EVENTS / seconds, micros: (used / EVENTS) * 1e6 };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

const ratios = [];
const costs = [];
for (let pair = 0; pair < pairs; pair += 1) {
  // The order changes, so that a drift of the machine does not favour one side.
  const order = pair % 2 === 0 ? [0, PAGES] : [PAGES, 0];
  const by = {};
  for (const pages of order) by[pages] = await measure(pages, pair);
  const [none, ten] = [by[0], by[PAGES]];
  ratios.push(ten.rate / none.rate);
  costs.push(ten.micros / none.micros);
  const show = ({ rate, micros }) => `${Math.round(rate).toLocaleString('en')} events/s, ${micros.toFixed(2)} µs each`;
  console.log(`pair ${pair + 1}: none ${show(none)}; ${PAGES} pages ${show(ten)}; ratio ${ratios.at(-1).toFixed(3)}`);
}
const range = (values) => `${median(values).toFixed(3)} (${Math.min(...values).toFixed(3)} to ${Math.max(...values).toFixed(3)})`;
console.log(`throughput with ${PAGES} pages by that with none: median ${range(ratios)}`);
console.log(`processor time with ${PAGES} pages by that with none: median ${range(costs)}`);
