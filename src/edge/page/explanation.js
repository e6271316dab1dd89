// What a verdict means, in a dialog of its own.

import { byId, h } from './dom.js';
import { broken } from './format.js';
import { ask } from './source.js';

const PARTS = [
  ['What to do', 'remedy'],
  ['Is it safe to retry?', 'retry'],
  ['What was seen', 'what'],
  ['Why it matters', 'why'],
  ['How to confirm', 'confirm'],
  ['How to fix', 'fix'],
];

const known = new Map();

/** The severity as a word with a colour. */
export const tag = (severity) => h('span', { class: `tag ${severity}` }, severity);

/** A verdict's name that opens its explanation. */
export function verdictButton(verdict) {
  return h('button', { type: 'button', class: 'verdict', 'aria-haspopup': 'dialog', onclick: () => explain(verdict) }, ...broken(verdict));
}

/** Paragraphs; lines that begin with two spaces are commands and stay as they are. */
function paragraphs(text) {
  const blocks = [];
  for (const line of text.split('\n')) {
    const isCode = line.startsWith('  ');
    const last = blocks.at(-1);
    const shown = isCode ? line.slice(2) : line;
    if (last?.isCode === isCode) last.lines.push(shown);
    else blocks.push({ isCode, lines: [shown] });
  }
  return blocks.map(({ isCode, lines }) =>
    isCode ? h('pre', { tabindex: '0' }, lines.join('\n')) : h('p', {}, lines.join('\n')),
  );
}

async function explain(verdict) {
  const dialog = byId('explanation');
  const title = byId('explanation-title');
  const body = byId('explanation-body');
  title.textContent = verdict;
  body.replaceChildren(h('p', { class: 'empty' }, 'Asking the sidecar.'));
  dialog.showModal();
  title.focus();
  try {
    const text = known.get(verdict) ?? (await ask(`explain/${verdict}`));
    known.set(verdict, text);
    if (title.textContent !== verdict) return;
    body.replaceChildren(
      h('p', {}, tag(text.severity), ' ', text.summary),
      ...PARTS.flatMap(([heading, part]) => [h('h3', {}, heading), ...paragraphs(text[part])]),
    );
  } catch (error) {
    body.replaceChildren(h('p', { class: 'empty' }, `The explanation cannot be had: ${error.message}`));
  }
}

export function setUpExplanation() {
  const dialog = byId('explanation');
  byId('explanation-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => {
    // Beside the dialog is its backdrop, which belongs to it.
    if (event.target === dialog) dialog.close();
  });
}
