// The README's screenshots, from the demo after its first round.
//
//   tests/page/run pictures

import { fileURLToPath } from 'node:url';
import { Browser } from './support/browser.mjs';
import { Demo, until } from './support/sidecar.mjs';

const place = (name) => fileURLToPath(new URL(`../pictures/${name}.png`, import.meta.url));
const [demo, browser] = await Promise.all([Demo.start(), Browser.launch()]);
try {
  await until('some minutes', async () => (await demo.api('summary')).uptime_s > 150, 200_000);
  const now = await browser.open(`${demo.url}/`, { height: 1000 });
  await now.locator('svg.timeline').waitFor();
  await now.screenshot({ path: place('page-now') });

  const life = await browser.open(`${demo.url}/`, { colorScheme: 'dark', height: 560 });
  await life.locator('svg.timeline').waitFor();
  await life.getByRole('button', { name: 'Show more' }).click();
  await life.locator('#findings-list > li', { hasText: 'cross_client_collision' }).first().locator('a.token').first().click();
  await life.locator('#life-title:focus').waitFor();
  await until('the last answer', async () => !(await life.locator('#attempts').innerText()).includes('open'));
  await life.locator('#scale [value=window]').check();
  await life.locator('#life').screenshot({ path: place('page-life') });
} finally {
  await browser.close();
  await demo.end();
}
