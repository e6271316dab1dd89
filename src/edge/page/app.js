// Brings the parts of the page together: what is asked when, and who shows it.

import { byId, say } from './dom.js';
import { setUpExplanation } from './explanation.js';
import { addFinding, loadFindings, setUpFindings } from './findings.js';
import { clock } from './format.js';
import { setTraceUrl } from './links.js';
import { setUpOverview, showOverview } from './overview.js';
import { Live, NoAnswer, ask } from './source.js';
import { chooseToken, chosen, draw, goesOn, loadToken, setUpToken, tokenChanged } from './token.js';
import { loadTokens, refreshTokens, selectToken, setUpTokens, showApis } from './tokens.js';
import { showTrust } from './trust.js';

/** Between two questions while nothing happens, and after something did. */
const QUIET_MS = 5000;
const SOON_MS = 1000;

let summary;
let asked = 0;
let told = 0;
let soon;
let live;

async function loadSummary() {
  told = Date.now();
  summary = await ask('summary');
  setTraceUrl(summary.trace_url);
  showOverview(summary);
  showTrust(summary);
  showApis(summary.profiles, summary.verdicts);
}

/** Says how the page is connected; the same state is not announced again. */
function connection(state) {
  byId('live').dataset.state = state;
  say(byId('live'), { live: 'live', asking: 'asking every 5 s', lost: 'no answer' }[state]);
}

/** Takes the place of the answer, which may have changed meanwhile. */
function sayLost({ status, message }) {
  const what = status === undefined ? 'The sidecar does not answer: it has ended, or kubectl port-forward has' : `The sidecar refuses to answer: ${message}`;
  const shown = summary ? `What is shown is from ${clock(summary.now)}` : 'Nothing is known yet';
  byId('sentence').dataset.severity = 'lost';
  say(byId('sentence'), `${what}. ${shown}; the page goes on asking.`);
}

/** Runs what asks the sidecar; that it does not answer is told once, at the top. */
async function attempt(...questions) {
  try {
    for (const question of questions) await question();
    return true;
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    connection('lost');
    sayLost(error);
    return false;
  }
}

async function refresh() {
  asked = Date.now();
  // Without a stream (too many are open, or it was cut off) the list has to be asked for.
  const findings = live.isOpen ? [] : [loadFindings];
  if (await attempt(loadSummary, ...findings, () => refreshTokens(summary), loadToken)) connection(live.isOpen ? 'live' : 'asking');
}

/** After a finding the counts are different; a burst of them asks once. */
function countSoon() {
  if (soon) return;
  soon = setTimeout(() => {
    soon = undefined;
    attempt(loadSummary);
  }, Math.max(0, told + SOON_MS - Date.now()));
}

/** The token that the address names; undefined if it names none. */
function fromAddress() {
  const named = new URLSearchParams(location.hash.slice(1));
  if (!named.has('token') || !named.has('api')) return undefined;
  return { api: named.get('api'), scope: named.get('scope') ?? '', token: named.get('token') };
}

async function follow() {
  const token = fromAddress();
  if (!token) return;
  selectToken(token);
  await attempt(() => chooseToken(token), loadTokens);
  byId('life').scrollIntoView({ block: 'start' });
  byId('life-title').focus({ preventScroll: true });
}

/** Something to look at for who has not chosen yet: the token of the latest finding. */
async function chooseFirst(findings) {
  if (chosen() || fromAddress()) return;
  const known = findings.find(({ verdict }) => verdict !== 'token_invalid');
  if (!known) return;
  selectToken(known);
  await chooseToken(known);
}

function start() {
  setUpExplanation();
  setUpOverview(() => showOverview(summary));
  setUpFindings();
  setUpTokens(() => attempt(loadTokens));
  setUpToken();
  live = new Live({
    state: connection,
    finding: (finding) => {
      addFinding(finding);
      tokenChanged(finding);
      countSoon();
      attempt(() => chooseFirst([finding]));
    },
    // The summary first: it says where traces are.
    resumed: () => attempt(refresh, async () => chooseFirst(await loadFindings())),
  });
  addEventListener('hashchange', follow);
  follow();
  setInterval(() => {
    if (document.hidden) return;
    if (goesOn()) draw();
    if (Date.now() - asked >= QUIET_MS) refresh();
  }, 1000);
}

start();
