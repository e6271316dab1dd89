// What ten open pages cost ingest, in pairs with and without them, so that a busy machine slows both.
//
//   tests/page/run bench [pairs]
//
// Each measurement has a sidecar of its own with a full table, and two parts. Paced: events at a fixed rate, for the
// sidecar's processor time in a second; what pages add to it does not depend on the rate, and a pause of the machine
// changes it little. Saturated: events as fast as they are read, for the throughput. One event in 10 000 is a finding,
// which every page is told.
//
// The pages are played by this process: ten streams that are read, and the questions that a page asks while events keep
// coming and its list of tokens is in view. Chromium itself would compete for the processor, which on a user's machine it
// does not.

import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Sidecar, until } from './support/sidecar.mjs';

const PAGES = 10;
const API = 'dynamodb.TransactWriteItems';
const CAPACITY = 65_536;
const PACED = { events: 200_000, perSecond: 20_000, tickMs: 20 };
const SATURATED = { events: 1_200_000 };
/** As the page has it: between two rounds of questions, and between findings and the next look at the counts. */
const ROUND_MS = 5000;
const SOON_MS = 1000;
const pairs = Number(process.argv[2] ?? 5);

/** Healthy calls, and now and then one that two clients hold at a time, for good: pages have something to list. */
function workload(name, events) {
  const lines = [];
  for (let i = 0; lines.length < events; i += 1) {
    const call = { api: API, token: `${name}${String(i).padStart(16 - name.length, '0')}`, call: `c${i}`, client: `bench/${i % 8}`, fp: `f${i}` };
    lines.push({ type: 'attempt_start', ...call });
    if (i % 5000 === 0) lines.push({ type: 'attempt_start', ...call, client: 'other/1' });
    else lines.push({ type: 'attempt_end', ...call, outcome: 'ok', duration_ms: 7, write_units: 4 });
  }
  return lines.slice(0, events).map((line) => `${JSON.stringify(line)}\n`);
}

/** One open page; a function that closes it. */
function open(url, number) {
  let isOpen = true;
  let soon;
  const ask = async (path) => (await fetch(`${url}/api/v1/${path}`)).json();
  const stream = get(`${url}/api/v1/stream`, (response) => {
    response.on('data', () => {
      soon ??= setTimeout(() => {
        soon = undefined;
        if (isOpen) ask('summary').catch(() => {});
      }, SOON_MS);
    });
    response.on('error', () => {});
  });
  stream.on('error', () => {});
  (async () => {
    let token;
    // Ten people do not open their pages at the same moment.
    await sleep((number * ROUND_MS) / PAGES);
    while (isOpen) {
      try {
        await ask('summary');
        const { tokens } = await ask('tokens?status=undecided&sort=last_seen&order=desc&offset=0&limit=20');
        token ??= tokens[0]?.token;
        if (token) await ask(`tokens/${encodeURIComponent(API)}/${token}`);
      } catch {
        // The sidecar has ended.
      }
      await sleep(ROUND_MS);
    }
  })();
  return () => {
    isOpen = false;
    clearTimeout(soon);
    stream.destroy();
  };
}

/** Sends at a fixed rate. */
async function pace(socket, lines) {
  const perTick = (PACED.perSecond * PACED.tickMs) / 1000;
  const begun = performance.now();
  for (let sent = 0; sent < lines.length; sent += perTick) {
    socket.write(lines.slice(sent, sent + perTick).join(''));
    await sleep(Math.max(0, begun + ((sent + perTick) / PACED.perSecond) * 1000 - performance.now()));
  }
}

/** Milliseconds of processor time in a second of paced events, and events a second when saturated. */
async function measure(pages) {
  const sidecar = await Sidecar.start('--capacity', String(CAPACITY));
  const { socket } = sidecar.connect();
  const counted = async () => Object.values((await sidecar.api('summary')).events).reduce((a, b) => a + b, 0);
  let told = 0;
  const all = (lines) => {
    told += lines.length;
    return until('all events', async () => (await counted()) >= told, 120_000);
  };
  const [full, paced, saturated] = [workload('w', 2 * CAPACITY), workload('p', PACED.events), workload('s', SATURATED.events)];
  socket.write(full.join(''));
  await all(full);
  const closers = Array.from({ length: pages }, (_, i) => open(sidecar.url, i));
  await sleep(1000);

  const cpu = sidecar.cpuSeconds();
  await pace(socket, paced);
  await all(paced);
  const busy = ((sidecar.cpuSeconds() - cpu) / PACED.events) * PACED.perSecond * 1000;

  const bytes = Buffer.from(saturated.join(''));
  const begun = performance.now();
  socket.write(bytes);
  await all(saturated);
  const rate = SATURATED.events / ((performance.now() - begun) / 1000);
  closers.forEach((close) => close());
  socket.destroy();
  await sidecar.end();
  return { busy, rate };
}

const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle) - 1]) / 2;
};

const added = [];
const ratios = [];
for (let pair = 0; pair < pairs; pair += 1) {
  // The order changes, so that a drift of the machine does not favour one side.
  const order = pair % 2 === 0 ? [0, PAGES] : [PAGES, 0];
  const by = {};
  for (const pages of order) by[pages] = await measure(pages);
  const [none, ten] = [by[0], by[PAGES]];
  added.push(ten.busy - none.busy);
  ratios.push(ten.rate / none.rate);
  const show = ({ rate, busy }) => `${busy.toFixed(1)} ms/s paced, ${Math.round(rate).toLocaleString('en')} events/s saturated`;
  console.log(`pair ${pair + 1}: none ${show(none)}; ${PAGES} pages ${show(ten)}`);
}
const range = (values, digits) => `median ${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;
console.log(`processor time that ${PAGES} pages add at ${PACED.perSecond} events/s: ${range(added, 1)} ms a second`);
console.log(`saturated throughput with ${PAGES} pages by that with none: ${range(ratios, 3)}`);
