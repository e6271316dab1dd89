// The page of a sidecar that shows tokens in full, and is told names that want to be more than names.

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import { Browser, close, overflow } from './support/browser.mjs';
import { Sidecar, until } from './support/sidecar.mjs';

const API = 'my/api <b>bold</b> "quoted"';
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const TOKENS = [
  '<script>window.hit=1</script>',
  '"><img src=x onerror=window.hit=1>',
  "' onmouseover='window.hit=1",
  'javascript:window.hit=1',
  '\u202Egnp.exe\u202C',
  'line\nbreak\tand\u0000zero\u2028separator',
  '../../../etc/passwd?x=1#y%00%2f',
  '${window.hit=1}{{window.hit=1}}',
  ' ',
  'é'.repeat(256),
  'x'.repeat(512),
  '\u{1F4A3}\u0301\uFEFF',
];

let sidecar;
let browser;
let one;
let two;

before(async () => {
  [sidecar, browser] = await Promise.all([Sidecar.start('--token-display', 'full', '--trace-url', 'http://traces.example/"><b>{trace_id}'.replace(/["<>]/g, '')), Browser.launch()]);
});
afterEach(() => browser.sweep());
after(async () => {
  await browser?.close();
  await sidecar?.end();
});

const tell = async () => {
  [one, two] = [sidecar.connect(), sidecar.connect()];
  for (const [i, token] of TOKENS.entries()) {
    const start = { type: 'attempt_start', api: API, token, scope: '<i>scope</i>\u202E', traceparent: `00-${TRACE}-b7ad6b7169203331-01` };
    one.tell({ ...start, client: `<u>first</u>\u202E${i}`, call: `<s>call</s>${i}` });
    await until('the first start', async () => (await sidecar.api('summary')).events.attempt_start === 2 * i + 1);
    two.tell({ ...start, client: `"second"&lt;${i}`, call: "'; window.hit=1; '" });
    await until('the second start', async () => (await sidecar.api('summary')).events.attempt_start === 2 * i + 2);
  }
};

test('a page of a new sidecar says what to do, and fills itself', async () => {
  const page = await browser.open(`${sidecar.url}/`);
  await until('the first sentence', async () => (await page.locator('#sentence').innerText()).includes(`oncewatch send --socket ${sidecar.socket}`));
  // The sections fill from answers of their own, in any order.
  for (const [place, says] of [
    ['#findings-empty', /^No findings/],
    ['#tokens-empty', /^No open or unknown token/],
    ['#life-empty', /^Choose a token/],
    ['#trust-sentence', /No client is connected now/],
  ])
    await until(`${place}: ${says}`, async () => says.test(await page.locator(place).innerText()));
  await tell();
  await page.locator('#findings-list > li').first().waitFor();
  await page.locator('svg.timeline').waitFor();
  await close(page);
});

/** What the page shows of a text from a client. */
const visible = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|^ $/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

test('names are shown as they are, and do nothing', async () => {
  const page = await browser.open(`${sidecar.url}/`);
  await page.locator('svg.timeline').waitFor();
  await page.locator('#tokens-table tbody tr').first().waitFor();
  await page.locator('#more-findings').click();
  const shown = await page.locator('#findings-list a.token bdi').evaluateAll((names) => names.map((name) => name.textContent));
  assert.deepEqual(shown.toSorted(), TOKENS.map(visible).toSorted());
  const listed = await page.locator('#tokens-table a.token bdi').evaluateAll((names) => names.map((name) => name.textContent));
  assert.deepEqual(listed.toSorted(), TOKENS.map(visible).toSorted());
  const everything = await page.evaluate(() => document.body.textContent + document.body.innerText);
  for (const part of ['<script>window.hit=1</script>', '<u>first</u>\\u{202e}3', '"second"&lt;3', "'; window.hit=1; '", API, '<i>scope</i>\\u{202e}']) assert.ok(everything.includes(part), part);
  assert.doesNotMatch(everything, /[\u202A-\u202E\u2066-\u2069]/u, 'a text can turn what follows it around');
  assert.equal(await page.locator('main script, main img, main b, main i, main u, main s').count(), 0);
  assert.equal(await page.evaluate(() => window.hit), undefined);
  const links = await page.locator('main a').evaluateAll((anchors) => anchors.map((anchor) => new URL(anchor.href)).map(({ origin, protocol }) => [origin, protocol]));
  const places = [sidecar.url, 'http://traces.example'];
  for (const [origin, protocol] of links) assert.ok(protocol === 'http:' && places.includes(origin), origin);
  await close(page);
});

test('each hostile token leads to its own life', async () => {
  const page = await browser.open(`${sidecar.url}/`);
  await page.locator('svg.timeline').waitFor();
  await page.getByRole('button', { name: 'Show more' }).click();
  for (const token of TOKENS) {
    const link = page.locator('#findings-list a.token');
    const index = await link.evaluateAll((links, text) => links.findIndex((anchor) => anchor.textContent === text), visible(token));
    assert.ok(index >= 0, visible(token));
    await link.nth(index).click();
    await until(`the life of ${visible(token)}`, async () => (await page.locator('#life .facts .long').innerText()).trim() === visible(token).trim());
    assert.equal(await page.locator('#attempts tbody tr').count(), 2);
  }
  assert.equal(await page.evaluate(() => window.hit), undefined);
  const trace = await page.locator('#attempts a.trace').first().evaluate((anchor) => [anchor.href, anchor.rel]);
  assert.deepEqual(trace, [`http://traces.example/b${TRACE}`, 'noopener noreferrer']);
  await close(page);
});

test('a search takes any text', async () => {
  const page = await browser.open(`${sidecar.url}/`);
  await page.locator('#tokens-table tbody tr').first().waitFor();
  for (const [text, found] of [['<script>', 1], ['window.hit', 5], ['%00', 1], ['x'.repeat(512), 1], ['&q=', 0]]) {
    const answer = page.waitForResponse((response) => response.url().includes('q='));
    await page.getByLabel('Token or hash').fill(text);
    await answer;
    await until(`${found} for ${text.slice(0, 20)}`, async () => (await page.locator('#tokens-table:visible tbody tr').count()) === found);
  }
  await close(page);
});

for (const width of [1280, 360]) {
  test(`long names do not break the layout at ${width} px`, async () => {
    const page = await browser.open(`${sidecar.url}/#${new URLSearchParams({ api: API, scope: '<i>scope</i>\u202E', token: 'x'.repeat(512) })}`, { width });
    await page.locator('svg.timeline').waitFor();
    assert.equal(await overflow(page), 0);
    await close(page);
  });
}

/** A stream whose reader takes nothing but the head. */
function stuckReader() {
  const { hostname, port } = new URL(sidecar.url);
  const socket = net.connect(Number(port), hostname, () => socket.write(`GET /api/v1/stream HTTP/1.1\r\nhost: ${hostname}:${port}\r\n\r\n`));
  socket.on('error', () => {});
  return new Promise((resolve) => socket.once('data', () => resolve(socket.pause())));
}

test('a page that is refused a stream asks instead', async () => {
  const stuck = await Promise.all(Array.from({ length: 16 }, stuckReader));
  await until('the streams', async () => (await sidecar.api('status')).streams === 16);
  const page = await browser.open(`${sidecar.url}/`, { expected: /503/ });
  await page.locator('#live[data-state=asking]').waitFor();
  two.tell({ type: 'attempt_start', api: 'http', token: 'late', call: 'c1' }, { type: 'attempt_start', api: 'http', token: 'late', call: 'c2' });
  await page.locator('#findings-list a.token', { hasText: 'late' }).waitFor();
  stuck.forEach((socket) => socket.destroy());
  await page.locator('#live[data-state=live]').waitFor();
  await close(page);
});

test('readers that are stuck cost nothing, and a page goes on', async () => {
  const page = await browser.open(`${sidecar.url}/`);
  await page.locator('#findings-list > li').first().waitFor();
  const stuck = await Promise.all(Array.from({ length: 10 }, stuckReader));
  await until('the streams', async () => (await sidecar.api('status')).streams === 11);
  const before = sidecar.residentBytes();
  const seen = (await sidecar.api('status')).findings.seen;
  const noisy = sidecar.connect();
  const count = 20_000;
  // Every second start is a finding: another call while an attempt is open.
  for (let i = 0; i < count; i += 1) {
    noisy.tell({ type: 'attempt_start', api: 'http', token: `n${i % 500}`, client: 'noisy', call: `c${i}`, fp: 'a'.repeat(60) });
    if (i % 500 === 499) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await until('all events', async () => (await sidecar.api('summary')).events.attempt_start >= count + 2 * TOKENS.length);
  assert.ok((await sidecar.api('status')).findings.seen > seen + 10_000);
  const grown = sidecar.residentBytes() - before;
  assert.ok(grown < 32 * 1024 * 1024, `${grown} bytes`);
  await until('the page to show the noise', async () => (await page.locator('#findings-list').innerText()).includes('noisy'));
  const { streams } = await sidecar.api('status');
  assert.ok(streams <= 16, `${streams}`);
  noisy.socket.destroy();
  const took = await sidecar.end();
  assert.ok(took < 2000, `stuck readers held up the end for ${took} ms`);
  stuck.forEach((socket) => socket.destroy());
  await page.context().close();
});
