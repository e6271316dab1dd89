// Which tokens are open, unknown or stuck: a list to filter, search, sort and turn over.

import { byId, h, reconcile, say } from './dom.js';
import { broken, count, span, visible, words } from './format.js';
import { tokenHash, tokenLink } from './links.js';
import { ask } from './source.js';

const PAGE = 20;
/** After the last key, before the search is sent. */
const TYPING_MS = 250;
/** How long an answer holds while nothing is counted. */
const UNCHANGED_MS = 30_000;

const state = { sort: 'last_seen', order: 'desc', offset: 0, selected: '' };
let newest = 0;
/** The last answer, when it came, and the counts from which one can tell whether it still holds. */
let answered;
let counted;
/** Whether the list is on the screen, and whether it was left alone because it was not. */
let inView = true;
let stale = false;
let reload = () => {};

const parameters = () => Object.fromEntries(new FormData(byId('tokens-form')));

/** The word for a status, with what is worth a colour. */
export function statusTag({ status, stuck }) {
  const text = { in_flight: 'open' }[status] ?? words(status);
  return h('span', { class: `status ${status}` }, stuck ? `${text}, stuck` : text);
}

function row(token) {
  return h('tr', {},
    h('th', { scope: 'row' }, tokenLink(token),
      h('span', { class: 'meaning narrow' }, h('bdi', {}, ...broken(visible(token.api)))),
      h('span', { class: 'meaning' }, token.scope === '' ? '' : 'scope ', token.scope === '' ? '' : h('bdi', {}, visible(token.scope)))),
    h('td', { class: 'wide' }, h('bdi', {}, visible(token.api))),
    h('td'), h('td', { class: 'number wide' }), h('td', { class: 'number' }), h('td', { class: 'number wide' }));
}

function show({ tokens, total, offset, complete }, now) {
  const key = (token) => tokenHash(token);
  reconcile(byId('tokens-table').tBodies[0], tokens, key, row, (element, token) => {
    const [, , status, attempts, age, seen] = element.children;
    status.replaceChildren(statusTag(token));
    say(attempts, count(token.attempt_count));
    say(age, span(now - token.first_start));
    say(seen, `${span(now - token.last_seen)} ago`);
    element.classList.toggle('selected', key(token) === state.selected);
  });
  byId('tokens-table').hidden = total === 0;
  const empty = byId('tokens-empty');
  empty.hidden = total > 0;
  byId('pager').hidden = total === 0;
  if (total === 0) explainNothing(empty, complete);
  const to = offset + tokens.length;
  const cut = complete ? '' : ', not all were searched';
  say(byId('range'), total === 0 ? '' : `${count(offset + 1)} to ${count(to)} of ${count(total)}${cut}`);
  byId('previous').disabled = offset === 0;
  byId('next').disabled = to >= total;
}

function explainNothing(element, complete) {
  const { status, q, api } = parameters();
  const name = byId('tokens-form').elements.status.selectedOptions[0].textContent;
  const what = status === '' ? 'No token' : `No ${name} token`;
  const where = api === '' ? '' : ` of ${visible(api)}`;
  if (!complete) say(element, `${what}${where} matches the search among those that were searched: there are too many for one search. Choose a status or an API, or search for a whole token.`);
  else if (q !== '') say(element, `${what}${where} matches the search. It looks for a whole token, or a part of what is shown here.`);
  else if (status === '') say(element, `${what}${where} is known yet: none was reported since the sidecar started.`);
  else say(element, `${what}${where}: none waits for its outcome. Choose status “all” to see the others.`);
}

function markSorting() {
  for (const head of byId('tokens-table').querySelectorAll('[data-sort]')) {
    // The column says how long ago: the earliest has the greatest age.
    const ascending = (state.order === 'asc') === (head.dataset.sort === 'attempts');
    const direction = ascending ? 'ascending' : 'descending';
    if (head.dataset.sort === state.sort) head.setAttribute('aria-sort', direction);
    else head.removeAttribute('aria-sort');
  }
}

/** Asks for the list as it is wanted now; an answer that a later one overtook is dropped. */
export async function loadTokens() {
  newest += 1;
  const mine = newest;
  const { sort, order, offset } = state;
  const answer = await ask('tokens', { ...parameters(), sort, order, offset, limit: PAGE });
  if (mine !== newest) return;
  if (answer.tokens.length === 0 && offset > 0) {
    // The page has emptied meanwhile.
    state.offset = Math.max(0, Math.floor((answer.total - 1) / PAGE) * PAGE);
    if (state.offset < offset) await loadTokens();
    return;
  }
  answered = { answer, at: Date.now() };
  stale = false;
  markSorting();
  show(answer, Date.now() / 1000);
}

/**
 * Asks for the list if it is looked at and, going by the summary, can have changed. Nobody counts a
 * token that only becomes stuck or expires, so an old answer is not trusted for ever.
 */
export async function refreshTokens({ events, profiles, verdicts }) {
  const counts = JSON.stringify([events, profiles.map(({ tokens }) => tokens), verdicts.map(({ total }) => total)]);
  if (answered && !inView) {
    stale = true;
  } else if (answered && counts === counted && Date.now() - answered.at < UNCHANGED_MS) {
    show(answered.answer, Date.now() / 1000);
  } else {
    await loadTokens();
    counted = counts;
  }
}

/** Marks the row of the token whose life is shown. */
export function selectToken(named) {
  state.selected = tokenHash(named);
}

/** Offers the APIs there are. */
export function showApis(profiles, verdicts) {
  const select = byId('tokens-form').elements.api;
  const names = new Set(profiles.filter(({ active, tokens }) => active || Object.values(tokens).some((n) => n > 0)).map(({ api }) => api));
  for (const { apis } of verdicts) Object.keys(apis).forEach((api) => api !== 'other' && names.add(api));
  const known = new Set([...select.options].map((option) => option.value));
  for (const name of names) if (!known.has(name)) select.append(h('option', { value: name }, visible(name)));
}

/** `refresh` asks again and shows what went wrong, if anything does. */
export function setUpTokens(refresh) {
  reload = refresh;
  const anew = () => {
    state.offset = 0;
    reload();
  };
  const form = byId('tokens-form');
  let typing;
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    clearTimeout(typing);
    anew();
  });
  form.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(anew, TYPING_MS);
  });
  for (const head of byId('tokens-table').querySelectorAll('[data-sort]')) {
    head.firstElementChild.addEventListener('click', () => {
      const again = state.sort === head.dataset.sort;
      state.order = again && state.order === 'desc' ? 'asc' : 'desc';
      state.sort = head.dataset.sort;
      anew();
    });
  }
  const turn = (pages) => () => {
    state.offset = Math.max(0, state.offset + pages * PAGE);
    reload();
  };
  new IntersectionObserver((entries) => {
    inView = entries.at(-1).isIntersecting;
    if (inView && stale) reload();
  }).observe(byId('tokens'));
  byId('previous').addEventListener('click', turn(-1));
  byId('next').addEventListener('click', turn(1));
}
