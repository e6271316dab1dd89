// Is anything wrong now: counts by severity and verdict, with the last minutes drawn.

import { byId, h, reconcile, say, svg } from './dom.js';
import { tag, verdictButton } from './explanation.js';
import { SEVERITIES, count, plural, span, words } from './format.js';

const HEIGHT = 24;
const LABELS = { critical: 'Critical', error: 'Error', warning: 'Warning', info: 'Healthy use' };

/** Bars for each interval; the time before the sidecar started is shaded, not shown as quiet. */
function spark(what, values, unseen) {
  const peak = Math.max(1, ...values);
  const bars = values.map((value, i) => {
    if (value === 0) return '';
    const height = Math.max(3, (value / peak) * HEIGHT);
    return `M${i} ${HEIGHT}v${-height}h.8v${height}z`;
  });
  const sum = values.reduce((a, b) => a + b, 0);
  const label = sum === 0 ? `${what}: none in the last 15 minutes` : `${what}: ${count(sum)} in the last 15 minutes, at most ${count(peak)} in 10 seconds`;
  return svg(
    'svg',
    { class: 'spark', viewBox: `0 0 ${values.length} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    unseen > 0 && svg('rect', { class: 'unseen', width: unseen, height: HEIGHT }),
    svg('path', { class: 'base', d: `M0 ${HEIGHT - 0.5}h${values.length}` }),
    svg('path', { class: 'bars', d: bars.join('') }),
  );
}

/** How many of the intervals drawn lie before the sidecar's start. */
function unseenSteps({ history, uptime_s }) {
  return Math.max(0, history.steps - Math.ceil(uptime_s / history.step_s) - 1);
}

function line(summary, verdicts) {
  const sums = new Array(summary.history.steps).fill(0);
  for (const { verdict } of verdicts) {
    summary.history.verdicts[verdict]?.forEach((value, i) => (sums[i] += value));
  }
  return sums;
}

function tiles(summary) {
  const items = SEVERITIES.map((severity) => summary.severities.find((item) => item.severity === severity));
  const create = ({ severity }) =>
    h('li', { class: severity }, h('span', { class: 'label' }, LABELS[severity]), h('strong'), h('span', { class: 'total' }), h('span', { class: 'chart' }));
  reconcile(byId('tiles'), items, (item) => item.severity, create, (tile, item) => {
    const [, recent, total, chart] = tile.children;
    tile.classList.toggle('zero', item.recent === 0);
    say(recent, count(item.recent));
    say(total, `${count(item.total)} since start`);
    const values = line(summary, summary.verdicts.filter(({ severity }) => severity === item.severity));
    chart.replaceChildren(spark(LABELS[item.severity], values, unseenSteps(summary)));
  });
}

let all = false;

function table(summary) {
  const rank = ({ severity }) => SEVERITIES.indexOf(severity);
  const shown = summary.verdicts.filter(({ severity, total }) => all || (total > 0 && severity !== 'info'));
  shown.sort((a, b) => rank(a) - rank(b));
  const create = ({ verdict, severity, summary: meaning }) =>
    h('tr', { class: severity, title: meaning },
      h('th', { scope: 'row' }, tag(severity), ' ', verdictButton(verdict)),
      h('td', { class: 'wide chart' }), h('td', { class: 'number' }), h('td', { class: 'number' }), h('td', { class: 'wide apis' }));
  reconcile(byId('verdicts').tBodies[0], shown, (item) => item.verdict, create, (row, item) => {
    const [, chart, recent, total, apis] = row.children;
    row.classList.toggle('zero', item.total === 0);
    chart.replaceChildren(spark(words(item.verdict), line(summary, [item]), unseenSteps(summary)));
    say(recent, count(item.recent));
    say(total, count(item.total));
    const names = Object.entries(item.apis);
    say(apis, names.map(([api, n]) => (names.length > 1 ? `${api} ${count(n)}` : api)).join(', '));
  });
  byId('verdicts').hidden = shown.length === 0;
}

function sentence(summary) {
  const events = Object.values(summary.events).reduce((a, b) => a + b, 0);
  if (events === 0) {
    return `No event has come yet. Applications report on ${summary.socket}; try it with: oncewatch send --socket ${summary.socket} --type attempt_start --api dynamodb.TransactWriteItems --token t1 --hold 1s`;
  }
  const names = (severity) => summary.verdicts.filter((item) => item.severity === severity && item.recent > 0).map((item) => item.verdict);
  const recent = Object.fromEntries(summary.severities.map((item) => [item.severity, item.recent]));
  const seen = span(Math.min(summary.uptime_s, summary.history.step_s * summary.history.steps));
  if (recent.critical > 0) {
    return `Yes: writes may have been applied twice. ${plural(recent.critical, 'critical finding')} in the last ${seen}: ${names('critical').join(', ')}.`;
  }
  if (recent.error > 0) {
    return `Yes: ${plural(recent.error, 'finding')} of failed or undecided operations in the last ${seen}: ${names('error').join(', ')}.`;
  }
  if (recent.warning > 0) {
    return `Nothing urgent: ${plural(recent.warning, 'warning')} in the last ${seen}: ${names('warning').join(', ')}.`;
  }
  return `No. In the last ${seen} every use of a token was a healthy one.`;
}

export function showOverview(summary) {
  say(byId('sentence'), sentence(summary));
  const worst = summary.severities.filter(({ recent }) => recent > 0).at(-1);
  byId('sentence').dataset.severity = worst?.severity ?? 'info';
  tiles(summary);
  table(summary);
}

/** `redraw` is called when the reader wants to see more or less. */
export function setUpOverview(redraw) {
  byId('more-verdicts').addEventListener('click', (event) => {
    all = !all;
    event.currentTarget.setAttribute('aria-expanded', String(all));
    event.currentTarget.textContent = all ? 'Show only findings that were made' : 'Show all verdicts';
    redraw();
  });
}
