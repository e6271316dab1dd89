'use strict';

/** Attempts of token-taking calls, for any API. */

const { randomUUID } = require('node:crypto');
const { performance } = require('node:perf_hooks');
const { bytesOf } = require('./fingerprint.cjs');
const { BYTES_MAX, fingerprintNow, limited, newCall, newOutcome } = require('./event.cjs');
const { traceparent } = require('./trace.cjs');
const { transport } = require('./transport.cjs');

const now = performance.now.bind(performance);
// What an event takes in the buffer besides its body and the texts that the application gave.
const EVENT_BYTES = 256;
// A longer body is hashed at once: waiting, it would take much of the buffer from other events.
const DEFERRED_BODY_BYTES_MAX = 32 * 1024;
const UNREAD_TOKEN_BYTES = 36;
const OUTCOME_UNKNOWN = Object.freeze({ outcome: 'no_response' });

/** One request on the wire, begun; `end` it once. No method throws, whatever it is given. */
class Attempt {
  #call;
  #number;
  #ownCall;
  #startDropped = true;
  #isBodyCounted = false;
  #startedAt = 0;
  #outcome;
  #callEnded = false;

  /** Not for applications: use `begin`. Without a call, its ends are only counted as dropped. */
  constructor(call, number, ownCall) {
    this.#call = call;
    this.#number = number;
    this.#ownCall = ownCall;
  }

  /** Not for applications: send the start event. */
  start(maxAttempts, parent) {
    const call = this.#call;
    this.#startedAt = now();
    if (call.body !== undefined && call.body.length > DEFERRED_BODY_BYTES_MAX) fingerprintNow(call);
    this.#isBodyCounted = transport.send({
      type: 'attempt_start',
      call,
      attempt: this.#number,
      maxAttempts,
      traceparent: limited(parent, BYTES_MAX.traceparent),
      at: Date.now(),
      bytes: this.#bytes(),
    });
    this.#startDropped = !this.#isBodyCounted;
  }

  /** Report how the request ended; only the first end counts. */
  end(outcome = 'ok', details = undefined) {
    try {
      if (this.#outcome !== undefined) return;
      this.#outcome = newOutcome(outcome, details);
      if (this.#call === undefined) {
        transport.skip();
      } else {
        const isQueued = transport.send({
          type: 'attempt_end',
          call: this.#call,
          attempt: this.#number,
          maxAttempts: details?.maxAttempts,
          startDropped: this.#startDropped,
          outcome: this.#outcome,
          durationMs: now() - this.#startedAt,
          at: Date.now(),
          bytes: this.#bytes(),
        });
        this.#isBodyCounted ||= isQueued;
      }
      if (this.#ownCall) this.endCall();
    } catch (failure) {
      transport.countFailure(failure);
    }
  }

  /** Report that the call is over, with the outcome of this, its last attempt. */
  endCall(durationMs = undefined) {
    try {
      if (this.#outcome === undefined) {
        this.end('no_response');
      }
      if (this.#callEnded) return;
      this.#callEnded = true;
      if (this.#call === undefined) {
        transport.skip();
        return;
      }
      transport.send({
        type: 'call_end',
        call: this.#call,
        attempt: this.#number,
        outcome: this.#outcome ?? OUTCOME_UNKNOWN,
        durationMs,
        at: Date.now(),
        bytes: this.#bytes(),
      });
    } catch (failure) {
      transport.countFailure(failure);
    }
  }

  /** What the attempt's next event takes in the buffer: the first one that got in counts the body that it keeps. */
  #bytes() {
    const call = this.#call;
    const isCounted = this.#isBodyCounted || call.body === undefined;
    return EVENT_BYTES + textBytes(call) + (isCounted ? 0 : call.body.length);
  }
}

/**
 * Report that a request with `token` is about to be sent; never throws.
 *
 * @param {string} api
 * @param {string} token
 * @param {import('../index.d.cts').BeginOptions} [options]
 * @returns {Attempt}
 */
function begin(api, token, options = {}) {
  let ownCall = true;
  let number = 1;
  try {
    ownCall = !options.call;
    if (Number.isSafeInteger(options.attempt) && options.attempt >= 1) number = options.attempt;
    if (!transport.accepting) {
      transport.skip();
      return new Attempt(undefined, number, ownCall);
    }
    const call = newCall({
      api: requireString('api', api),
      token: requireString('token', token),
      call: options.call ? requireString('call', options.call) : randomUUID(),
      scope: options.scope,
      tokenOrigin: options.tokenOrigin === 'sdk' ? 'sdk' : 'caller',
      body: ownCopy(options.body),
      tokenField: options.tokenField,
      ignoredFields: options.ignoredFields,
      fp: options.fp,
      fpRaw: options.fpRaw,
    });
    const attempt = new Attempt(call, number, ownCall);
    attempt.start(options.maxAttempts, options.traceparent ?? traceparent());
    return attempt;
  } catch (failure) {
    transport.countFailure(failure);
    transport.skip();
    return new Attempt(undefined, number, ownCall);
  }
}

/** The application may write something else into its bytes before they are hashed. */
function ownCopy(body) {
  if (body === undefined || body === null || typeof body === 'string') return body ?? undefined;
  return Buffer.from(bytesOf(body));
}

function requireString(name, value) {
  if (typeof value !== 'string') throw new TypeError(`oncewatch.begin: ${name} must be a string, not ${typeof value}`);
  return value;
}

/** Identifiers are kept whole until they are written, for the hash that tells long ones apart. A token may be in the body. */
function textBytes({ api, call, token, scope, fp, fpRaw }) {
  const tokenBytes = token === undefined ? UNREAD_TOKEN_BYTES : lengthOf(token);
  return lengthOf(api) + lengthOf(call) + tokenBytes + lengthOf(scope) + lengthOf(fp) + lengthOf(fpRaw);
}

function lengthOf(text) {
  return typeof text === 'string' ? text.length : 0;
}

module.exports = { Attempt, begin };
