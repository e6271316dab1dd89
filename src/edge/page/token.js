// One token's life: drawn, and the same as a table.

import { byId, h, say, svg } from './dom.js';
import { tag, verdictButton } from './explanation.js';
import { clock, plural, span, visible, words } from './format.js';
import { sender, traceLink } from './links.js';
import { ask } from './source.js';
import { drawTimeline, endOfWindow, fitsWindow, signs } from './timeline.js';
import { statusTag } from './tokens.js';

/** A token whose outcome is known seldom changes, and a finding says so when it does. */
const SETTLED_MS = 30_000;

let named;
let gone = false;
let loaded = 0;
let scale;
let tokens = [];
let shown = '';

/** Whether a token is chosen, and which. */
export const chosen = () => named;

/** Has the token asked for soon, if it is the chosen one. */
export function tokenChanged({ api, scope, token }) {
  if (named && named.api === api && named.scope === scope && named.token === token) [loaded, gone] = [0, false];
}

export async function chooseToken(token) {
  named = token;
  gone = false;
  scale = undefined;
  shown = '';
  await loadToken();
}

/** Asks for the chosen token again, if something can have changed. */
export async function loadToken() {
  if (!named || gone) return;
  const open = goesOn() || tokens.some(({ status }) => status === 'unknown');
  if (shown !== '' && !open && Date.now() - loaded < SETTLED_MS) return;
  loaded = Date.now();
  const mine = named;
  const path = `tokens/${encodeURIComponent(mine.api)}/${encodeURIComponent(mine.token)}`;
  try {
    const answer = await ask(path);
    if (mine !== named) return;
    tokens = answer.tokens.filter(({ scope }) => scope === mine.scope);
    // Another look at the same facts must not take away what is being read or selected.
    const facts = JSON.stringify(tokens);
    if (facts !== shown) show();
    shown = facts;
  } catch (error) {
    if (mine !== named) return;
    if (error.status === undefined) throw error; // Not an answer about this token.
    tokens = [];
    shown = '';
    gone = error.status === 404;
    nothing(gone ? `The token ${visible(mine.token)} of ${visible(mine.api)} is not known, or no longer.` : error.message);
  }
}

function nothing(text) {
  byId('life-body').replaceChildren();
  byId('life-empty').hidden = false;
  byId('scale').hidden = true;
  say(byId('life-empty'), text);
}

function show() {
  const token = tokens[0];
  if (!token) {
    nothing('The token is not known in this scope, or no longer.');
    return;
  }
  byId('life-empty').hidden = true;
  byId('scale').hidden = false;
  scale ??= fitsWindow(token) ? 'window' : 'attempts';
  byId('scale').querySelector(`[value=${scale}]`).checked = true;
  const figure = h('figure', {}, h('div', { class: 'drawing' }), h('figcaption', {}, `${plural(token.attempts.length, 'attempt')}, to scale`, legend()));
  byId('life-body').replaceChildren(facts(token), figure, attempts(token), ...found(token));
  draw();
}

/** Draws anew, for another width or because time goes on. */
export function draw() {
  const drawing = byId('life-body').querySelector('.drawing');
  if (drawing && tokens[0]) drawing.replaceChildren(drawTimeline(tokens[0], scale, drawing.clientWidth, Date.now() / 1000));
}

/** Whether the drawing changes by itself: an attempt is open. */
export const goesOn = () => tokens[0]?.attempts.some(({ end }) => end === undefined) ?? false;

function facts(token) {
  const scope = token.scope === '' ? [] : [h('dt', {}, 'Scope'), h('dd', {}, h('bdi', {}, visible(token.scope)))];
  return h('dl', { class: 'facts' },
    h('dt', {}, 'Token'), h('dd', { class: 'long' }, h('bdi', {}, visible(token.token))),
    h('dt', {}, 'API'), h('dd', {}, h('bdi', {}, visible(token.api))),
    ...scope,
    h('dt', {}, 'Status'), h('dd', {}, statusTag(token)),
    h('dt', {}, 'Lifecycle'), h('dd', {}, `${token.lifecycle}, since ${clock(token.first_start)}`),
    h('dt', {}, 'Lease'), h('dd', {}, span(token.lease_s)),
    h('dt', {}, 'Window'), h('dd', {}, windowText(token)),
    h('dt', {}, 'Kept until'), h('dd', {}, `${clock(token.expires)}, unless it is seen again`));
}

function windowText(token) {
  const length = span(token.window_s);
  const end = endOfWindow(token);
  if (end === undefined) return `${length} after the first request completes, which has not been seen`;
  const from = token.window_anchor === 'first_completed' ? 'completion' : 'the first start';
  return `${length} from ${from}, until ${clock(end)}`;
}

function legend() {
  const items = signs().map(([name, sign]) => h('li', {}, svg('svg', { class: 'key', width: 18, height: 12, 'aria-hidden': 'true' }, sign), ` ${name}`));
  return h('ul', { class: 'legend' }, ...items);
}

const numeric = (heading) => (['Gap before', 'Lasted'].includes(heading) ? 'number' : undefined);

/** On a narrow screen a cell stands in a line of its own, and says itself what it is. */
const cell = (heading, content) => h('td', { 'data-label': heading, class: numeric(heading) }, ...(content ? [content] : []));

function attempts(token) {
  let last;
  const rows = token.attempts.map((attempt) => {
    const gap = last === undefined ? '' : attempt.start < last ? 'none' : span(attempt.start - last);
    // An open attempt overlaps whatever comes after it.
    last = Math.max(last ?? 0, attempt.end ?? Infinity);
    const ended = attempt.end === undefined ? 'open' : words(attempt.class ?? '');
    const trace = traceLink(attempt.trace_id);
    return h('tr', {},
      h('th', { scope: 'row' }, sender(attempt), `, attempt ${attempt.number}`, trace && ' ', trace),
      cell('Start', h('span', {}, clock(attempt.start, true))),
      cell('Gap before', gap && h('span', {}, gap)),
      cell('Lasted', attempt.end !== undefined && h('span', {}, span(attempt.end - attempt.start))),
      cell('Ended', h('span', {}, ended)),
      cell('Verdict', attempt.verdict && verdictButton(attempt.verdict)));
  });
  const heads = ['Attempt', 'Start', 'Gap before', 'Lasted', 'Ended', 'Verdict'];
  const columns = heads.map((text) => h('th', { scope: 'col', class: numeric(text) }, text));
  return h('table', { class: 'rows', id: 'attempts' },
    h('caption', {}, 'The attempts in words'), h('thead', {}, h('tr', {}, ...columns)), h('tbody', {}, ...rows));
}

function found({ findings }) {
  if (findings.length === 0) return [h('p', { class: 'empty' }, 'No findings about this token are kept.')];
  const items = findings.toReversed().map((finding) =>
    h('li', { class: finding.severity },
      h('p', { class: 'head' }, clock(finding.at), ' ', tag(finding.severity), ' ', verdictButton(finding.verdict)),
      h('p', { class: 'message' }, visible(finding.message))));
  return [h('h3', {}, 'What was found about it'), h('ol', { class: 'findings' }, ...items)];
}

export function setUpToken() {
  byId('scale').addEventListener('change', (event) => {
    scale = event.target.value;
    draw();
  });
  new ResizeObserver(draw).observe(byId('life-body'));
}
