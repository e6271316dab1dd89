// The page against the running demo: everything a newcomer sees.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Browser, close, overflow, violations } from './support/browser.mjs';
import { Demo, until } from './support/sidecar.mjs';

const TRACES = 'http://traces.example/view?id={trace_id}';

let demo;
let browser;

before(async () => {
  [demo, browser] = await Promise.all([Demo.start('--trace-url', TRACES), Browser.launch()]);
  // All 24 verdicts within 30 seconds; until then some sections are rightly half empty.
  await until('all verdicts', async () => (await demo.api('summary')).verdicts.every(({ total }) => total > 0), 40_000);
});
afterEach(() => browser.sweep());
after(async () => {
  await browser?.close();
  await demo?.end();
});

/** Opens the page and waits until it is filled. */
async function filled(options) {
  const page = await browser.open(`${demo.url}/`, options);
  // Each section fills from an answer of its own, in any order.
  for (const part of ['#live[data-state=live]', '#tiles svg', '#verdicts tbody tr', '#findings-list > li', '#trust-sentence:not(:empty)', 'svg.timeline']) await page.locator(part).first().waitFor();
  await until('the list of tokens', async () => (await page.locator('#tokens-table tbody tr, #tokens-empty:visible').count()) > 0);
  return page;
}

const texts = (page, selector) => page.locator(selector).allInnerTexts();

test('the document is guarded by a policy and loads nothing from elsewhere', async () => {
  const response = await fetch(demo.url);
  const policy = response.headers.get('content-security-policy');
  for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]) {
    assert.ok(policy.split('; ').includes(part), `${part} in ${policy}`);
  }
  assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
  const page = await filled();
  // The policy is in force: markup from text and scripts in the document are refused.
  const refused = await page.evaluate(() => {
    try {
      document.createElement('p').innerHTML = '<b>x</b>';
      return 'allowed';
    } catch (error) {
      return error.constructor.name;
    }
  });
  assert.equal(refused, 'TypeError');
  await page.evaluate(() => {
    const script = document.createElement('script');
    try {
      script.text = 'window.hit = 1';
    } catch {
      script.append('window.hit = 1');
    }
    document.body.append(script);
  }).catch(() => {});
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.ok(page.trouble.some((text) => text.includes('policy: require-trusted-types-for')), page.trouble.join('\n'));
  page.trouble = [];
  await close(page);
});

test('another site can neither read nor take a stream', async () => {
  const other = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>other</title>'));
  await once(other.listen(0, '127.0.0.1'), 'listening');
  try {
    // To a browser localhost and 127.0.0.1 are different sites.
    const place = `http://localhost:${other.address().port}/`;
    const page = await browser.open(place, { expected: /403|CORS|blocked|ERR_FAILED|ERR_BLOCKED|request to/ });
    const before = (await demo.api('status')).streams;
    const got = await page.evaluate((url) => {
      const result = (options) => (path) => fetch(`${url}/api/v1/${path}`, options).then(() => 'answered', () => 'refused');
      return Promise.all([...['tokens', 'stream'].map(result({})), ...['summary', 'stream', 'stream'].map(result({ mode: 'no-cors' }))]);
    }, demo.url);
    assert.deepEqual(got, new Array(5).fill('refused'));
    assert.equal((await demo.api('status')).streams, before);
    // A link from there opens the page all the same.
    await page.evaluate((url) => {
      const link = document.createElement('a');
      link.href = url;
      document.body.append(link);
      link.click();
    }, `${demo.url}/`);
    await page.locator('#live[data-state=live]').waitFor();
    await close(page);
  } finally {
    other.close();
  }
});

test('every section is filled', async () => {
  const page = await filled();
  assert.match(await page.locator('#sentence').innerText(), /^Yes: writes may have been applied twice\. \d+ critical findings in the last .*, the latest less than .* ago: .*double_execution/);
  assert.match(await page.locator('#told').textContent(), /^Critical: .*double_execution/);
  const tiles = await texts(page, '#tiles strong');
  assert.equal(tiles.length, 4);
  for (const tile of tiles) assert.ok(Number(tile.replaceAll(',', '')) > 0, `${tiles}`);
  assert.equal(await page.locator('#tiles svg .bars').count(), 4);
  assert.ok((await page.locator('#tiles svg .bars').first().getAttribute('d')).startsWith('M'));
  assert.equal(await page.locator('#verdicts tbody tr').count(), 18);
  await page.locator('#more-verdicts').click();
  assert.equal(await page.locator('#verdicts tbody tr').count(), 24);
  assert.ok((await page.locator('#findings-list > li').count()) >= 8);
  const finding = page.locator('#findings-list > li', { hasText: 'Holder' }).first();
  for (const part of ['time', '.tag', 'button.verdict', 'a.token', '.message']) assert.notEqual(await finding.locator(part).first().innerText(), '');
  assert.deepEqual(await finding.locator('dt').allInnerTexts(), ['Do', 'By', 'Holder']);
  assert.ok((await page.locator('#tokens-table tbody tr').count()) > 0);
  assert.ok((await page.locator('svg.timeline rect.attempt').count()) > 0);
  assert.match(await page.locator('#trust-sentence').innerText(), /lower bounds until one window has passed/);
  const trust = await page.locator('#trust-body').innerText();
  for (const part of ['Watching since', 'Clients connected', 'demo.Checkout', 'evicted', 'malformed', 'findings queue']) assert.ok(trust.includes(part), part);
  await close(page);
});

test('counts are those of the API', async () => {
  const page = await filled();
  // Between two answers the demo goes on: ask until both say the same.
  await until('equal counts', async () => {
    const { severities } = await demo.api('summary');
    const shown = await page.locator('#tiles li').evaluateAll((tiles) => tiles.map((tile) => [tile.dataset.key, tile.querySelector('.total').textContent]));
    return shown.length === 4 && shown.slice(0, 3).every(([severity, text]) => severities.some((item) => item.severity === severity && text === `${item.total.toLocaleString('en')} since start`));
  });
  await close(page);
});

test('findings arrive by themselves, and wait while paused', async () => {
  const page = await filled();
  await page.evaluate(() => (window.marked = true));
  const newest = () => page.locator('#findings-list > li').first().getAttribute('data-key');
  const before = await newest();
  await until('a new finding', async () => (await newest()) !== before);
  await page.getByRole('button', { name: 'Pause' }).click();
  const held = await newest();
  await until('findings that wait', async () => /^\d+ new$/.test(await page.locator('#held').innerText()));
  assert.equal(await newest(), held);
  await page.getByRole('button', { name: 'Resume' }).click();
  assert.notEqual(await newest(), held);
  assert.equal(await page.locator('#held').innerText(), '');
  assert.equal(await page.evaluate(() => window.marked), true, 'the page was loaded again');
  await close(page);
});

test('a prediction that comes true is marked in its row', async () => {
  const page = await filled();
  const confirmed = page.locator('#findings-list > li', { has: page.locator('.confirmed:not(:empty)') });
  await confirmed.first().waitFor();
  const keys = await page.locator('#findings-list > li').evaluateAll((items) => items.map((item) => item.dataset.key));
  assert.equal(new Set(keys).size, keys.length, 'a finding and its confirmation are one row');
  await close(page);
});

test('findings are filtered by severity and lead to traces', async () => {
  const page = await filled();
  await page.locator('#findings-severity').selectOption('critical');
  const tags = await texts(page, '#findings-list > li > .head > .tag');
  assert.ok(tags.length > 0 && tags.every((tag) => tag === 'critical'), `${tags}`);
  await page.locator('#findings-severity').selectOption('');
  const more = page.locator('#more-findings');
  const few = await page.locator('#findings-list > li').count();
  await more.click();
  assert.ok((await page.locator('#findings-list > li').count()) > few);
  const hrefs = await page.locator('#findings-list a.trace').evaluateAll((links) => links.map((link) => link.href));
  assert.ok(hrefs.length > 0);
  for (const href of hrefs) assert.match(href, /^http:\/\/traces\.example\/view\?id=[0-9a-f]{32}$/);
  await close(page);
});

/** Waits until the token list has been asked for again after `act`. */
async function reloaded(page, act) {
  const answer = page.waitForResponse((response) => response.url().includes('/api/v1/tokens?'));
  await act();
  await answer;
  await sleep(150);
}

test('tokens are filtered, searched, and found by their hash', async () => {
  const page = await filled();
  await reloaded(page, () => page.getByLabel('Status').selectOption('succeeded'));
  const statuses = await texts(page, '#tokens-table .status');
  assert.ok(statuses.length > 0 && statuses.every((status) => status === 'succeeded'), `${statuses}`);
  await reloaded(page, () => page.getByLabel('API').selectOption('demo.Checkout'));
  const apis = await page.locator('#tokens-table tbody td:nth-child(2)').allInnerTexts();
  assert.ok(apis.length > 0 && apis.every((api) => api === 'demo.Checkout'), `${apis}`);
  const hash = await page.locator('#tokens-table a.token').first().innerText();
  assert.match(hash, /^[0-9a-f]{16}$/);
  await reloaded(page, () => page.getByLabel('Token or hash').fill(hash.slice(2, 12)));
  assert.deepEqual(await texts(page, '#tokens-table a.token'), [hash]);
  await reloaded(page, () => page.getByLabel('Token or hash').fill('no such token'));
  assert.equal(await page.locator('#tokens-table').isVisible(), false);
  assert.match(await page.locator('#tokens-empty').innerText(), /^No succeeded token of demo\.Checkout matches the search/);
  await close(page);
});

test('tokens are sorted and turned over', async () => {
  const page = await filled();
  await reloaded(page, () => page.getByLabel('Status').selectOption(''));
  // Of the demo's own API tokens expire while the test looks at them.
  await reloaded(page, () => page.getByLabel('API').selectOption('dynamodb.TransactWriteItems'));
  const attempts = async () => (await page.locator('#tokens-table tbody td:nth-child(4)').allInnerTexts()).map(Number);
  const sortedBy = (name) => page.locator('th[aria-sort]', { hasText: name });
  await reloaded(page, () => page.getByRole('button', { name: 'Attempts' }).click());
  assert.equal(await sortedBy('Attempts').getAttribute('aria-sort'), 'descending');
  const falling = await attempts();
  assert.ok(falling.length === 20 && falling[0] > 1, `${falling}`);
  assert.deepEqual(falling, falling.toSorted((a, b) => b - a));
  await reloaded(page, () => page.getByRole('button', { name: 'Attempts' }).click());
  assert.equal(await sortedBy('Attempts').getAttribute('aria-sort'), 'ascending');
  assert.deepEqual(await attempts(), new Array(20).fill(1));
  // The oldest first: nothing new comes between two pages.
  await reloaded(page, () => page.getByRole('button', { name: 'Age' }).click());
  await reloaded(page, () => page.getByRole('button', { name: 'Age' }).click());
  assert.equal(await sortedBy('Age').getAttribute('aria-sort'), 'descending');
  const keys = () => page.locator('#tokens-table tbody tr').evaluateAll((rows) => rows.map((row) => row.dataset.key));
  const first = await keys();
  assert.match(await page.locator('#range').innerText(), /^1 to 20 of [\d,]+$/);
  await reloaded(page, () => page.getByRole('button', { name: 'Next' }).click());
  assert.match(await page.locator('#range').innerText(), /^21 to 40 of /);
  const second = await keys();
  assert.equal(new Set([...first, ...second]).size, 40, 'pages overlap');
  await reloaded(page, () => page.getByRole('button', { name: 'Previous' }).click());
  assert.deepEqual((await keys()).slice(0, 5), first.slice(0, 5));
  await close(page);
});

/** Numbers of an SVG rectangle. */
const box = (locator) => locator.evaluate((rect) => ({ x: rect.x.baseVal.value, width: rect.width.baseVal.value }));

test('a timeline is drawn to scale and said in words', async () => {
  const page = await filled();
  await page.locator('#findings-severity').selectOption('error');
  await page.getByRole('button', { name: 'Show more' }).click();
  const finding = page.locator('#findings-list > li', { hasText: 'cross_client_collision' }).first();
  await finding.locator('a.token').first().click();
  await page.locator('#life-title:focus').waitFor();
  const named = new URLSearchParams(new URL(page.url()).hash.slice(1));
  const { tokens } = await demo.api(`tokens/${named.get('api')}/${named.get('token')}`);
  const [token] = tokens;
  await page.locator('#life .facts', { hasText: named.get('token') }).waitFor();
  assert.equal(await page.locator('#attempts tbody tr').count(), token.attempts.length);
  for (const scale of ['attempts', 'window']) {
    await page.locator(`#scale [value=${scale}]`).check();
    const drawn = await page.locator('svg.timeline').evaluate((drawing) => drawing.clientWidth - 20);
    const first = Math.min(token.first_start, ...token.attempts.map(({ start }) => start));
    const ends = [...token.attempts.map(({ end }) => end), ...token.findings.map(({ at }) => at)];
    const last = Math.max(...ends, ...(scale === 'window' ? [token.first_success + token.window_s] : []));
    const pixels = drawn / ((last - first) * 1.04);
    for (const [i, { start, end }] of token.attempts.entries()) {
      const bar = await box(page.locator('svg.timeline rect.attempt').nth(i));
      assert.ok(Math.abs(bar.x - 10 - (start - first) * pixels) < 1.5, `${scale}: start of attempt ${i}`);
      assert.ok(Math.abs(bar.width - Math.max(3, (end - start) * pixels)) < 1.5, `${scale}: length of attempt ${i}`);
    }
    if (scale === 'window') {
      const sure = await box(page.locator('svg.timeline rect.window'));
      const edge = await box(page.locator('svg.timeline rect.edge'));
      assert.ok(Math.abs(sure.width - token.window_s * pixels) < 1.5);
      assert.ok(Math.abs(edge.width - (token.first_success - token.first_start) * pixels) < 1.5);
    }
  }
  assert.ok((await page.locator('svg.timeline .mark.error').count()) > 0, 'no verdict on it');
  assert.ok((await page.locator('#life .findings > li').count()) >= token.findings.length);
  const label = await page.locator('svg.timeline').getAttribute('aria-label');
  assert.match(label, /^Timeline of \d+ attempts over .*table below/);
  await page.goBack();
  await close(page);
});

test('the window that was missed is drawn, and each verdict stands at its time', async () => {
  const page = await filled();
  await page.locator('#findings-severity').selectOption('critical');
  await page.locator('#findings-list > li', { hasText: 'double_execution' }).first().locator('a.token').first().click();
  await page.locator('#life-title:focus').waitFor();
  const named = new URLSearchParams(new URL(page.url()).hash.slice(1));
  await page.locator('#life .facts', { hasText: named.get('token') }).waitFor();
  await page.locator('#scale [value=window]').check();
  const [token] = (await demo.api(`tokens/${named.get('api')}/${named.get('token')}`)).tokens;
  const [first, second] = token.attempts;
  assert.deepEqual([token.lifecycle, second.verdict, token.attempts.length], [2, 'reuse_after_window', 2]);
  const drawn = await page.locator('svg.timeline').evaluate((drawing) => drawing.clientWidth - 20);
  const pixels = drawn / ((token.first_success + token.window_s - first.start) * 1.04);
  const x = (at) => 10 + (at - first.start) * pixels;
  // The window that the second attempt missed begins with the first one and ends before the second one.
  const past = await box(page.locator('svg.timeline rect.past'));
  assert.ok(Math.abs(past.x - x(first.start)) < 1.5 && Math.abs(past.width - token.window_s * pixels) < 1.5);
  const numbers = (selector) => page.locator(selector).evaluateAll((paths) => paths.map((path) => Number(/^M([\d.]+)/.exec(path.getAttribute('d'))[1])));
  const limits = await numbers('svg.timeline path.limit');
  assert.ok(Math.abs(limits[0] - x(first.end + token.window_s)) < 1.5 && limits[0] < x(second.start), `${limits}`);
  assert.ok(Math.abs(limits[1] - x(token.first_success + token.window_s)) < 1.5, `${limits}`);
  const marks = await numbers('svg.timeline path.mark');
  const times = token.findings.map(({ at }) => x(at)).toSorted((a, b) => a - b);
  assert.equal(marks.length, 2);
  marks.forEach((at, i) => assert.ok(Math.abs(at - times[i]) < 1.5, `${marks} are not at ${times}`));
  assert.equal(await page.locator('svg.timeline text.found').textContent(), 'reuse_after_window, double_execution');
  assert.equal(await page.locator('.legend li').count(), 9);
  await close(page);
});

test('a token in the address is shown at once, and one that is gone is said to be', async () => {
  const { tokens } = await demo.api('tokens?status=succeeded&limit=1');
  const page = await browser.open(`${demo.url}/#${new URLSearchParams({ api: tokens[0].api, scope: '', token: tokens[0].token })}`, { expected: /404/ });
  await page.locator('#life .facts', { hasText: tokens[0].token }).waitFor();
  await page.evaluate(() => (location.hash = 'api=demo.Checkout&scope=&token=0123456789abcdef'));
  await until('the word that it is gone', async () => /0123456789abcdef of demo\.Checkout is not known/.test(await page.locator('#life-empty').innerText()));
  await close(page);
});

test('each verdict opens its explanation', async () => {
  const page = await filled();
  const button = page.locator('#verdicts button.verdict', { hasText: 'double_execution' });
  await button.click();
  const dialog = page.getByRole('dialog', { name: 'double_execution' });
  await dialog.locator('h3').first().waitFor();
  assert.deepEqual(await dialog.locator('h3').allInnerTexts(), ['What to do', 'Is it safe to retry?', 'What was seen', 'Why it matters', 'How to confirm', 'How to fix']);
  const explanation = await demo.api('explain/double_execution');
  const said = await dialog.innerText();
  for (const part of ['summary', 'remedy', 'retry', 'why', 'fix']) assert.ok(said.includes(explanation[part].split('\n')[0]), part);
  assert.match(await dialog.locator('pre').first().innerText(), /oncewatch_verdicts_total\{verdict="double_execution"\}/);
  await page.keyboard.press('Escape');
  assert.equal(await dialog.isVisible(), false);
  assert.equal(await button.evaluate((element) => element === document.activeElement), true, 'focus comes back');
  await close(page);
});

test('dark and light follow the system until one is chosen', async () => {
  const page = await filled({ colorScheme: 'dark' });
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const [dark, light] = ['rgb(19, 21, 24)', 'rgb(247, 247, 245)'];
  assert.equal(await ground(), dark);
  await page.emulateMedia({ colorScheme: 'light' });
  assert.equal(await ground(), light);
  await page.getByRole('button', { name: 'Theme: system' }).click();
  await page.getByRole('button', { name: 'Theme: light' }).click();
  await page.getByRole('button', { name: 'Theme: dark' }).waitFor();
  assert.equal(await ground(), dark);
  await page.reload();
  assert.equal(await ground(), dark, 'the choice is kept');
  await close(page);
});

test('nothing is cut off or scrolls sideways on a phone', async () => {
  const page = await filled({ width: 360, height: 740 });
  assert.equal(await overflow(page), 0);
  await reloaded(page, () => page.getByLabel('Status').selectOption(''));
  await page.locator('#more-verdicts').click();
  await page.locator('#scale [value=window]').check();
  assert.equal(await overflow(page), 0);
  const outside = await page.evaluate(() => [...document.querySelectorAll('main *')].filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 0.5).map((element) => element.outerHTML.slice(0, 80)));
  assert.deepEqual(outside, []);
  // The layout changes at some of these; between them there is no room to lose either.
  for (const width of [320, 480, 620, 700, 760, 761, 860, 861, 1024]) {
    await page.setViewportSize({ width, height: 740 });
    assert.equal(await overflow(page), 0, `${width} px`);
  }
  await page.setViewportSize({ width: 360, height: 740 });
  await page.locator('#verdicts button.verdict').first().click();
  await page.locator('dialog h3').first().waitFor();
  assert.equal(await overflow(page), 0);
  await close(page);
});

test('all can be done with the keyboard alone', async () => {
  const page = await filled();
  await page.getByRole('button', { name: 'Pause' }).click();
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
  await page.evaluate(() => document.activeElement.blur());
  await page.mouse.click(1, 400);
  const press = async (key) => page.keyboard.press(key);
  /** Tabs on until something that `wanted` accepts has the focus. */
  const tabTo = async (wanted) => {
    for (let i = 0; i < 200; i += 1) {
      await press('Tab');
      if (await page.evaluate(wanted)) return;
    }
    assert.fail(`not reached: ${wanted}`);
  };
  await page.reload();
  await page.locator('svg.timeline').waitFor();
  await press('Tab');
  assert.equal(await focused(), 'Skip to content');
  await press('Enter');
  await tabTo("document.activeElement.matches('#verdicts button.verdict')");
  const verdict = await focused();
  await press('Enter');
  await page.getByRole('dialog', { name: verdict }).waitFor();
  await press('Escape');
  assert.equal(await focused(), verdict);
  await tabTo("document.activeElement.matches('#findings-severity')");
  await tabTo("document.activeElement.matches('#pause')");
  await press('Space');
  assert.equal(await page.locator('#pause').getAttribute('aria-pressed'), 'true');
  await tabTo("document.activeElement.matches('#findings-list a.token')");
  // A finding may be about a token that is forgotten by now; those in the list are not.
  await tabTo("document.activeElement.matches('#tokens-table a.token')");
  await press('Enter');
  await page.locator('#life-title:focus').waitFor();
  await tabTo("document.activeElement.matches('#attempts button.verdict')");
  await press('Enter');
  await page.locator('dialog[open]').waitFor();
  await tabTo("document.activeElement.matches('#explanation-close')");
  await press('Enter');
  assert.equal(await page.locator('dialog[open]').count(), 0);
  await close(page);
});

test('focus stays where it is while lists change', async () => {
  const page = await filled();
  const link = page.locator('#findings-list > li').nth(2).locator('a.token').first();
  await link.focus();
  const key = () => page.evaluate(() => document.activeElement.closest('li')?.dataset.key);
  const before = await key();
  const first = await page.locator('#findings-list > li').first().getAttribute('data-key');
  await until('a new finding', async () => (await page.locator('#findings-list > li').first().getAttribute('data-key')) !== first);
  assert.equal(await key(), before);
  await close(page);
});

for (const colorScheme of ['light', 'dark']) {
  for (const width of [1280, 360]) {
    test(`axe-core has no objection, ${colorScheme}, ${width} px`, async () => {
      const page = await filled({ colorScheme, width });
      await page.locator('#more-verdicts').click();
      await reloaded(page, () => page.getByLabel('Status').selectOption(''));
      await page.getByRole('button', { name: 'Pause' }).click();
      assert.deepEqual(await violations(page), []);
      await page.locator('#verdicts button.verdict').first().click();
      await page.locator('dialog h3').first().waitFor();
      assert.deepEqual(await violations(page), []);
      await close(page);
    });
  }
}

test('a hidden page lets go of its stream', async () => {
  const page = await filled();
  const streams = async () => (await demo.api('status')).streams;
  assert.equal(await streams(), 1);
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, 'hidden', { configurable: true, value });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await hide(true);
  // The sidecar notices a closed connection when it next has something to say, or at its next heartbeat.
  await until('the end of the stream', async () => (await streams()) === 0);
  await hide(false);
  await until('a new stream', async () => (await streams()) === 1);
  await close(page);
});

test('an open page does not hold up the end, and says that nobody answers', async () => {
  const gone = /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET/;
  const [page, phone] = [await filled({ expected: gone }), await filled({ expected: gone, width: 360, height: 740 })];
  await phone.locator('#trust').scrollIntoViewIfNeeded();
  const took = await demo.end();
  assert.ok(took < 2000, `${took} ms`);
  await until('the word that it is gone', async () => (await page.locator('#live').getAttribute('data-state')) === 'lost');
  await until('the sentence', async () => /^The sidecar does not answer: .* What is shown is from \d\d:\d\d:\d\d; /.test(await page.locator('#sentence').innerText()));
  assert.ok((await page.locator('#findings-list > li').count()) > 0, 'what was seen stays');
  // Whoever has scrolled down learns of it, too.
  await until('the word on the phone', async () => (await phone.locator('#live').getAttribute('data-state')) === 'lost');
  await phone.evaluate(() => scrollTo(0, document.body.scrollHeight));
  const { y, height } = await phone.locator('#live').boundingBox();
  assert.ok(y >= 0 && y + height < 740, `${y}`);
  await close(page);
  await close(phone);
});
