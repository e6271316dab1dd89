// The list of tokens as tokens come and go: what moves on the screen, and what is asked for.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Browser, close } from './support/browser.mjs';
import { Sidecar, until } from './support/sidecar.mjs';

const API = 'dynamodb.TransactWriteItems';

let sidecar;
let browser;
let client;

before(async () => {
  [sidecar, browser] = await Promise.all([Sidecar.start('--token-display', 'full'), Browser.launch()]);
  client = sidecar.connect();
});
afterEach(() => browser.sweep());
after(async () => {
  client?.socket.destroy();
  await browser?.close();
  await sidecar?.end();
});

/** Reports attempts of the tokens one after the other. */
async function tell(attempt, ...tokens) {
  const events = async () => (await sidecar.api('summary')).events.attempt_start;
  for (const token of tokens) {
    const before = await events();
    client.tell({ type: 'attempt_start', api: API, token, call: `c-${token}`, attempt, client: 'orders/1' });
    await until(`an attempt of ${token}`, async () => (await events()) > before);
  }
}

const listed = (page) => page.locator('#tokens-table a.token').allInnerTexts();

test('the focus goes with a row that moves', async () => {
  await tell(1, 'first', 'second', 'third');
  const page = await browser.open(`${sidecar.url}/`);
  await page.locator('#tokens-table tbody tr').nth(2).waitFor();
  assert.deepEqual(await listed(page), ['third', 'second', 'first']);
  await page.locator('#tokens-table a.token', { hasText: 'first' }).focus();
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  assert.equal(await focused(), 'first');
  await tell(2, 'first');
  await until('the row on top', async () => (await listed(page))[0] === 'first');
  assert.equal(await focused(), 'first');
  await close(page);
});

/** How often a page asks for the summary and for the list from now on. */
function questions(page) {
  const asked = { summary: 0, tokens: 0 };
  page.on('request', (request) => {
    const [, name] = /\/api\/v1\/(summary|tokens)(?:\?|$)/.exec(request.url()) ?? [];
    if (name) asked[name] += 1;
  });
  return asked;
}

test('a list is asked for when it can have changed and is looked at', async () => {
  await tell(1, 'fourth');
  const page = await browser.open(`${sidecar.url}/`, { height: 200 });
  await page.locator('#tokens').scrollIntoViewIfNeeded();
  await page.locator('#tokens-table tbody tr').first().waitFor();
  const rounds = async (asked, n) => until(`${n} rounds`, () => asked.summary >= n);
  // The first of them can still follow from the page's start.
  await rounds(questions(page), 1);
  const quiet = questions(page);
  await rounds(quiet, 2);
  assert.equal(quiet.tokens, 0, 'nothing has happened');

  const busy = questions(page);
  await tell(1, 'fifth');
  await until('the list', async () => (await listed(page)).includes('fifth'));
  assert.equal(busy.tokens, 1);

  await page.evaluate(() => scrollTo(0, 0));
  await until('the list to leave the screen', () => page.evaluate(() => document.getElementById('tokens').getBoundingClientRect().top > innerHeight));
  const away = questions(page);
  await tell(1, 'sixth');
  await rounds(away, 2);
  assert.equal(away.tokens, 0, 'nobody looks');
  const back = questions(page);
  await page.locator('#tokens').scrollIntoViewIfNeeded();
  await until('the list', async () => (await listed(page)).includes('sixth'));
  assert.deepEqual(back, { summary: 0, tokens: 1 }, 'at once, not in the next round');
  await close(page);
});
