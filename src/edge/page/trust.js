// Can I trust this: how long it has been watching, what it has lost, who is connected.

import { byId, h, say } from './dom.js';
import { broken, clock, count, plural, span, visible, words } from './format.js';

const GAPS = {
  evicted: 'pushed out inside the window: raise --capacity',
  open_attempts_overflow: 'more than 8 attempts of a token open at once',
  calls_overflow: 'a token had more than 8 calls; old ones are forgotten',
  sessions_overflow: 'more than 1024 sessions ended within a minute; what they resend counts twice',
  restart: 'the sidecar began without a past',
};
const REJECTED = {
  malformed: 'not one JSON object in UTF-8',
  too_long: 'longer than --max-line-bytes',
  unsupported_version: 'a protocol version other than 1',
  unknown_type: 'a type that is not known',
  missing_field: 'a field that is required is missing',
  invalid_field: 'a field has a wrong type or value',
  duplicate: 'reported or sent twice',
};
const DROPPED = {
  client: 'by clients, as they say themselves',
  findings_queue: 'findings, before they were shown',
  spans_queue: 'lifecycles, before they were exported',
};
const REFUSED = { limit: 'more than --max-connections', uid: 'a user not in --allow-uid' };

const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);

function table(caption, heads, rows) {
  return h('table', { class: 'rows' }, h('caption', {}, caption),
    h('thead', {}, h('tr', {}, ...heads.map((text, i) => h('th', { scope: 'col', class: i > 0 ? `number ${text === 'Window' ? 'wide' : ''}` : undefined }, text)))),
    h('tbody', {}, ...rows));
}

function countRows(counts, meanings) {
  return Object.entries(counts).map(([name, n]) =>
    h('tr', { class: n > 0 ? 'lost' : 'zero' },
      h('th', { scope: 'row' }, words(name), h('span', { class: 'meaning' }, meanings[name] ?? '')), h('td', { class: 'number' }, count(n))));
}

/** Profiles that matter here: those watched by name, and those with tokens. */
const used = ({ profiles }) => profiles.filter(({ active, tokens }) => active || sum(tokens) > 0);

function profileRows(summary) {
  return used(summary).map((profile) => {
    const tokens = sum(profile.tokens);
    const share = tokens / profile.capacity;
    const left = profile.lower_bound_until - summary.now;
    return h('tr', {},
      h('th', { scope: 'row' }, h('bdi', {}, ...broken(visible(profile.api))),
        h('span', { class: 'meaning' }, Object.entries(profile.tokens).filter(([, n]) => n > 0).map(([status, n]) => `${count(n)} ${words(status)}`).join(', ') || 'no tokens')),
      h('td', { class: 'number wide' }, span(profile.window_s)),
      h('td', { class: 'number' }, left > 0 ? `in ${span(left)}` : 'yes'),
      h('td', { class: 'number' }, `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`));
  });
}

function facts(summary) {
  const { now } = summary;
  const list = [
    ['Watching since', `${clock(summary.observation_start)}, for ${span(summary.uptime_s)}`],
    ['Clients connected', count(summary.clients_connected)],
    ['Last event', summary.last_event === undefined ? 'none yet' : `${span(now - summary.last_event)} ago`],
    ['Oldest open attempt', summary.oldest_open === undefined ? 'none open' : `started ${span(now - summary.oldest_open)} ago`],
    ['Events used', count(sum(summary.events))],
    ['Clocks off by more than 2 s', plural(summary.clock_suspect, 'event')],
    ['Unreadable traceparent', plural(summary.traceparent_malformed, 'event')],
    ['Pages and scripts listening', count(summary.streams)],
    ['Tokens are shown as', { hash: 'keyed hashes', prefix: 'their beginning and a hash', full: 'they were sent' }[summary.token_display]],
    ['Version', summary.version],
  ];
  return h('dl', { class: 'facts' }, ...list.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

/** Losses that make verdicts lower bounds; a forgotten old call does not. */
export const losses = ({ gaps, dropped }) => sum(gaps) - (gaps.calls_overflow ?? 0) + (dropped.client ?? 0) + (dropped.findings_queue ?? 0);

function sentence(summary) {
  const waiting = used(summary).filter(({ lower_bound_until }) => lower_bound_until > summary.now);
  const parts = [];
  if (waiting.length > 0) {
    const longest = Math.max(...waiting.map(({ lower_bound_until }) => lower_bound_until));
    parts.push(`What was sent before ${clock(summary.observation_start)} is not known, so counts are lower bounds until one window has passed: for all APIs at ${clock(longest)}.`);
  }
  const lost = losses(summary);
  if (lost > 0) parts.push(`Something was lost on ${plural(lost, 'occasion')}, see below: there may be more than is shown.`);
  const unusable = sum(summary.rejected);
  if (unusable > 0) parts.push(`${plural(unusable, 'event')} could not be used.`);
  if (summary.clients_connected === 0) parts.push('No client is connected now.');
  return parts.length === 0 ? 'Yes: nothing was lost, and one window has passed since the start.' : parts.join(' ');
}

export function showTrust(summary) {
  say(byId('trust-sentence'), sentence(summary));
  // What is being copied must not be taken away.
  const selection = getSelection();
  if (!selection.isCollapsed && selection.containsNode(byId('trust-body'), true)) return;
  byId('trust-body').replaceChildren(
    h('div', {}, facts(summary)),
    h('div', {}, table('By API', ['API', 'Window', 'Window passed', 'Capacity used'], profileRows(summary))),
    h('div', {}, table('Knowledge given up', ['Tracking gap', 'Times'], countRows(summary.gaps, GAPS)),
      table('Lost on the way', ['Dropped', 'Events'], countRows(summary.dropped, DROPPED))),
    h('div', {}, table('Not used', ['Event rejected', 'Events'], countRows(summary.rejected, REJECTED)),
      table('Not served', ['Connection refused', 'Times'], countRows(summary.refused, REFUSED))),
  );
}
