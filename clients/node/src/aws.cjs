'use strict';

/**
 * Reports what a client of the AWS SDK for JavaScript v3 does, through two middlewares.
 *
 * `initialize` runs once per call and sees its end. Behind it, before `serialize` makes a missing token, it shows whether
 * the application or one of its own middlewares gave one. `finalizeRequest`
 * with low priority is the innermost that runs for each attempt: the request is signed, the body final, and an error is
 * already what the application would get.
 */

const { performance } = require('node:perf_hooks');
const { Attempt } = require('./attempt.cjs');
const { bytesOf } = require('./fingerprint.cjs');
const { newCall } = require('./event.cjs');
const { traceparent } = require('./trace.cjs');
const { transport } = require('./transport.cjs');

const now = performance.now.bind(performance);
const COMMANDS = new Set(['TransactWriteItemsCommand', 'ExecuteTransactionCommand']);
const TARGET_PREFIX = 'DynamoDB_20120810.';
const TOKEN_FIELD = 'ClientRequestToken';
const IGNORED_FIELDS = Object.freeze(['ReturnConsumedCapacity', 'ReturnItemCollectionMetrics']);
// The state of a call travels with the arguments that the SDK hands from middleware to middleware; the context would not
// do, because clients that cache their handlers share one among calls.
const STATE = Symbol('oncewatch');

/**
 * A plugin for `client.middlewareStack.use`: reports the idempotency tokens of DynamoDB calls. Using it again changes
 * nothing but the scope.
 *
 * @param {{ scope?: string }} [options]
 */
function oncewatch(options = {}) {
  const { scope } = options;
  return {
    applyToStack(stack) {
      const name = { tags: ['ONCEWATCH'], override: true };
      stack.add(watchCall, { ...name, name: 'oncewatchCall', step: 'initialize', priority: 'high' });
      stack.add(watchToken, { ...name, name: 'oncewatchToken', step: 'serialize', priority: 'high' });
      stack.add(watchAttempts(scope), { ...name, name: 'oncewatchAttempt', step: 'finalizeRequest', priority: 'low' });
    },
  };
}

function watchCall(next, context) {
  if (!COMMANDS.has(context.commandName)) return next;
  return async (args) => {
    const state = { isTokenGiven: false, startedAt: now(), call: undefined, attempt: undefined };
    try {
      return await next({ ...args, [STATE]: state });
    } finally {
      state.attempt?.endCall(now() - state.startedAt);
    }
  };
}

function watchToken(next, context) {
  if (!COMMANDS.has(context.commandName)) return next;
  return (args) => {
    if (args[STATE] !== undefined) args[STATE].isTokenGiven = args.input?.[TOKEN_FIELD] != null;
    return next(args);
  };
}

function watchAttempts(scope) {
  return (next, context) => {
    if (!COMMANDS.has(context.commandName)) return next;
    return async (args) => {
      const attempt = startAttempt(args, scope);
      if (attempt === undefined) return next(args);
      try {
        const result = await next(args);
        endWithAnswer(attempt, result);
        return result;
      } catch (error) {
        endWithError(attempt, error);
        throw error;
      }
    };
  };
}

function startAttempt(args, scope) {
  try {
    const { headers, body } = args.request;
    const target = headers['x-amz-target'];
    const isBody = typeof body === 'string' || ArrayBuffer.isView(body);
    if (!target?.startsWith(TARGET_PREFIX) || !isBody) return undefined;
    // A middleware of somebody else may have dropped the state; then the attempt is told without its call's end.
    const state = args[STATE] ?? { isTokenGiven: true };
    const [number, maxAttempts] = retryNumbers(headers['amz-sdk-request']);
    if (!transport.accepting) {
      transport.skip();
      state.attempt = new Attempt(undefined, number, false);
      return state.attempt;
    }
    // The SDK sends the same bytes again; a middleware that changed them made another request of it.
    if (state.call === undefined || state.body !== body) {
      state.body = body;
      state.call = newCall({
        api: `dynamodb.${target.slice(TARGET_PREFIX.length)}`,
        call: headers['amz-sdk-invocation-id'] ?? '',
        scope: scope ?? signingRegion(headers.authorization),
        tokenOrigin: state.isTokenGiven ? 'caller' : 'sdk',
        body: typeof body === 'string' ? body : bytesOf(body),
        tokenField: TOKEN_FIELD,
        ignoredFields: IGNORED_FIELDS,
      });
    }
    state.attempt = new Attempt(state.call, number, false);
    state.attempt.start(maxAttempts, traceparent());
    return state.attempt;
  } catch (failure) {
    transport.countFailure(failure);
    return undefined;
  }
}

/** `attempt=2; max=4` as numbers; the first attempt if a retry strategy of the application says nothing. */
function retryNumbers(header) {
  const match = /^attempt=(\d{1,9})(?:; max=(\d{1,9}))?/.exec(header ?? '');
  return match === null ? [1, undefined] : [Number(match[1]), match[2] === undefined ? undefined : Number(match[2])];
}

/** The Region in the credential scope of a Signature Version 4; undefined for other ways to sign. */
function signingRegion(authorization) {
  const match = /Credential=[^,]*\/\d{8}\/([^/,]+)\/[^/,]+\/aws4_request/.exec(authorization ?? '');
  return match === null ? undefined : match[1];
}

function endWithAnswer(attempt, { output } = {}) {
  try {
    attempt.end('ok', {
      httpStatus: output.$metadata?.httpStatusCode,
      requestId: output.$metadata?.requestId,
      readUnits: unitsOf(output.ConsumedCapacity, 'ReadCapacityUnits'),
      writeUnits: unitsOf(output.ConsumedCapacity, 'WriteCapacityUnits'),
    });
  } catch (failure) {
    transport.countFailure(failure);
  }
}

/** The sum over the tables of an answer; undefined where no table tells. */
function unitsOf(entries, name) {
  if (!Array.isArray(entries)) return undefined;
  return entries.reduce((sum, entry) => (typeof entry[name] === 'number' ? (sum ?? 0) + entry[name] : sum), undefined);
}

/** A service's answer, or an answer with an error status that cannot be parsed, is an error; all else no response. */
function endWithError(attempt, error) {
  try {
    const httpStatus = error?.$metadata?.httpStatusCode;
    const isServiceError = error?.$fault !== undefined;
    if (!isServiceError && !(httpStatus >= 300)) {
      attempt.end('no_response');
      return;
    }
    attempt.end('error', {
      error: isServiceError ? error.name : undefined,
      httpStatus,
      requestId: error.$metadata?.requestId,
    });
  } catch (failure) {
    transport.countFailure(failure);
  }
}

module.exports = { oncewatch };
