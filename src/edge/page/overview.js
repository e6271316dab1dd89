// Is anything wrong now: counts by severity and verdict, with the last minutes drawn.

import { byId, h, reconcile, say, svg } from './dom.js';
import { tag, verdictButton } from './explanation.js';
import { SEVERITIES, count, plural, span, words } from './format.js';
import { losses } from './trust.js';

const HEIGHT = 24;
const LABELS = { critical: 'Critical', error: 'Error', warning: 'Warning', info: 'Healthy use' };

/** Bars for each interval, the highest as high as there is room; the time before the sidecar started is shaded, not shown as quiet. */
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
    svg('title', {}, label),
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
    h('li', { class: severity }, h('span', { class: 'label' }, LABELS[severity]), h('strong'), h('span', { class: 'recent' }, 'in 15\u00a0min'), h('span', { class: 'total' }), h('span', { class: 'chart' }));
  reconcile(byId('tiles'), items, (item) => item.severity, create, (tile, item) => {
    const [, recent, , total, chart] = tile.children;
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
    const counts = Object.entries(item.apis);
    say(apis, counts.map(([api, n]) => (counts.length > 1 ? `${api} ${count(n)}` : api)).join(', '));
  });
  byId('verdicts').hidden = shown.length === 0;
}

const names = (summary, severity) => summary.verdicts.filter((item) => item.severity === severity && item.recent > 0).map((item) => item.verdict);

/** How long ago the last verdict of a severity was at most. */
function latest(summary, severity) {
  const values = line(summary, summary.verdicts.filter((item) => item.severity === severity));
  const { step_s, steps } = summary.history;
  return `the latest less than ${span((steps - values.findLastIndex((n) => n > 0)) * step_s)} ago`;
}

/** What was found, how often, when last, and which. */
function found(summary, severity, one) {
  const { recent } = summary.severities.find((item) => item.severity === severity);
  return `${plural(recent, one)} in the last ${watched(summary)}, ${latest(summary, severity)}: ${names(summary, severity).join(', ')}.`;
}

/** The time that recent counts are of. */
const watched = ({ uptime_s, history }) => span(Math.min(uptime_s, history.step_s * history.steps));

/** Before the first event: what is wrong with those that came, or how to send one. */
function nothingYet({ rejected, socket }) {
  const refused = Object.values(rejected).reduce((a, b) => a + b, 0);
  if (refused > 0) return [`Not known: ${plural(refused, 'event')} came, and none could be used. “Can I trust this?” says why.`];
  const command = `oncewatch send --socket ${socket} --type attempt_start --api dynamodb.TransactWriteItems --token t1 --hold 1s`;
  return [`Not known: no event has come yet. Applications report on ${socket}; to try it, run`, command];
}

/** The answer, and a command if there is one to try. */
function sentence(summary) {
  if (Object.values(summary.events).reduce((a, b) => a + b, 0) === 0) return nothingYet(summary);
  const recent = Object.fromEntries(summary.severities.map((item) => [item.severity, item.recent]));
  if (recent.critical > 0) return [`Yes: writes may have been applied twice. ${found(summary, 'critical', 'critical finding')}`];
  if (recent.error > 0) return [`Yes: operations failed or are undecided. ${found(summary, 'error', 'finding')}`];
  const more = losses(summary) > 0 ? ' Something was lost, so there may be more: see “Can I trust this?”.' : '';
  if (recent.warning > 0) return [`Nothing urgent: ${found(summary, 'warning', 'warning')}${more}`];
  // Silence is no proof of health: the applications may have stopped to report.
  if (recent.info === 0) return [`Not known: no token was used in the last ${watched(summary)}; the last event came ${span(summary.now - summary.last_event)} ago.${more}`];
  return [`No. In the last ${watched(summary)} every use of a token was a healthy one.${more}`];
}

function answer(summary) {
  const [text, command] = sentence(summary);
  const shown = byId('sentence');
  if (shown.textContent === text + (command ?? '')) return;
  shown.replaceChildren(text, ...(command ? [h('code', { class: 'command' }, command)] : []));
}

export function showOverview(summary) {
  answer(summary);
  const severity = summary.severities.filter(({ recent }) => recent > 0).at(-1)?.severity ?? 'info';
  byId('sentence').dataset.severity = severity;
  // Read out when the answer changes, not whenever its times do.
  say(byId('told'), severity === 'info' ? 'No findings' : `${LABELS[severity]}: ${names(summary, severity).join(', ')}`);
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
