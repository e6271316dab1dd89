// What the page answers when little is known: silence, losses and a search that was cut off are not health.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Browser, close, violations } from './support/browser.mjs';
import { Sidecar, until } from './support/sidecar.mjs';

let sidecar;
let browser;

before(async () => {
  [sidecar, browser] = await Promise.all([Sidecar.start(), Browser.launch()]);
});
afterEach(() => browser.sweep());
after(async () => {
  await browser?.close();
  await sidecar?.end();
});

const says = (page, place, pattern) => until(`${place}: ${pattern}`, async () => pattern.test(await page.locator(place).innerText()));

/** The page, with the sidecar's answers to `path` changed. */
async function changed(path, change) {
  const page = await browser.open('about:blank');
  await page.route(`${sidecar.url}/api/v1/${path}`, async (route) => {
    const response = await route.fetch();
    const answer = await response.json();
    change(answer);
    await route.fulfill({ response, json: answer });
  });
  page.trouble = [];
  await page.goto(`${sidecar.url}/`);
  return page;
}

/** Some events, none of them a finding. */
function calm(summary) {
  summary.uptime_s = 5000;
  summary.events.attempt_start = 9;
  summary.last_event = summary.now - 240;
}

test('without events there is a command to try, and no praise', async () => {
  const page = await browser.open(`${sidecar.url}/`);
  await says(page, '#sentence', /^Not known: no event has come yet/);
  assert.equal(await page.locator('#sentence code').innerText(), `oncewatch send --socket ${sidecar.socket} --type attempt_start --api dynamodb.TransactWriteItems --token t1 --hold 1s`);
  await says(page, '#findings-empty', /^No findings so far/);
  assert.equal(await page.locator('#pager').isVisible(), false);
  assert.deepEqual(await violations(page), []);
  await close(page);
});

test('events that cannot be used are told from none', async () => {
  sidecar.connect().socket.end('{"type":"attempt_start"}\n');
  await until('the refusal', async () => (await sidecar.api('summary')).rejected.missing_field === 1);
  const page = await browser.open(`${sidecar.url}/`);
  await says(page, '#sentence', /^Not known: 1 event came, and none could be used/);
  await close(page);
});

test('silence is not health', async () => {
  const page = await changed('summary', calm);
  await says(page, '#sentence', /^Not known: no token was used in the last 15\smin; the last event came 4\smin ago\.$/);
  await page.context().close();
});

test('healthy use is, but for what was lost', async () => {
  let lost = 0;
  const page = await changed('summary', (summary) => {
    calm(summary);
    summary.severities.find(({ severity }) => severity === 'info').recent = 9;
    summary.dropped.client = lost;
  });
  await says(page, '#sentence', /^No\. In the last 15\smin every use of a token was a healthy one\.$/);
  lost = 3;
  await says(page, '#sentence', /a healthy one\. Something was lost, so there may be more/);
  await page.context().close();
});

test('a search that was cut off does not say that there is none', async () => {
  const page = await changed('tokens?*', (answer) => (answer.complete = false));
  await says(page, '#tokens-empty', /^No open or unknown token matches the search among those that were searched/);
  await page.context().close();
});

test('what is being copied stays', async () => {
  const page = await browser.open(`${sidecar.url}/`);
  await page.locator('#trust-body dd').first().waitFor();
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector('#trust-body dl')));
  const selected = () => page.evaluate(() => getSelection().toString());
  const before = await selected();
  const asked = page.waitForResponse((response) => response.url().endsWith('/summary'));
  await asked;
  await page.waitForTimeout(200);
  assert.ok(before.length > 50);
  assert.equal(await selected(), before);
  await close(page);
});
