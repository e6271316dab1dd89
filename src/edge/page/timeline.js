// The drawing of one token's life, to scale.

import { svg } from './dom.js';
import { plural, span, visible, words } from './format.js';

const LANE = 34;
/** What a lane has more when something was found about its attempt. */
const MARKS = 22;
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

/** Verdicts with which a succeeded token begins anew. */
const AFTER_WINDOW = ['reuse_after_window', 'token_recycled'];

/** Windows of earlier lifecycles that ended in a success, as far as their attempts are remembered from the first one on. */
function earlierWindows({ attempts, first_start, window_anchor, window_s }) {
  const lives = [];
  for (const attempt of attempts) {
    const anew = attempt.verdict === 'first_use' || AFTER_WINDOW.includes(attempt.verdict);
    if (anew) lives.push({ start: attempt.start });
    const life = lives.at(-1);
    if (life && attempt.class === 'success') life.success = Math.min(life.success ?? Infinity, attempt.end);
  }
  const succeeded = lives.filter(({ start, success }) => start < first_start - 0.0005 && success < first_start);
  return succeeded.map(({ start, success }) => ({ start, sure: start + window_s, end: (window_anchor === 'first_start' ? start : success) + window_s }));
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
  const found = foundBy(attempts, token.findings);
  let height = HEAD;
  const tops = found.map((findings) => {
    const top = height;
    height += LANE + (findings.length > 0 ? MARKS : 0);
    return top;
  });
  height += 6;
  const x = (t) => SIDE + ((Math.min(Math.max(t, from), to) - from) / (to - from)) * (width - 2 * SIDE);
  const space = { token, from, to, now, width, height, x };
  let quiet;
  const lanes = attempts.map((attempt, i) => {
    const drawn = [...lane(space, attempt, quiet, tops[i]), ...marks(space, found[i], tops[i])];
    quiet = Math.max(quiet ?? 0, attempt.end ?? Infinity);
    return drawn;
  });
  const label = `Timeline of ${attempts.length} attempts over ${span(last - from)}; the table below says the same in words`;
  return svg('svg', { class: 'timeline', width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
    ...ground(space, windowEnd), ...axis(space), ...lanes.flat());
}

/** The findings about each attempt, the earliest first. */
function foundBy(attempts, findings) {
  const found = attempts.map(() => []);
  for (const finding of findings.toSorted((a, b) => a.at - b.at)) {
    const lane = attempts.findIndex(({ number, client, call, start }) =>
      number === finding.attempt && client === finding.client && call === finding.call && start <= finding.at + 0.001);
    found[lane]?.push(finding);
  }
  return found;
}

/** The windows behind everything: sure, then the part where only the server knows. */
function ground({ token, from, to, x, height }, windowEnd) {
  const start = token.first_start;
  const sure = start + token.window_s;
  const box = (a, b, kind) => svg('rect', { class: kind, x: x(a), y: 16, width: Math.max(0, x(b) - x(a)), height: height - 16 });
  const limit = (at) => svg('path', { class: 'limit', d: `M${x(at)} 16V${height}` });
  const note = (at, text) => svg('text', { class: 'note', x: x(at) - 4, y: 12, 'text-anchor': 'end' }, text);
  const parts = earlierWindows(token).flatMap(({ start: begun, sure: known, end }) => [
    box(begun, known, 'past'), end > known && box(known, end, 'edge'), limit(end), x(end) - x(from) > 90 && note(end, 'window ended'),
  ]);
  parts.push(box(start, sure, 'window'));
  if (windowEnd !== undefined && windowEnd > sure) parts.push(box(sure, windowEnd, 'edge'));
  const end = windowEnd ?? sure;
  if (end <= to) parts.push(limit(end), note(end, windowEnd === undefined ? 'window, at least' : 'window ends'));
  else parts.push(note(to, `window ends ${span(end - to)} later →`));
  return parts.filter(Boolean);
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
    parts.push(svg('path', { class: 'gap', d: `M${gapLeft} ${y - 7}V${bar + 5}H${left}` }));
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

/** Findings about an attempt: diamonds below it at their time, and their names. */
function marks({ token, width, x }, findings, top) {
  if (findings.length === 0) return [];
  const bar = top + 17;
  const y = bar + 24;
  const drawn = findings.map((finding) => {
    const at = x(finding.at);
    return svg('path', { class: `mark ${finding.severity}`, d: `M${at} ${bar}V${y}m0-6l5 6l-5 6l-5-6z` }, svg('title', {}, `${finding.verdict} at ${span(finding.at - token.first_start)}`));
  });
  const [first, last] = [x(findings[0].at), x(findings.at(-1).at)];
  const fromRight = first > width / 2;
  const room = (fromRight ? first : width - last) - SIDE;
  const names = findings.map(({ verdict }) => verdict).join(', ');
  const text = names.length * LETTER <= room ? names : plural(findings.length, 'finding');
  return [...drawn, svg('text', { class: 'found', x: fromRight ? first - 9 : last + 9, y: y + 4, 'text-anchor': fromRight ? 'end' : 'start' }, text)];
}

/** What the signs of a drawing mean. */
export const signs = () => [
  ['applied', svg('rect', { class: 'attempt applied', width: 18, height: 10, y: 1 })],
  ['refused', svg('rect', { class: 'attempt refused', width: 18, height: 10, y: 1 })],
  ['unclear', svg('rect', { class: 'attempt unclear', width: 18, height: 10, y: 1 })],
  ['open', svg('rect', { class: 'attempt open', width: 16, height: 8, x: 1, y: 2 })],
  ['lease', svg('path', { class: 'lease', d: 'M0 6H18' })],
  ['gap', svg('path', { class: 'gap', d: 'M0 6H18' })],
  ['finding', svg('path', { class: 'mark', d: 'M9 0l5 6l-5 6l-5-6z' })],
  ['window', svg('rect', { class: 'window', width: 18, height: 12 })],
  ['its end, not known exactly here', svg('rect', { class: 'edge', width: 18, height: 12 })],
];
