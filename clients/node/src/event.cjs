'use strict';

/**
 * Event lines of wire protocol version 1 (SPEC §2), always within its limits: the sidecar rejects an event for one value
 * that is too long, so values are shortened here instead.
 */

const crypto = require('node:crypto');
const os = require('node:os');
const { fingerprint, isWellFormed } = require('./fingerprint.cjs');

const BYTES_MAX = Object.freeze({
  api: 128,
  token: 512,
  call: 64,
  fingerprint: 64,
  client: 128,
  scope: 256,
  error: 128,
  requestId: 128,
  traceparent: 128,
});
const NOT_ASCII = /[^\x00-\x7f]/;

/** @typedef {ReturnType<typeof newCall>} Call */

/**
 * One logical call: what all its events share. The fingerprints are made when the first event is written, not when the
 * application makes its request.
 */
function newCall(fields) {
  return {
    api: fields.api,
    token: fields.token,
    call: fields.call,
    scope: fields.scope,
    tokenOrigin: fields.tokenOrigin,
    body: fields.body,
    tokenField: fields.tokenField,
    ignoredFields: fields.ignoredFields,
    fp: fields.fp,
    fpRaw: fields.fpRaw,
    common: undefined,
    fingerprints: '',
  };
}

/** Hash the body now and let go of it. */
function fingerprintNow(call) {
  if (call.body !== undefined) {
    const found = fingerprint(call.api, call.body, call.tokenField, call.ignoredFields);
    call.body = undefined;
    call.fp ??= found.fp;
    call.fpRaw ??= found.fpRaw;
    call.token ??= found.token;
  }
}

/** What an answer tells, within its limits: a proxy's page in place of a code must not wait in the buffer. */
function newOutcome(outcome, details) {
  return {
    outcome: outcome === 'ok' || outcome === 'error' ? outcome : 'no_response',
    error: limited(details?.error, BYTES_MAX.error),
    httpStatus: details?.httpStatus,
    requestId: limited(details?.requestId, BYTES_MAX.requestId),
    readUnits: details?.readUnits,
    writeUnits: details?.writeUnits,
  };
}

/** `value` cut to `bytesMax` bytes of UTF-8; undefined if it is no string. */
function limited(value, bytesMax) {
  return typeof value === 'string' ? clipped(value, bytesMax) : undefined;
}

/** One event as a line with its newline; empty for a call whose body turned out to have no token. */
function line(event, client) {
  const { call } = event;
  if (call.common === undefined) describe(call, client);
  if (call.common === '') return '';
  const at = `,"at":${event.at / 1000}}\n`;
  if (event.type === 'attempt_start') {
    return (
      `{"type":"attempt_start"${call.common},"attempt":${event.attempt}` +
      integerField('max_attempts', event.maxAttempts, 1) +
      call.fingerprints +
      stringField('traceparent', event.traceparent) +
      `,"token_origin":"${call.tokenOrigin}"${at}`
    );
  }
  if (event.type === 'attempt_end') {
    return (
      `{"type":"attempt_end"${call.common},"attempt":${event.attempt}` +
      integerField('max_attempts', event.maxAttempts, 1) +
      // Only needed if there is no start to look them up in.
      (event.startDropped ? call.fingerprints : '') +
      outcomeFields(event.outcome) +
      numberField('duration_ms', event.durationMs) +
      numberField('read_units', event.outcome.readUnits) +
      numberField('write_units', event.outcome.writeUnits) +
      at
    );
  }
  return (
    `{"type":"call_end"${call.common},"attempts":${event.attempt}` +
    outcomeFields(event.outcome) +
    numberField('duration_ms', event.durationMs) +
    at
  );
}

/** The report of `dropped` events that were never sent. */
function reportLine(client, dropped) {
  return `{"type":"client_report","client":${quoted(client)},"dropped":${dropped}}\n`;
}

function describe(call, client) {
  fingerprintNow(call);
  if (typeof call.token !== 'string') {
    call.common = '';
    return;
  }
  call.common =
    `,"api":${quoted(clipped(call.api, BYTES_MAX.api))}` +
    `,"token":${quoted(clippedUnique(call.token, BYTES_MAX.token))}` +
    `,"call":${quoted(clippedUnique(call.call, BYTES_MAX.call))}` +
    `,"client":${quoted(client)}` +
    uniqueField('scope', call.scope, BYTES_MAX.scope);
  call.fingerprints =
    uniqueField('fp', call.fp, BYTES_MAX.fingerprint) + uniqueField('fp_raw', call.fpRaw, BYTES_MAX.fingerprint);
}

function outcomeFields({ outcome, error, httpStatus, requestId }) {
  let code = stringField('error', error);
  const status = integerField('http_status', httpStatus, 0);
  // The protocol wants one of the two; a code that no profile lists leaves the outcome open.
  if (outcome === 'error' && code === '' && status === '') code = ',"error":"UnknownError"';
  return `,"outcome":"${outcome}"${code}${status}${stringField('request_id', requestId)}`;
}

/** `value` as a JSON string; what is not Unicode becomes U+FFFD, as the sidecar accepts nothing else. */
function quoted(value) {
  return JSON.stringify(isWellFormed(value) ? value : Buffer.from(value).toString());
}

/** `value`, cut at a character boundary to at most `bytesMax` bytes of UTF-8. */
function clipped(value, bytesMax) {
  // Each unit takes a byte at least. The result is a string of its own, which does not keep the whole of `value`.
  return fits(value, bytesMax) ? value : cut(Buffer.from(value.slice(0, bytesMax)), bytesMax);
}

/**
 * Like `clipped` for identifiers: two long values that begin alike stay different. The end of a value that is too long is
 * replaced by a hash of all of it.
 */
function clippedUnique(value, bytesMax) {
  if (fits(value, bytesMax)) return value;
  const bytes = Buffer.from(value);
  const mark = `~${crypto.createHash('sha256').update(bytes).digest('hex').slice(0, 32)}`;
  return cut(bytes, bytesMax - mark.length) + mark;
}

function fits(value, bytesMax) {
  return value.length <= bytesMax && (!NOT_ASCII.test(value) || Buffer.byteLength(value) <= bytesMax);
}

function cut(bytes, bytesMax) {
  let end = Math.min(bytesMax, bytes.length);
  // A continuation byte at the cut: its character begins before it and does not fit.
  while (end < bytes.length && end > 0 && (bytes[end] & 0xc0) === 0x80) end -= 1;
  return bytes.utf8Slice(0, end);
}

/** `<HOSTNAME>/<pid>` of this process; all threads of it share the name. */
function clientName() {
  const suffix = `/${process.pid}`;
  return clipped(process.env.HOSTNAME || os.hostname(), BYTES_MAX.client - suffix.length) + suffix;
}

function stringField(name, value) {
  return typeof value === 'string' && value !== '' ? `,"${name}":${quoted(value)}` : '';
}

function uniqueField(name, value, bytesMax) {
  return typeof value === 'string' && value !== '' ? `,"${name}":${quoted(clippedUnique(value, bytesMax))}` : '';
}

function numberField(name, value) {
  if (typeof value !== 'number' || !(value >= 0) || value > Number.MAX_SAFE_INTEGER) return '';
  return `,"${name}":${Number.isInteger(value) ? value : Math.round(value * 1e6) / 1e6}`;
}

function integerField(name, value, minimum) {
  return Number.isSafeInteger(value) && value >= minimum ? `,"${name}":${value}` : '';
}

module.exports = { BYTES_MAX, clientName, fingerprintNow, limited, line, newCall, newOutcome, reportLine };
