// Names that lead somewhere: a token to its life, a trace to where traces are kept.

import { h } from './dom.js';
import { visible } from './format.js';

let traceUrl;

/** The template of trace links, from the sidecar's settings; undefined: there are none. */
export function setTraceUrl(url) {
  traceUrl = url;
}

export function traceLink(id, text = 'trace') {
  if (!traceUrl || !id) return undefined;
  const href = traceUrl.replaceAll('{trace_id}', encodeURIComponent(id));
  return h('a', { class: 'trace', href, target: '_blank', rel: 'noopener noreferrer' }, text);
}

/** The part of the address that names a token. */
export const tokenHash = ({ api, scope, token }) => `#${new URLSearchParams({ api, scope, token })}`;

export function tokenLink(named) {
  const shown = h('bdi', {}, visible(named.token));
  return h('a', { class: 'token', href: tokenHash(named), title: visible(named.token) }, shown);
}

/** Who sent, in the words of a finding, a holder or an attempt. */
export function sender({ client, call }) {
  const name = client === undefined ? 'unnamed client' : h('bdi', {}, visible(client));
  return h('span', { class: 'sender' }, name, ...(call === undefined ? [] : [', call ', h('bdi', {}, visible(call))]));
}
