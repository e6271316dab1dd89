// The latest findings, live.

import { byId, h, reconcile, say } from './dom.js';
import { tag, verdictButton } from './explanation.js';
import { clock, count, span, visible } from './format.js';
import { sender, tokenLink, traceLink } from './links.js';
import { ask } from './source.js';

const FEW = 8;
const MANY = 200;

let found = [];
let limit = FEW;
let paused = false;
let held = [];

/** The same for a finding and its confirmation. */
const identity = (finding) =>
  JSON.stringify(['at', 'verdict', 'api', 'scope', 'token', 'client', 'call', 'attempt', 'message'].map((name) => finding[name] ?? null));

function holderText(finding, holder) {
  const since = ` since ${clock(holder.since)}, ${span(finding.at - holder.since)} before`;
  const { api, scope } = finding;
  const token = holder.token === undefined ? [] : [', token ', tokenLink({ api, scope, token: holder.token })];
  const trace = traceLink(holder.trace_id);
  return [sender(holder), since, ...token, trace && ' ', trace];
}

function item(finding) {
  const { holder } = finding;
  const time = h('time', { datetime: new Date(finding.at * 1000).toISOString() }, clock(finding.at));
  const trace = traceLink(finding.trace_id);
  const details = [
    h('dt', {}, 'Do'), h('dd', {}, finding.remedy),
    h('dt', {}, 'By'), h('dd', {}, sender(finding), `, attempt ${finding.attempt}`, trace && ' ', trace),
  ];
  if (holder) details.push(h('dt', {}, 'Holder'), h('dd', {}, ...holderText(finding, holder)));
  return h('li', { class: finding.severity },
    h('p', { class: 'head' }, time, ' ', tag(finding.severity), ' ', verdictButton(finding.verdict), ' ',
      h('span', { class: 'confirmed' }), ' ', h('bdi', { class: 'api' }, visible(finding.api)), ' ', tokenLink(finding)),
    h('p', { class: 'message' }, visible(finding.message)),
    h('dl', {}, ...details));
}

function show() {
  const severity = byId('findings-severity').value;
  const wanted = found.filter((finding) => !severity || finding.severity === severity);
  reconcile(byId('findings-list'), wanted.slice(0, limit), identity, item, (element, finding) => {
    say(element.querySelector('.confirmed'), finding.confirmed ? 'confirmed' : '');
  });
  const empty = byId('findings-empty');
  empty.hidden = wanted.length > 0;
  say(empty, found.length > 0 ? `None of severity ${severity} among the latest ${count(found.length)}.` : 'No findings so far. New ones appear here by themselves.');
  byId('more-findings').hidden = wanted.length <= limit;
  say(byId('held'), held.length > 0 ? `${count(held.length)} new` : '');
}

function take(finding) {
  const key = identity(finding);
  const at = found.findIndex((other) => identity(other) === key);
  if (at >= 0) found[at] = finding;
  else found.unshift(finding);
  found.length = Math.min(found.length, MANY);
}

/** Takes in one finding from the stream. */
export function addFinding(finding) {
  if (paused) {
    held.push(finding);
    held = held.slice(-MANY);
  } else {
    take(finding);
  }
  show();
}

/** Asks for the list, for what came before the stream or was lost from it. */
export async function loadFindings() {
  const { findings } = await ask('findings', { limit: MANY });
  if (paused) return found;
  const seen = new Set(findings.map(identity));
  // What the stream brought meanwhile is newer than the list.
  const newer = found.filter((finding) => finding.at > (findings[0]?.at ?? 0) && !seen.has(identity(finding)));
  found = [...newer, ...findings].slice(0, MANY);
  show();
  return found;
}

export function setUpFindings() {
  byId('findings-severity').addEventListener('change', show);
  byId('more-findings').addEventListener('click', () => {
    limit = MANY;
    show();
  });
  byId('pause').addEventListener('click', ({ currentTarget }) => {
    paused = !paused;
    currentTarget.setAttribute('aria-pressed', String(paused));
    currentTarget.textContent = paused ? 'Resume' : 'Pause';
    if (!paused) held.splice(0).forEach(take);
    show();
  });
}
