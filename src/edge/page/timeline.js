// The drawing of one token's life, to scale.

import { svg } from './dom.js';
import { span, visible, words } from './format.js';

const LANE = 34;
const HEAD = 40;
const LANES_MAX = 24;
const SIDE = 10;
/** Pixels that a letter takes, wide ones included. */
const LETTER = 7;

/** Outcomes by what they mean for the write. */
const MEANING = {
  success: 'applied',
  cancelled: 'refused',
  throttled: 'refused',
  rejected: 'refused',
  mismatch: 'refused',
  no_response: 'unclear',
  server_error: 'unclear',
  in_progress: 'unclear',
};

/** When the server has surely forgotten the token; undefined while that cannot be said. */
export function endOfWindow({ window_s, window_anchor, first_start, first_success }) {
  const from = window_anchor === 'first_start' ? first_start : first_success;
  return from === undefined ? undefined : from + window_s;
}

function lastMoment({ attempts, findings, first_start }, now) {
  const ends = attempts.map(({ start, end }) => end ?? Math.max(start, now));
  return Math.max(first_start, ...ends, ...findings.map(({ at }) => at));
}

/** Whether the whole window can be drawn without making the attempts too small to tell apart. */
export function fitsWindow(token) {
  const from = Math.min(token.first_start, ...token.attempts.map(({ start }) => start));
  const end = endOfWindow(token) ?? token.first_start + token.window_s;
  return end - from <= 6 * (lastMoment(token, 0) - from);
}

/** Round steps, about one for every 110 pixels. */
function ticks(from, to, width) {
  const wish = ((to - from) * 110) / width;
  const power = 10 ** Math.floor(Math.log10(wish));
  const minutes = [15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400];
  const step = wish < 10 ? power * [1, 2, 5, 10].find((n) => n * power >= wish) : (minutes.find((n) => n >= wish) ?? wish);
  const at = [];
  for (let t = 0; t <= to - from; t += step) at.push(t);
  return at;
}

export function drawTimeline(token, scale, width, now) {
  const attempts = token.attempts.slice(-LANES_MAX);
  const from = Math.min(token.first_start, ...attempts.map(({ start }) => start));
  const last = lastMoment(token, now);
  const windowEnd = endOfWindow(token);
  const wanted = scale === 'window' ? Math.max(last, windowEnd ?? token.first_start + token.window_s) : last;
  const to = from + Math.max(0.001, wanted - from) * 1.04;
  const height = HEAD + attempts.length * LANE + 6;
  const x = (t) => SIDE + ((Math.min(Math.max(t, from), to) - from) / (to - from)) * (width - 2 * SIDE);
  const space = { token, from, to, last, now, width, height, x };
  let quiet;
  const lanes = attempts.map((attempt, i) => {
    const drawn = lane(space, attempt, quiet, HEAD + i * LANE);
    quiet = Math.max(quiet ?? 0, attempt.end ?? Infinity);
    return drawn;
  });
  const label = `Timeline of ${attempts.length} attempts over ${span(last - from)}; the table below says the same in words`;
  return svg('svg', { class: 'timeline', width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
    ...ground(space, windowEnd), ...axis(space), ...lanes.flat(), ...marks(space, attempts));
}

/** The window behind everything: sure, then the part where only the server knows. */
function ground({ token, to, x, height }, windowEnd) {
  const start = token.first_start;
  const sure = start + token.window_s;
  const box = (a, b, kind) => svg('rect', { class: kind, x: x(a), y: 16, width: Math.max(0, x(b) - x(a)), height: height - 16 });
  const parts = [box(start, sure, 'window')];
  if (windowEnd !== undefined && windowEnd > sure) parts.push(box(sure, windowEnd, 'edge'));
  const end = windowEnd ?? sure;
  if (end <= to) {
    parts.push(svg('path', { class: 'limit', d: `M${x(end)} 16V${height}` }),
      svg('text', { class: 'note', x: x(end) - 4, y: 12, 'text-anchor': 'end' }, windowEnd === undefined ? 'window, at least' : 'window ends'));
  } else {
    parts.push(svg('text', { class: 'note', x: x(to), y: 12, 'text-anchor': 'end' }, `window ends ${span(end - to)} later →`));
  }
  return parts;
}

function axis({ from, to, width, height, x }) {
  return ticks(from, to, width).flatMap((t) => {
    const at = x(from + t);
    return [
      svg('path', { class: 'grid', d: `M${at} 32V${height}` }),
      at < width - 40 && svg('text', { class: 'tick', x: at + 3, y: 28 }, t === 0 ? '0' : `+${span(t)}`),
    ].filter(Boolean);
  });
}

/** One attempt: who, the bar, its lease, and the gap since `quiet`, when all before it had ended. */
function lane({ token, now, to, width, x }, attempt, quiet, y) {
  const open = attempt.end === undefined;
  const end = attempt.end ?? Math.max(now, attempt.start);
  const meaning = open ? 'open' : (MEANING[attempt.class] ?? 'unclear');
  const left = x(attempt.start);
  const right = Math.max(left + 3, x(end));
  const lease = attempt.start + token.lease_s;
  const bar = y + 17;
  const outcome = open ? 'open' : words(attempt.class ?? '');
  const fromRight = left > width / 2;
  const room = (fromRight ? right : width - left) - SIDE;
  const text = label(attempt, outcome, Math.floor(room / LETTER));
  const parts = [
    svg('path', { class: 'lease', d: `M${left} ${bar + 5}H${x(lease)}${lease <= to ? 'm0-4v8' : ''}` }),
    svg('rect', { class: `attempt ${meaning}`, x: left, y: bar, width: right - left, height: 10 }),
    svg('text', { class: 'who', x: fromRight ? Math.max(right, left) : left, y: bar - 4, 'text-anchor': fromRight ? 'end' : 'start' }, text),
  ];
  const gap = attempt.start - (quiet ?? Infinity);
  const gapLeft = gap > 0 ? x(quiet) : left;
  if (left - gapLeft > 6) {
    parts.push(svg('path', { class: 'gap', d: `M${gapLeft} ${bar - LANE + 10}V${bar + 5}H${left}` }));
    if (left - gapLeft > 64) parts.push(svg('text', { class: 'gap', x: left - 5, y: bar + 15, 'text-anchor': 'end' }, span(gap)));
  }
  return parts;
}

/** What fits into so many letters: the outcome first, then who sent it. */
function label({ client, call, number }, outcome, letters) {
  const end = `#${number} ${outcome}`;
  const names = [client, call].filter((name) => name !== undefined).map(visible);
  for (const who of [names.join(' '), names[0] ?? '']) {
    const text = `${cut(who)} ${end}`.trim();
    if (text.length <= letters) return text;
  }
  return end;
}

/** A long name with its beginning and end: both tell clients apart. */
const cut = (text) => (text.length <= 34 ? text : `${text.slice(0, 20)}…${text.slice(-12)}`);

/** Findings as diamonds on the lane of their attempt, at their time. */
function marks({ token, x }, attempts) {
  return token.findings.flatMap((finding) => {
    const lane = attempts.findIndex((attempt) =>
      attempt.number === finding.attempt && attempt.client === finding.client && attempt.call === finding.call && attempt.start <= finding.at + 0.001);
    if (lane < 0) return [];
    const y = HEAD + lane * LANE + 22;
    const at = x(finding.at);
    return [svg('path', { class: `mark ${finding.severity}`, d: `M${at} ${y - 8}l6 8l-6 8l-6-8z` }, svg('title', {}, `${finding.verdict} at ${span(finding.at - token.first_start)}`))];
  });
}
