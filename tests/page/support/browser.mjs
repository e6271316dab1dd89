// One headless Chromium, and pages that fail a test for what a console would show.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
// Playwright itself starts it headless and with a profile directory of its own.
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

export class Browser {
  static async launch() {
    const browser = new Browser();
    browser.inner = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', args: FLAGS });
    return browser;
  }

  /**
   * The page at `url`, in a profile of its own. `page.trouble` collects errors, warnings, violations of the policy and
   * requests to any other place; `close` fails if there were any but those that `expected`, said before they can come,
   * matches: they arrive when they like.
   */
  async open(url, { width = 1280, height = 900, colorScheme = 'light', expected } = {}) {
    const context = await this.inner.newContext({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce' });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.trouble = [];
    const note = (text) => expected?.test(text) || page.trouble.push(text);
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && note(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => note(`uncaught: ${error.stack}`));
    page.on('request', (request) => new URL(request.url()).origin !== new URL(url).origin && note(`request to ${request.url()}`));
    await context.addInitScript(() => addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
    await page.goto(url);
    return page;
  }

  /** Closes what a test that failed has left open: its stream would count in the next one. */
  async sweep() {
    for (const context of this.inner.contexts()) await context.close();
  }

  close() {
    return this.inner.close();
  }
}

/** Closes a page that must not have been in trouble. */
export async function close(page) {
  const { trouble } = page;
  await page.context().close();
  assert.deepEqual(trouble, []);
}

/** What axe-core objects to, one line each. */
export async function violations(page) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  assert.ok(passes.length > 10, `axe looked at little: ${passes.length}`);
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary.replaceAll('\n', ' ')}`));
}

/** Whether the page is wider than the window. */
export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
